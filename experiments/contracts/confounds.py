"""Confounds: quantities that differ between arms without being the ablated part, and the bounds beyond which they
explain a difference as well as the ablation does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from experiments.contracts.terms import is_touched
from experiments.metrics import controls, evaluation, probes, synthesis, training
from experiments.store.metrics import StageMetrics
from experiments.store.records import read_record
from experiments.store.runs import Counts, Result
from experiments.store.step import StageKey

M = TypeVar("M", bound=StageMetrics)
CATEGORY_MIX = "category mix, total variation"


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


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A confound.

    read:    its value in a run; None where the run has no such stage
    bound:   of the quantity divided by `per`; beyond it the quantity is flagged
    control: the override that makes it equal to the baseline's; empty where there is none
    moved_by: the parts of the configuration whose ablation is about this very quantity: changing one is no confound
    """

    label: str
    read: Callable[[Result], float | None]
    bound: Between | Within
    per: Callable[[Result], float] = lambda run: 1.0
    control: str = ""
    moved_by: tuple[str, ...] = ()

    def flag(self, run: Result, baseline: Result) -> Flag | None:
        """The flag of a run beside its baseline; None within the bound, and where either has no such stage."""
        here, there = self.read(run), self.read(baseline)
        if here is None or there is None or here == there:
            return None
        exceeded = self.bound.exceeded(here / self.per(run), there / self.per(baseline))
        return Flag(self.label, here, there, self.control) if exceeded else None


@dataclass(frozen=True)
class Flag:
    """A confound of an arm that is further from its baseline's than its bound allows, and the override that makes it
    equal, where there is one. `seeds` are those at which it is, where the arm was run at others, too."""

    label: str
    here: float
    baseline: float
    control: str = ""
    seeds: tuple[int, ...] = ()

    @property
    def ratio(self) -> float | None:
        """The arm's value as a multiple of the baseline's; None where that is zero."""
        return self.here / self.baseline if self.baseline else None


def at_seeds(seeds: Sequence[int]) -> str:
    """The end of a text that holds at some seeds alone: ` at seeds 0, 2`; empty for none."""
    return f" at seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if seeds else ""


def confounds(run: Result) -> Counts:
    """The confounds of a run by label, None where it has no such stage; counts of answers are sums over benchmarks."""
    return {quantity.label: quantity.read(run) for quantity in QUANTITIES}


def flags(run: Result, baseline: Result, changed: Sequence[str]) -> tuple[Flag, ...]:
    """The confounds of a run whose distance from the baseline's explains a difference as well as the ablation does.
    `changed` are the differences of their configuration: what the ablation is about is none."""
    parts = [line.partition(": ")[0].partition(".")[0] for line in changed]
    candidates = [q for q in QUANTITIES if not any(is_touched(part, q.moved_by) for part in parts)]
    flagged = [quantity.flag(run, baseline) for quantity in candidates]
    if not any(is_touched(part, MIX_IS_ABLATED_BY) for part in parts):
        flagged.append(_mix_flag(run, baseline))
    return tuple(flag for flag in flagged if flag is not None)


def seconds_from_training(run: Result) -> float | None:
    """What a run took from its training on: the cost of another arm of its size. None without a training."""
    names = list(run.steps)
    if training.TRAIN.named() not in names:
        return None
    after = names[names.index(training.TRAIN.named()) :]
    return math.fsum(read_record(run.steps[name].path).seconds for name in after)


def _mix_flag(run: Result, baseline: Result) -> Flag | None:
    mixes = [metrics.categories if (metrics := r.metrics_of(training.MIX)) else {} for r in (run, baseline)]
    if not all(mixes):
        return None
    distance = total_variation(*mixes)
    return Flag(CATEGORY_MIX, distance, 0.0) if distance > MIX_DISTANCE else None


