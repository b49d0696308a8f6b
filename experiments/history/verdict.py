"""The verdict on a repetition, on three levels: the same plan, the same bytes, the same scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evals.benchmark import Benchmark, Measure, Response
from experiments.experiment import Experiment
from experiments.history.environment import Moved
from experiments.history.explain import INPUTS, differences
from experiments.metrics import evaluation, probes
from experiments.report.measures import SCORED
from experiments.store.fingerprint import difference, encode
from experiments.store.metrics import identifying, read_metrics
from experiments.store.records import RECORD, Record, read_record, result_in, verify
from experiments.store.runs import Result, StepResult
from experiments.store.step import Step, StepName, Steps
from reer.errors import InputError


@dataclass(frozen=True)
class PlanCheck:
    """Whether this program makes the same stages of a frozen plan as the one that ran it, and what differs."""

    state: Literal["same", "different", "not checked"]
    differences: tuple[str, ...] = ()


Origin = Literal["store", "recomputed", "fresh"]


@dataclass(frozen=True)
class StepCheck:
    """The bytes of one step beside those of the earlier result. `origin`: recomputed by this command, with model calls
    that are stored (`recomputed`) or new ones (`fresh`), or taken from the store: then `same` says that every file has
    the digest of its record."""

    step: str
    origin: Origin
    same: bool
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class ScoreCheck:
    """One measure before and now. Equal bytes have equal scores; a score that the judge gave again may differ by
    `bound`, which is what its measured noise explains; all others must be equal."""

    measure: str
    before: float | None
    now: float | None
    rule: Literal["same bytes", "noise of the judge", "equality"]
    bound: float
    same: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a repetition, or a verification, of a run found. Without an earlier result there are no steps and scores.

    moved: what differs between the environment that made each step and the present one
    stale: other runs whose results read a stage that has other bytes now
    """

    run: str
    mode: Literal["rerun", "verify"]
    fresh: str | None
    plan: PlanCheck
    compared: bool = False
    steps: tuple[StepCheck, ...] = ()
    scores: tuple[ScoreCheck, ...] = ()
    moved: tuple[Moved, ...] = ()
    stale: tuple[str, ...] = ()

    @property
    def same_bytes(self) -> bool:
        return all(step.same for step in self.steps)

    @property
    def same_scores(self) -> bool:
        """Whether every score is the same within what its rule allows; where nothing was computed, whether the bytes
        are."""
        return self.same_bytes if self.mode == "verify" else all(score.same for score in self.scores)

    @property
    def reproduced(self) -> bool:
        """Whether nothing speaks against the earlier result, if there is one: neither the plan nor the scores."""
        return self.plan.state != "different" and self.same_scores


def check_step(name: StepName, step: Step, before: Result, now: Result, origin: Origin) -> StepCheck:
    """The bytes of a step of two results of one plan."""
    if origin == "store":
        return check_stored(name, before, now)
    same = before.steps[name].build == now.steps[name].build
    return StepCheck(str(name), origin, same, "" if same else _why_different(step, name, before, now))


def check_stored(name: StepName, before: Result, now: Result) -> StepCheck:
    """A stage result that was not made by this command: all its files beside their digests, and its build."""
    path, build = now.steps[name].path, before.steps[name].build
    try:
        record = read_record(path)
        verify(path, record.stage, record.files)
    except InputError as error:
        return StepCheck(str(name), "store", False, str(error))
    why = "" if record.build == build else f"rebuilt since: build {build} -> {record.build}"
    return StepCheck(str(name), "store", not why, why)


def _why_different(step: Step, name: StepName, before: Result, now: Result) -> str:
    """The first cause that can be named: an input with other bytes, else files, else metrics."""
    builds = {s.fingerprint: s.build for s in before.steps.values()}
    new = read_record(now.steps[name].path)
    inputs = [key for key, read in new.inputs.items() if builds.get(read.fingerprint, read.build) != read.build]
    if inputs:
        return f"its input {', '.join(inputs)} has other bytes"
    old = earlier_record(before.steps[name])
    if old is None:
        return f"build {before.steps[name].build} -> {new.build}; the earlier files are gone"
    return f"{_other_files(step, old, new) or _other_metrics(step, old, new)} with the same inputs"


