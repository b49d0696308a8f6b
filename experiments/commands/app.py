"""The command line application, the options that verbs share, and what they begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from experiments.store import OUTPUTS
from reer.errors import InputError, near
from reer.processes import Terminated, ended_by_requests

if TYPE_CHECKING:
    from experiments.experiment import Experiment
    from experiments.report.arms import Runs

INTERRUPTED, TERMINATED = 130, 143


class _Verbs(TyperGroup):
    """Ends a verb in good order when a signal asks for it, with another exit code than after Ctrl-C."""

    def invoke(self, ctx: typer.Context) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            with ended_by_requests():
                return super().invoke(ctx)
        except Terminated:
            raise typer.Exit(TERMINATED) from None


app = typer.Typer(
    name="reer",
    cls=_Verbs,
    help="REER ablations: search for thinking, fine-tune, judge, compare.\n\n"
    "Start with `reer run` (minutes on a laptop), then `reer run sweep=ablations`.",
    epilog="Exit codes: 0 done; 1 a job failed; 2 wrong input; 3 incomplete, rerun the same command to resume; "
    "130 interrupted; 143 ended by a signal.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _complete_override(incomplete: str) -> Iterator[str]:
    """Completions of an override: group names, then the choices of a group."""
    from experiments.config.choices import choice_names, conf_folders, groups

    folders = conf_folders()
    key, separator, _ = incomplete.partition("=")
    if separator:
        yield from (f"{key}={name}" for name in choice_names(key.lstrip("+~").partition("@")[0], folders))
    else:
        yield from (f"{name}=" for name in groups(folders))


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="OVERRIDE",
        help="GROUP=CHOICE or KEY=VALUE in Hydra's syntax; see `reer choices`.",
        autocompletion=_complete_override,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]
Multirun = Annotated[bool, typer.Option("-m", "--multirun", help="Run every combination of comma-separated values.")]
ConfigDir = Annotated[
    Path | None,
    typer.Option("--config-dir", help="A folder of your own YAML choices, added to the project's (or set REER_CONF)."),
]


def existing(root: Path | None) -> Path | None:
    """The root that was named. Raises InputError where it is no folder: a mistyped one would look like an empty one."""
    if root is not None and not root.is_dir() and (root.exists() or root != OUTPUTS):
        what = "is a file" if root.exists() else "does not exist"
        raise InputError(f"--root {root} {what}; want the folder that runtime.root named when the runs were made")
    return root


Root = Annotated[Path, typer.Option("--root", help="The runtime.root of the runs.", callback=existing)]
Scale = Annotated[str | None, typer.Option("--scale", help="Only runs at this scale.")]


def one(overrides: Sequence[str] | None, config_dir: Path | None) -> Experiment:
    from experiments.config.compose import compose_one
    from experiments.config.parts import experiment_from
    from experiments.revisions import pinned

    plan = compose_one(list(overrides or ()), config_dir)
    return experiment_from(pinned(plan, Path(plan["runtime"]["root"])))


def current_runs(root: Path, scale: str | None, say: Callable[[str], None] | None = None) -> Runs:
    """The results that count. Of a run without one, `say` (default: the output) says why it is left out. Raises
    InputError for a scale at which none counts."""
    from experiments.report import console as show
    from experiments.report.arms import runs_under

    found = runs_under(root, scale)
    for reason in found.left_out:
        (say or show.line)(f"left out: {reason}")
    if scale is not None and not found.results:
        known = sorted({path.name for path in root.glob("runs/*/*")})
        hint = "" if scale in known else f"; scales here: {', '.join(known) or 'none'}{near(scale, known)}"
        raise InputError(f"--scale {scale}: no run has a current result{hint}")
    return found
