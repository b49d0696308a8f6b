"""Verbs around runs: this machine, downloads, and the choices that exist."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.app import AsJson, ConfigDir, Overrides, app, one
from reer.errors import InputError


@app.command()
def doctor(
    overrides: Overrides = None,
    store: Annotated[bool, typer.Option("--store", help="Check everything under runtime.root instead.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="With --store: move what is damaged aside.")] = False,
    config_dir: ConfigDir = None,
    json: AsJson = False,
) -> None:
    """Check this machine against a configuration. Nothing runs.

    Each check shows what was found, what is wanted and how to fix it. Exit code 1
    if a check fails. With --store, every stored file is compared with its
    checksum. Add --repair while nothing runs: damaged results and lines are
    moved aside, and the same run command computes only those again.

    \b
      reer doctor scale=single_gpu
      reer doctor --store runtime.root=outputs
      reer doctor --store --repair runtime.root=outputs
    """
    from experiments import doctor as checks
    from experiments.report import console as show

    exp = one(overrides, config_dir)
    if store and json:
        raise InputError("--json and --store: want one of them; exit code 1 says that something is damaged")
    if store:
        raise typer.Exit(0 if checks.store_is_intact(exp.runtime, repair=repair, say=show.line) else 1)
    if repair:
        raise InputError("--repair: want it together with --store")
    rows = [*checks.required(exp), *checks.informational(exp)]
    if json:
        show.data(rows)
    else:
        show.table(
            "doctor",
            ("", "check", "found", "wanted", "what to do"),
            [("ok" if c.ok else "FAIL", c.what, c.found, c.wanted, "" if c.ok else c.advice) for c in rows],
        )
    raise typer.Exit(0 if all(row.ok for row in rows) else 1)


@app.command()
def calibrate(overrides: Overrides = None, config_dir: ConfigDir = None) -> None:
    """Measure how fast models run on this machine.

    Opens the models that the configuration runs here, in this process or on an
    engine that it starts: prompts, decoding with 1, 8 and 32 rows, and a few
    optimizer steps; about a minute with the 135M model on two cores. The rates are
    written under runtime.root, where plans for the same device use them.

    \b
      reer calibrate
      reer calibrate scale=single_gpu
    """
    from experiments.planning.calibration import write_calibration
    from experiments.planning.measuring import calibrate as measure
    from experiments.report import console as show

    exp = one(overrides, config_dir)
    path = write_calibration(Path(exp.runtime.root), measure(exp, show.line))
    show.line(f"rates: {path}")


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME|OVERRIDE", help="What to download.")] = None,
) -> None:
    """Download a benchmark's own files, or prompts that were released.

    Without a name: list what can be downloaded, with licence and size. Files come
    from the pinned commit of their own repository and are checked by sha256.

    \b
      reer fetch writingbench
      reer fetch released_prompts
      reer fetch critic_prompt
      reer fetch writingbench benchmark.writingbench.data.folder=DIR
      reer fetch writingbench benchmark.writingbench.data.mirror=https://HOST
    """
    from experiments import fetch as downloads

    given = list(names or ())
    downloads.run([name for name in given if "=" not in name], [override for override in given if "=" in override])


@app.command()
def choices(
    group: Annotated[str | None, typer.Argument(help="Only this group.")] = None,
    config_dir: ConfigDir = None,
    json: AsJson = False,
) -> None:
    """List every group, its choices and the default.

    A choice marked * is used where no override is given.

    \b
      reer choices
      reer choices search
    """
    from experiments.config.choices import choices as list_choices
    from experiments.config.choices import conf_folders
    from experiments.report.console import data, show_choices

    found = list_choices(conf_folders(config_dir), group)
    data(found) if json else show_choices(found)
