"""The state of every run, stage by stage: what is done, what is being computed and where, what waits, what failed and
why. It reads records, locks and failures alone, so it takes no longer than a look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.store.disk import holder
from experiments.store.failures import at_work, read_failure
from experiments.store.records import again_mark, lock_of, missing_or_cut, read_record, result_in
from experiments.store.runs import Result, read_lock, read_result, run_name
from experiments.store.step import StepName
from reer.errors import InputError

Mark = Literal["done", "running", "waiting", "failed", "stale"]
"""`stale`: computed, but not what the run's result says; `waiting`: not computed yet."""


@dataclass(frozen=True)
class StepState:
    """One step of a run. `where` is who computes it now, as `HOST pid N since TIME`."""

    step: str
    mark: Mark
    where: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunState:
    """One run. `at_work` is the process that works on it now; `why` is why it failed, or what is wrong with its
    files."""

    run: str
    state: Literal["finished", "running", "failed", "unfinished", "stale", "damaged"]
    steps: tuple[StepState, ...]
    at_work: str | None
    why: str


def status(root: Path) -> list[RunState]:
    """The state of every run under a root, by name, also of one that has only failed before its plan was frozen."""
    folders = (folder for folder in sorted((root / "runs").glob("*/*/s*")) if folder.is_dir())
    return [run_state(folder, root / "store") for folder in folders]


def run_state(folder: Path, store: Path) -> RunState:
    """The state of one run. Files that cannot be read are its state, and no error."""
    name = run_name(folder)
    try:
        result, failure = read_result(folder), read_failure(folder)
        planned = read_lock(folder / "lock.json").steps if (folder / "lock.json").exists() else {}
    except InputError as error:
        return RunState(run=name, state="damaged", steps=(), at_work=None, why=str(error))
    working = at_work(folder)
    steps = tuple(
        _failed(_step_state(step, fingerprint, store, result), failure.stage if failure else "")
        for step, fingerprint in planned.items()
    )
    stale = ", ".join(step.step for step in steps if step.mark == "stale")
    why = str(failure) if failure else f"{stale} removed or rebuilt since; rerun" if stale else ""
    state = "running" if working else "failed" if failure else _ended(steps, result)
    return RunState(run=name, state=state, steps=steps, at_work=working, why=why)


def _ended(steps: tuple[StepState, ...], result: Result | None) -> Literal["finished", "unfinished", "stale"]:
    if result is None:
        return "unfinished"
    return "finished" if all(step.mark == "done" for step in steps) else "stale"


def _failed(step: StepState, failed: str) -> StepState:
    return StepState(step.step, "failed") if step.step == failed and step.mark == "waiting" else step


def _step_state(name: str, fingerprint: str, store: Path, result: Result | None) -> StepState:
    stage = StepName.parse(name)
    folder = store / stage.stage
    wanted = _builds(result).get(stage)
    if where := holder(lock_of(folder, fingerprint)):
        return StepState(name, "running", where)
    path = None if again_mark(folder, fingerprint).exists() else result_in(folder, fingerprint)
    if path is None:
        return StepState(name, "stale" if wanted else "waiting")
    try:
        record = read_record(path)
        missing_or_cut(path, record)
    except InputError:
        return StepState(name, "stale")
    return StepState(name, "done" if wanted in (None, record.build) else "stale")


def _builds(result: Result | None) -> Mapping[StepName, str]:
    return {name: step.build for name, step in result.steps.items()} if result else {}
