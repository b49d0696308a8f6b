"""Verbs about runs that exist: their state, their repetition, what differs between them, and what nobody needs."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.commands.app import OUTPUTS, AsJson, ConfigDir, Root, Scale, app, existing, one
from reer.errors import InputError

if TYPE_CHECKING:
    from experiments.experiment import Experiment

Seed = Annotated[int, typer.Option("--seed", help="The seed, where the name is that of an arm.")]
OVERRIDE = re.compile(r"[+~]|[\w.@/]+=")  # how an override begins; the name of a run has a + before its first =


@app.command()
def rerun(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Runs, such as full or full/smoke/s1.")],
    root: Root = OUTPUTS,
    scale: Scale = None,
    seed: Seed = 0,
    fresh: Annotated[str | None, typer.Option(help="Compute this stage, and all after it, again.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compute nothing; check every digest.")] = False,
    as_json: AsJson = False,
) -> None:
    """Repeat a run from its frozen plan, and compare.

    Ends with a verdict: the same plan, the same bytes, the same scores within the
    judge's noise; and what moved since: code, packages, hardware. --fresh also
    repeats model calls and judgements, and sets aside what they replace. Exit
    code 1 if the run is not reproduced.

    \b
      reer rerun full/smoke/s1
      reer rerun full --fresh train
      reer rerun full no_synthetic_data --verify
    """
    from experiments.history import rerun as repetition
    from experiments.history import terminal as show
    from experiments.store.runs import find_run

    if verify and fresh is not None:
        raise InputError("--verify and --fresh: want one of them; --verify computes nothing")
    folders = [find_run(root / "runs", name, scale, seed) for name in names]
    verdicts = []
    for folder in folders:
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            verdict = repetition.verify(folder, root) if verify else repetition.rerun(folder, root, fresh)
        verdicts.append(verdict)
        if not as_json:
            show.verdict(verdict)
    if as_json:
        show.as_json(verdicts)
    raise typer.Exit(0 if all(verdict.reproduced for verdict in verdicts) else 1)


@app.command()
def explain(
    what: Annotated[list[str], typer.Argument(metavar="NAME|OVERRIDE...", help="A run, or an experiment to compose.")],
    root: Annotated[
        Path | None, typer.Option("--root", help="The runtime.root; default outputs.", callback=existing)
    ] = None,
    scale: Scale = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
) -> None:
    """Show why each stage would be computed, or not.

    For a run, by its frozen plan (KEY=VALUE after the name changes a field of it),
    or for an experiment that is composed from overrides: the first field that the
    nearest stored result does not share, with its old and its new value.

    \b
      reer explain full/smoke/s0
      reer explain full search.max_edits=3
      reer explain experiment=full scale=smoke search=single_pass
    """
    from experiments.history import terminal as show
    from experiments.history.explain import explain as explained
    from experiments.pipeline import pipeline
    from experiments.store.runs import read_lock
    from experiments.store.store import Store

    exp = (
        _composed(what, root, config_dir)
        if OVERRIDE.match(what[0])
        else _frozen(what[0], what[1:], root or OUTPUTS, scale, seed)
    )
    lock = exp.folder / "lock.json"
    before = read_lock(lock).steps if lock.exists() else {}
    steps = explained(pipeline(exp), Store(root=exp.runtime.store, runtime=exp.runtime), before)
    show.as_json(steps) if as_json else show.explanation(exp.run_name, steps)


def _composed(overrides: list[str], root: Path | None, config_dir: Path | None) -> Experiment:
    return one([*overrides, *([f"runtime.root={root}"] if root else [])], config_dir)


def _frozen(name: str, overrides: list[str], root: Path, scale: str | None, seed: int) -> Experiment:
    """The experiment of a frozen plan, with some of its fields changed."""
    from experiments.config.parts import experiment_from
    from experiments.history.plans import changed, frozen_plan
    from experiments.store.runs import find_run

    return experiment_from(changed(frozen_plan(find_run(root / "runs", name, scale, seed), root), overrides))


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="A run, such as full or full/smoke/s0.")],
    b: Annotated[str, typer.Argument(help="The run it is compared with.")],
    root: Root = OUTPUTS,
    scale: Scale = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Show everything in which two runs differ.

    Configuration, the bytes of each stage, code, packages, hardware, confounds and
    scores.

    \b
      reer diff full no_iterative_search
      reer diff full/smoke/s0 full/smoke/s1
    """
    from experiments.history import terminal as show
    from experiments.history.diff import diff as compared
    from experiments.history.diff import side
    from experiments.store.runs import find_run

    sides = [side(find_run(root / "runs", name, scale, seed), root / "store") for name in (a, b)]
    found = compared(*sides)
    show.as_json(found) if as_json else show.differences(found)


@app.command()
def status(root: Root = OUTPUTS, as_json: AsJson = False) -> None:
    """Show every run, stage by stage.

    What is done, what is computed now and where, what waits, what failed and why.

    \b
      reer status --root outputs
    """
    from experiments.history import terminal as show
    from experiments.history.status import status as states

    found = states(root)
    show.as_json(found) if as_json else show.status(found, root)


@app.command()
def gc(
    root: Root = OUTPUTS,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what no run needs, with its size.

    Stage results that no run refers to, begun or set aside. Model calls,
    judgements, and what a process is at work on, are left alone.

    \b
      reer gc
      reer gc --delete
    """
    from experiments.history import gc as collection
    from experiments.history import terminal as show

    found = collection.collect(root) if delete else collection.survey(root)
    show.as_json(found) if as_json else show.unused(found, root)