def total_variation(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """Half the sum of the absolute differences of two distributions, given as counts: 0 for equal ones, 1 for ones that
    share nothing."""
    sizes = [sum(counts.values()) for counts in (one, other)]
    keys = one.keys() | other.keys()
    return sum(abs(one.get(key, 0) / sizes[0] - other.get(key, 0) / sizes[1]) for key in keys) / 2


def _of(stage: StageKey[M], count: Callable[[M], float | None]) -> Callable[[Result], float | None]:
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


def _sum(stage: StageKey[M], count: Callable[[M], int]) -> Callable[[Result], int | None]:
    """The sum over all steps of a stage, which are those of each benchmark."""

    def read(run: Result) -> int | None:
        values = [count(metrics) for metrics in run.all_metrics_of(stage).values()]
        return sum(values) if values else None

    return read


def _answers(run: Result) -> float:
    return float(_sum(evaluation.GENERATE, lambda m: m.rows)(run) or 1)


def _counted(label: str, stage: StageKey[M], count: Callable[[M], int]) -> Quantity:
    """A number of answers, whose share of all answers is bounded."""
    return Quantity(label=label, read=_sum(stage, count), bound=Within(0.2), per=_answers)


def _rows_stated(run: Result) -> float:
    mixed = run.metrics_of(training.MIX)
    return 1.0 if mixed is None else float(mixed.rows + sum(mixed.short.values()))


TENTH = Between(0.9, 1.1)
HALF_TO_TWICE = Between(0.5, 2.0)  # of counts that are small by nature
MIX_DISTANCE = 0.1
MIX_IS_ABLATED_BY = ("categories", "data", "source", "public")
QUANTITIES = (
    Quantity(label="rows", read=_of(training.TRAIN, lambda m: m.rows), bound=TENTH, control="match=steps"),
    Quantity(
        label="rows fewer than stated",
        read=_of(training.MIX, lambda m: sum(m.short.values())),
        bound=Within(0.5),
        per=_rows_stated,
    ),
    Quantity(
        label="trained tokens",
        read=_of(training.TRAIN, lambda m: m.trained_tokens),
        bound=TENTH,
        control="match=tokens",
    ),
    Quantity(label="optimizer steps", read=_of(training.TRAIN, lambda m: m.steps), bound=TENTH, control="match=steps"),
    Quantity(
        label="thinking words",
        read=_first(_of(controls.CONTROL, lambda m: m.mean_words), _of(synthesis.CURATE, lambda m: m.mean_words)),
        bound=TENTH,
        moved_by=("trajectory", "thinking"),
    ),
    Quantity(
        label="reflection markers",
        read=_first(
            _of(controls.CONTROL, lambda m: m.reflection_markers), _of(synthesis.CURATE, lambda m: m.reflection_markers)
        ),
        bound=HALF_TO_TWICE,
        moved_by=("reflection",),
    ),
    Quantity(
        label="literature/arts rows",
        read=_of(synthesis.CURATE, lambda m: m.literature_arts_rows),
        bound=HALF_TO_TWICE,
        moved_by=MIX_IS_ABLATED_BY,
    ),
    _counted("truncated answers", evaluation.GENERATE, lambda m: m.truncated),
    _counted("answers with unclosed thinking", evaluation.GENERATE, lambda m: m.unclosed_thinking),
    _counted("empty answers", evaluation.GENERATE, lambda m: m.empty_answers),
    _counted("looping answers", probes.HYGIENE, lambda m: m.loops),
    _counted("answers in the wrong language", probes.HYGIENE, lambda m: m.wrong_language),
    _counted("clean answers", probes.HYGIENE, lambda m: m.clean),
    Quantity(
        label="share of answers that end", read=_of(probes.TERMINATION, lambda m: m.share_ended), bound=Within(0.2)
    ),
    Quantity(
        label="nll of held-out texts, nats/token", read=_of(probes.PERPLEXITY, lambda m: m.nll), bound=Within(0.2)
    ),
)