def _other_files(step: Step, old: Record, new: Record) -> str:
    names = [n for n in sorted(old.files.keys() | new.files.keys()) if old.files.get(n) != new.files.get(n)]
    made = [name for name in names if step.stage.makes(name)]
    more = f" and {len(made) - 2} more files" if len(made) > 2 else ""
    return f"other bytes in {', '.join(made[:2])}{more}" if made else ""


def _other_metrics(step: Step, old: Record, new: Record) -> str:
    sides = [identifying(read_metrics(step.stage.metrics, record.metrics, record.stage)) for record in (old, new)]
    lines = difference(encode(sides[0]), encode(sides[1]))
    return f"other metrics ({lines[0]})" if lines else "another build"


def earlier_record(step: StepResult) -> Record | None:
    """The record of the build that a result names, also where it was set aside since; None where it is gone."""
    for file in sorted(step.path.parent.glob(f"*{step.fingerprint}*/{RECORD}")):
        try:
            record = read_record(file.parent)
        except InputError:
            continue
        if record.build == step.build:
            return record
    return None


def check_scores(exp: Experiment, before: Result, now: Result) -> Iterator[ScoreCheck]:
    """Every measure of two results of one plan."""
    for stage in SCORED:
        for label in now.labels_of(stage):
            name = stage.named(label)
            old, new = before.read(name, stage.metrics), now.read(name, stage.metrics)
            if old is None or new is None:
                continue
            noise = _noise_bound(before, label) if stage is evaluation.GRADE else None
            benchmark = exp.benchmarks.get(label)  # None: held-out texts, which are no benchmark
            judged = judged_metrics(benchmark) if isinstance(benchmark, Benchmark) and noise is not None else set()
            same_bytes = before.steps[name].build == now.steps[name].build
            for a, b in zip(old.measures, new.measures, strict=True):
                yield check_score(a, b, same_bytes, noise if a.metric in judged else None)


def check_score(before: Measure, now: Measure, same_bytes: bool, noise: float | None) -> ScoreCheck:
    """One measure. `noise` is what one verdict is off by at most, in 95 of 100 cases; None where no judge is involved,
    or none was measured."""
    fewest = min(before.scored, now.scored)
    bound = noise * math.sqrt(2 / fewest) if noise is not None and fewest else 0.0
    if before.value is None or now.value is None:
        same = before.value is now.value
    else:
        same = abs(now.value - before.value) <= bound
    return ScoreCheck(
        measure=str(now.name),
        before=before.value,
        now=now.value,
        rule="same bytes" if same_bytes else "equality" if noise is None else "noise of the judge",
        bound=bound,
        same=same,
    )


def _noise_bound(result: Result, label: str) -> float | None:
    """What one verdict of the judge is off by at most, as the reliability stage measured it."""
    measured = result.metrics_of(probes.RELIABILITY, label)
    return measured.repeat.noise_bound if measured and measured.repeat else None


def judged_metrics(benchmark: Benchmark) -> set[str]:
    """The metrics of a benchmark that have no value without the judge's verdicts."""
    items = ((item, Response.of_text(item.id, "-")) for item in benchmark.items())
    scores = (benchmark.scores(item, response, ()) for item, response in items)
    return {metric for by_metric in scores for metric, value in by_metric.items() if value is None}


def check_plan(steps: Steps, planned: Mapping[str, str], store: Path) -> PlanCheck:
    """Whether the steps of a plan are those that its run's lock holds; for those that are not, the field that differs,
    without the steps that only read them."""
    now = {str(name): step for name, step in steps.items()}
    if {name: step.fingerprint for name, step in now.items()} == planned:
        return PlanCheck("same")
    lines = [f"{name}: no such step before" for name in now.keys() - planned.keys()]
    lines += [f"{name}: no such step now" for name in planned.keys() - now.keys()]
    for name, step in now.items():
        if name in planned and planned[name] != step.fingerprint:
            lines += [f"{name}: {line}" for line in _own_differences(step, planned[name], store)]
    return PlanCheck("different", tuple(lines))


def _own_differences(step: Step, planned: str, store: Path) -> list[str]:
    path = result_in(store / step.stage.name, planned)
    if path is None:
        return [f"fingerprint {planned} -> {step.fingerprint}"]
    return [line for line in differences(read_record(path), step) if not line.startswith(INPUTS)]
