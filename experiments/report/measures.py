"""What a finished run measured: the metrics of every step, the measures of its benchmarks, also by item, and its
confounds, which are quantities that differ between arms without being the ablated part."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from evals.benchmark import ItemScores, Measure, OfficialScore
from evals.hygiene import Symptoms
from experiments.stages import anchoring, controls, data, degeneration, evaluation, probes, synthesis, training
from experiments.store.metrics import StageMetrics
from experiments.store.records import digest_of, verified
from experiments.store.runs import Counts, Result
from experiments.store.step import Stage, StepName

M = TypeVar("M", bound=StageMetrics)
MODULES = (data, synthesis, controls, anchoring, training, degeneration, probes, evaluation)
STAGES = {stage.name: stage for module in MODULES for stage in vars(module).values() if isinstance(stage, Stage)}
SCORED = (evaluation.grade, evaluation.harness)
SCORES = "scores.json"  # of a stage that scores: metric → item → score


@dataclass(frozen=True)
class ScoredRun:
    """A run with its confounds, its measures and its scores by item, read once, and for each measure the sha256 of the
    file with its scores. `official` are the numbers of the benchmarks' own scripts, by the measure they belong to."""

    result: Result
    confounds: Counts
    measures: dict[str, Measure]
    table: ItemScores
    digests: dict[str, str]
    official: Mapping[str, OfficialScore]

    @classmethod
    def read(cls, result: Result) -> ScoredRun:
        """The scores of a run. Raises InputError for a damaged file of scores."""
        run = cls(result, confounds(result), {}, {}, {}, official_of(result))
        for path, measures in score_files(result).items():
            columns: ItemScores = json.loads(path.read_text(encoding="utf-8"))
            for measure in measures:
                name = str(measure.name)
                run.measures[name] = measure
                run.digests[name] = digest_of(path).sha256
                run.table[name] = columns.get(measure.metric, {})
        return run

    def score(self, name: str) -> float | None:
        """The value of a measure; None where it is withheld or was not taken."""
        measure = self.measures.get(name)
        return measure.value if measure else None

    def column(self, name: str) -> Mapping[str, float | None]:
        """item → score of a measure."""
        return self.table.get(name, {})


def partial_measures(runs: Sequence[ScoredRun]) -> frozenset[str]:
    """The measures that cover only a part of the items of another measure of their benchmark, such as one domain of
    WritingBench: comparisons of them are exploratory. All others are headlines."""
    return frozenset(
        name
        for run in runs
        for name, measure in run.measures.items()
        for other, whole in run.measures.items()
        if measure.benchmark == whole.benchmark and run.column(name).keys() < run.column(other).keys()
    )


def measures_of(result: Result) -> dict[str, Measure]:
    """The measures of all benchmarks by name, without their scores by item."""
    scored = [metrics for stage in SCORED for metrics in result.all_metrics_of(stage).values()]
    return {str(measure.name): measure for metrics in scored for measure in metrics.measures}


def official_of(result: Result) -> dict[str, OfficialScore]:
    """The numbers of the benchmarks' own scripts that have the name of a measure."""
    graded = result.all_metrics_of(evaluation.grade).values()
    return {str(m.name): of.official[m.metric] for of in graded for m in of.measures if m.metric in of.official}


def metrics_in(result: Result) -> dict[StepName, StageMetrics]:
    """The metrics of every step of a run, in order. Raises InputError for a record of another version."""
    read = {name: result.read(name, STAGES[name.stage].metrics) for name in result.steps if name.stage in STAGES}
    return {name: metrics for name, metrics in read.items() if metrics is not None}


def score_files(result: Result) -> dict[Path, tuple[Measure, ...]]:
    """The files with scores by item, and the measures that each one holds. Raises InputError for a damaged file."""
    files: dict[Path, tuple[Measure, ...]] = {}
    for stage in SCORED:
        for label, metrics in result.all_metrics_of(stage).items():
            folder = result.folder_of(stage, label)
            if folder is not None:
                files[verified(folder, SCORES)] = metrics.measures
    return files


@dataclass(frozen=True)
class Between:
    """The bounds of a size: no less and no more than these multiples of the baseline's."""

    least: float
    most: float

    def exceeded(self, here: float, baseline: float) -> bool:
        return not self.least * baseline <= here <= self.most * baseline


@dataclass(frozen=True)
class Within:
    """The bound of a share, or of a number of nats: no further than this from the baseline's."""

    distance: float

    def exceeded(self, here: float, baseline: float) -> bool:
        return abs(here - baseline) > self.distance


@dataclass(frozen=True)
class Quantity:
    """A confound: how it is read from a run (None where the run has no such stage), and the bound beyond which it is
    flagged. The bound holds for the quantity divided by `per`."""

    label: str
    read: Callable[[Result], float | None]
    bound: Between | Within
    per: Callable[[Result], float] = lambda run: 1.0

    def flag(self, run: ScoredRun, baseline: ScoredRun) -> Flag | None:
        """The flag of a run beside its baseline; None within the bound, and where either has no such stage."""
        here, there = run.confounds[self.label], baseline.confounds[self.label]
        if here is None or there is None or here == there:
            return None
        exceeded = self.bound.exceeded(here / self.per(run.result), there / self.per(baseline.result))
        return Flag(self.label, here, there) if exceeded else None


