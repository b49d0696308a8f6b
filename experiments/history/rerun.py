"""A run repeated by name from its frozen plan, or only verified, with a verdict on what is the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from experiments.config.parts import experiment_from
from experiments.experiment import Experiment
from experiments.history.environment import Environment, Moved, moved
from experiments.history.plans import frozen_plan
from experiments.history.verdict import (
    Origin,
    PlanCheck,
    Verdict,
    check_plan,
    check_scores,
    check_step,
    check_stored,
    earlier_record,
)
from experiments.pipeline import pipeline
from experiments.run import execute
from experiments.store.records import RECORD, again_mark, result_in
from experiments.store.runs import Result, all_results, read_lock, read_result, run_name
from experiments.store.step import Step, StepName, Steps
from reer.errors import InputError, near

Stamp = tuple[int, int]  # inode and time of change of a record


def rerun(folder: Path, root: Path, fresh: str | None = None) -> Verdict:
    """Repeat a run. Stages that the store holds are verified; with `fresh`, that step and all after it are computed
    again, with model calls and judgements of their own, and what they had made is set aside. A plan of which this
    program makes other stages is not run."""
    plan = frozen_plan(folder, root)
    exp = experiment_from(plan)
    steps = pipeline(exp)
    chosen = [] if fresh is None else from_step_on(fresh, steps)
    begun = Verdict(run=exp.run_name, mode="rerun", fresh=fresh, plan=_plan_check(folder, exp, steps))
    if begun.plan.state != "same":
        return begun
    before = read_result(folder)
    made_by = {} if before is None else _environments(before)
    stamps, store = _stamps(exp, steps), exp.runtime.store
    mark_again(chosen, store)
    fresh_calls = {name for name, step in steps.items() if _mark(step, store).exists()}
    now = execute(plan)
    if before is None:
        return begun
    renewed = {name for name, stamp in _stamps(exp, steps).items() if stamps[name] != stamp}
    origins: dict[StepName, Origin] = dict.fromkeys(steps, "store")
    origins |= {name: "fresh" if name in fresh_calls else "recomputed" for name in renewed}
    return replace(
        begun,
        compared=True,
        steps=tuple(check_step(name, steps[name], before, now, origins[name]) for name in steps),
        scores=tuple(check_scores(exp, before, now)),
        moved=_moved(made_by, _environments(now), renewed),
        stale=_made_stale(before, now, exp.runtime.runs),
    )


def verify(folder: Path, root: Path) -> Verdict:
    """Compare everything that the result of a run names with its digests; nothing is computed. Raises InputError where
    there is no result."""
    result, name = read_result(folder), run_name(folder)
    if result is None:
        raise InputError(f"{name}: has no result to verify; finish it with: reer rerun {name}")
    try:
        exp = experiment_from(frozen_plan(folder, root))
        plan = _plan_check(folder, exp, pipeline(exp))
    except InputError as error:  # such as a source file that is not on this machine
        plan = PlanCheck("not checked", (str(error),))
    made_by = _environments(result)
    return Verdict(
        run=name,
        mode="verify",
        fresh=None,
        plan=plan,
        compared=True,
        steps=tuple(check_stored(step, result, result) for step in result.steps),
        moved=_moved(made_by, made_by, set()),
    )


def from_step_on(name: str, steps: Steps) -> list[Step]:
    """The step of this name, or all of the stage of this name, with every step that needs them. Raises InputError for
    another name."""
    first = {step.fingerprint for key, step in steps.items() if name in (str(key), key.stage)}
    if not first:
        known = [*map(str, steps), *(key.stage for key in steps)]
        raise InputError(
            f"--fresh {name}: this run has no such step{near(name, known)}; want one of {', '.join(map(str, steps))}"
        )
    return [step for step in steps.values() if first & {before.fingerprint for before in step.upstream()}]


def mark_again(steps: Iterable[Step], store: Path) -> None:
    """Let the stored results of these steps count no more. The mark of each goes when it has been computed, so a
    repetition that was interrupted goes on with those that are left."""
    for step in steps:
        _mark(step, store).mkdir(parents=True, exist_ok=True)


def _mark(step: Step, store: Path) -> Path:
    return again_mark(store / step.stage.name, step.fingerprint)


def _plan_check(folder: Path, exp: Experiment, steps: Steps) -> PlanCheck:
    """A run that was killed before it had a lock was never tied to stages."""
    lock = folder / "lock.json"
    return check_plan(steps, read_lock(lock).steps, exp.runtime.store) if lock.exists() else PlanCheck("same")


def _stamps(exp: Experiment, steps: Steps) -> dict[StepName, Stamp | None]:
    """What changes whenever a stage result is written, by step; None where there is none."""
    found = {name: result_in(exp.runtime.store / step.stage.name, step.fingerprint) for name, step in steps.items()}
    files = {name: (path / RECORD).stat() if path else None for name, path in found.items()}
    return {name: (file.st_ino, file.st_mtime_ns) if file else None for name, file in files.items()}


def _environments(result: Result) -> dict[StepName, Environment]:
    """What made each step of a result, as far as the record is still there."""
    records = {name: earlier_record(step) for name, step in result.steps.items()}
    return {name: Environment.of(record) for name, record in records.items() if record is not None}


def _moved(
    before: Mapping[StepName, Environment], after: Mapping[StepName, Environment], renewed: set[StepName]
) -> tuple[Moved, ...]:
    """What differs between what made each step and what made it now, or would make it."""
    return moved({str(n): (made, after[n] if n in renewed else made.here()) for n, made in before.items()})


def _made_stale(before: Result, now: Result, runs: Path) -> tuple[str, ...]:
    """Other runs that name an earlier build of a stage that has another one now."""
    changed = {s.fingerprint: s.build for name, s in now.steps.items() if s.build != before.steps[name].build}
    others = (result for result in all_results(runs) if result.run_name != now.run_name)
    return tuple(
        other.run_name
        for other in others
        if any(changed.get(step.fingerprint, step.build) != step.build for step in other.steps.values())
    )
