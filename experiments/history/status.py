"""The state of every run, stage by stage: what is done, what is being computed and where, what waits, what failed and
why. It reads records, locks and failures alone, so it takes no longer than a look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

from experiments.store.disk import holder
from experiments.store.failures import Failure, at_work, read_failure
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
    """One run. `at_work` is the process that works on it now; `why` is why it, or its last attempt, failed, or what is
    wrong with its files."""

    run: str
    state: Literal["finished", "running", "failed", "unfinished", "stale", "damaged"]
    steps: tuple[StepState, ...]
    at_work: str | None
    why: str


@dataclass(frozen=True)
class _Stored:
    """A stage result in the store: who computes it now, and its build; None where nobody does, and where it is not
    complete."""

    where: str | None
    build: str | None


Look = Callable[[StepName, str, bool], _Stored]


def status(root: Path) -> list[RunState]:
    """The state of every run under a root, by name, also of one that has only failed before its plan was frozen."""
    look = cache(partial(_look, root / "store"))  # runs share stages
    folders = (folder for folder in sorted((root / "runs").glob("*/*/s*")) if folder.is_dir())
    return [run_state(folder, look) for folder in folders]


def _look(store: Path, name: StepName, fingerprint: str, whole: bool) -> _Stored:
    """One stage result. Who computes it is looked up where it is not complete, and where `whole` wants it anyway."""
    folder = store / name.stage
    path = None if again_mark(folder, fingerprint).exists() else result_in(folder, fingerprint)
    where = holder(lock_of(folder, fingerprint)) if path is None or whole else None
    if path is None:
        return _Stored(where, None)
    try:
        record = read_record(path)
        missing_or_cut(path, record)
    except InputError:
        return _Stored(where, None)
    return _Stored(where, record.build)


def run_state(folder: Path, look: Look) -> RunState:
    """The state of one run. Files that cannot be read are its state, and no error."""
    name = run_name(folder)
    try:
        result, failure = read_result(folder), read_failure(folder)
        planned = read_lock(folder / "lock.json").steps if (folder / "lock.json").exists() else {}
    except InputError as error:
        return RunState(run=name, state="damaged", steps=(), at_work=None, why=str(error))
    working, builds = at_work(folder), _builds(result)
    failed = failure.stage if failure else ""
    steps = tuple(
        _step_state(step, look(step, fingerprint, working is not None), builds.get(step), str(step) == failed)
        for step, fingerprint in ((StepName.parse(text), fingerprint) for text, fingerprint in planned.items())
    )
    ended = _ended(steps, result)
    state = "running" if working else "failed" if failure and ended != "finished" else ended
    why = _why(failure, finished=ended == "finished") if failure else _why_stale(steps) if state == "stale" else ""
    return RunState(run=name, state=state, steps=steps, at_work=working, why=why)


def _ended(steps: tuple[StepState, ...], result: Result | None) -> Literal["finished", "unfinished", "stale"]:
    if result is None:
        return "unfinished"
    return "finished" if all(step.mark == "done" for step in steps) else "stale"


def _why(failure: Failure, *, finished: bool) -> str:
    """Why a run failed; one whose earlier result still counts has had another attempt since."""
    return f"a later attempt failed, and the result of the one before counts: {failure}" if finished else str(failure)


def _why_stale(steps: tuple[StepState, ...]) -> str:
    stale = ", ".join(step.step for step in steps if step.mark == "stale")
    return f"{stale} removed, damaged or rebuilt since; rerun"


def _step_state(name: StepName, stored: _Stored, wanted: str | None, failed: bool) -> StepState:
    """The state of a step whose result the run names as the build `wanted`, if it has a result."""
    if stored.where is not None:
        return StepState(str(name), "running", stored.where)
    if stored.build is None:
        return StepState(str(name), "failed" if failed else "stale" if wanted else "waiting")
    return StepState(str(name), "done" if wanted in (None, stored.build) else "stale")


def _builds(result: Result | None) -> Mapping[StepName, str]:
    return {name: step.build for name, step in result.steps.items()} if result else {}