@dataclass(frozen=True)
class Flag:
    """A confound of an arm that is further from its baseline's than its bound allows."""

    label: str
    here: float
    baseline: float

    @property
    def ratio(self) -> float | None:
        """The arm's value as a multiple of the baseline's; None where that is zero."""
        return self.here / self.baseline if self.baseline else None


def confounds(run: Result) -> Counts:
    """The confounds of a run by label, None where it has no such stage; counts of answers are sums over benchmarks."""
    return {quantity.label: quantity.read(run) for quantity in QUANTITIES}


def flags(run: ScoredRun, baseline: ScoredRun) -> tuple[Flag, ...]:
    """The confounds by which a run differs too much from its baseline to be compared without a word."""
    flagged = (quantity.flag(run, baseline) for quantity in QUANTITIES)
    return tuple(flag for flag in flagged if flag is not None)


def degenerate(run: Result) -> tuple[str, ...]:
    """Why a run's model is degenerate, so that its scores say little about its data; empty where it is not."""
    answers = run.all_metrics_of(probes.hygiene).values()
    count = sum(metrics.rows for metrics in answers)
    termination, template = run.metrics_of(probes.termination), run.metrics_of(degeneration.template)
    symptoms = Symptoms(
        loops=sum(metrics.loops for metrics in answers) / count if count else None,
        unfinished=sum(max(metrics.truncated, metrics.unclosed) for metrics in answers) / count if count else None,
        ended=termination.share_ended if termination else None,
        asked_otherwise=template.asked_otherwise / template.rows if template else None,
        without_end=template.without_end / template.rows if template else None,
    )
    return tuple(symptoms.reasons())


def _of(stage: Stage[M], count: Callable[[M], float | None]) -> Callable[[Result], float | None]:
    """A number from the metrics of a stage."""

    def read(run: Result) -> float | None:
        metrics = run.metrics_of(stage)
        return None if metrics is None else count(metrics)

    return read


def _first(*reads: Callable[[Result], float | None]) -> Callable[[Result], float | None]:
    """The number of the first of these stages that a run has."""

    def read(run: Result) -> float | None:
        return next((value for of_stage in reads if (value := of_stage(run)) is not None), None)

    return read


def _sum(stage: Stage[M], count: Callable[[M], int]) -> Callable[[Result], int | None]:
    """The sum over all steps of a stage, which are those of each benchmark."""

    def read(run: Result) -> int | None:
        values = [count(metrics) for metrics in run.all_metrics_of(stage).values()]
        return sum(values) if values else None

    return read


def _answers(run: Result) -> float:
    return float(_sum(evaluation.generate, lambda m: m.rows)(run) or 1)


def _counted(label: str, stage: Stage[M], count: Callable[[M], int]) -> Quantity:
    """A number of answers, whose share of all answers is bounded."""
    return Quantity(label, _sum(stage, count), Within(0.2), per=_answers)


def _rows_stated(run: Result) -> float:
    mixed = run.metrics_of(training.mix)
    return 1.0 if mixed is None else float(mixed.rows + sum(mixed.short.values()))


HALF_TO_TWICE = Between(0.5, 2.0)
QUANTITIES = (
    Quantity("rows", _of(training.train, lambda m: m.rows), HALF_TO_TWICE),
    Quantity(
        "rows fewer than stated", _of(training.mix, lambda m: sum(m.short.values())), Within(0.5), per=_rows_stated
    ),
    Quantity("trained tokens", _of(training.train, lambda m: m.trained_tokens), HALF_TO_TWICE),
    Quantity("optimizer steps", _of(training.train, lambda m: m.steps), HALF_TO_TWICE),
    Quantity(
        "thinking words",
        _first(_of(controls.control, lambda m: m.mean_words), _of(synthesis.curate, lambda m: m.mean_words)),
        HALF_TO_TWICE,
    ),
    Quantity(
        "reflection markers",
        _first(
            _of(controls.control, lambda m: m.reflection_markers), _of(synthesis.curate, lambda m: m.reflection_markers)
        ),
        HALF_TO_TWICE,
    ),
    Quantity("literature/arts rows", _of(synthesis.curate, lambda m: m.literature_arts_rows), HALF_TO_TWICE),
    _counted("truncated answers", evaluation.generate, lambda m: m.truncated),
    _counted("answers with unclosed thinking", evaluation.generate, lambda m: m.unclosed_thinking),
    _counted("empty answers", evaluation.generate, lambda m: m.empty_answers),
    _counted("looping answers", probes.hygiene, lambda m: m.loops),
    _counted("answers in the wrong language", probes.hygiene, lambda m: m.wrong_language),
    _counted("clean answers", probes.hygiene, lambda m: m.clean),
    Quantity("share of answers that end", _of(probes.termination, lambda m: m.share_ended), Within(0.2)),
    Quantity("nll of held-out texts, nats/token", _of(probes.perplexity, lambda m: m.nll), Within(0.2)),
)
