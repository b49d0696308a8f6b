"""What a finished run measured: the metrics of every step, the measures of its benchmarks, also by item, and its
confounds, which are quantities that differ between arms without being the ablated part."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from evals.benchmark import ItemScores, Measure
from experiments.stages import data, evaluation, probes, synthesis, training
from experiments.stages.evaluation import ScoreMetrics
from experiments.store.metrics import StageMetrics
from experiments.store.records import verified
from experiments.store.runs import Counts, Result
from experiments.store.step import Stage, StepName

M = TypeVar("M", bound=StageMetrics)
MODULES = (data, synthesis, training, probes, evaluation)
STAGES = {stage.name: stage for module in MODULES for stage in vars(module).values() if isinstance(stage, Stage)}
SCORED = (evaluation.grade, evaluation.harness)


@dataclass(frozen=True)
class ScoredRun:
    """A run with its measures and its scores by item, read once."""

    result: Result
    measures: Mapping[str, Measure]
    table: ItemScores

    @classmethod
    def read(cls, result: Result) -> ScoredRun:
        return cls(result, measures_of(result), item_table(result))

    def score(self, name: str) -> float | None:
        """The value of a measure; None where it is withheld or was not taken."""
        measure = self.measures.get(name)
        return measure.value if measure else None

    def column(self, name: str) -> Mapping[str, float | None]:
        """item → score of a measure."""
        return self.table.get(name, {})


def metrics_in(result: Result) -> dict[StepName, StageMetrics]:
    """The metrics of every step of a run, in order. Raises InputError for a record of another version."""
    read = {name: result.read(name, STAGES[name.stage].metrics) for name in result.steps if name.stage in STAGES}
    return {name: metrics for name, metrics in read.items() if metrics is not None}


def measures_of(result: Result) -> dict[str, Measure]:
    """All measures of all benchmarks by name."""
    return {str(measure.name): measure for metrics in _scored(result).values() for measure in metrics.measures}


def item_table(result: Result) -> ItemScores:
    """measure name → item → score, over all benchmarks of a run."""
    table: ItemScores = {}
    for folder, metrics in _scored(result).items():
        columns: ItemScores = json.loads(verified(folder, "scores.json").read_text(encoding="utf-8"))
        for measure in metrics.measures:
            column = columns.get(measure.metric)
            if column is not None:
                table[str(measure.name)] = column
    return table


def _scored(result: Result) -> Mapping[Path, ScoreMetrics]:
    """The metrics of every stage that scores, by the folder of its result."""
    scored: dict[Path, ScoreMetrics] = {}
    for stage in SCORED:
        for label, metrics in result.all_metrics_of(stage).items():
            folder = result.folder_of(stage, label)
            if folder is not None:
                scored[folder] = metrics
    return scored


def confounds(run: Result) -> Counts:
    """The confounds of a run by label, None where it has no such stage; counts of answers are sums over benchmarks."""
    train, curate = run.metrics_of(training.train), run.metrics_of(synthesis.curate)
    generate = run.all_metrics_of(evaluation.generate).values()
    hygiene = run.all_metrics_of(probes.hygiene).values()
    return {
        "rows": _of(train, lambda m: m.rows),
        "trained tokens": _of(train, lambda m: m.trained_tokens),
        "optimizer steps": _of(train, lambda m: m.steps),
        "thinking words": _of(curate, lambda m: m.mean_words),
        "reflection markers": _of(curate, lambda m: m.reflection_markers),
        "literature/arts rows": _of(curate, lambda m: m.literature_arts_rows),
        "truncated answers": _total(generate, lambda m: m.truncated),
        "answers with unclosed thinking": _total(generate, lambda m: m.unclosed_thinking),
        "empty answers": _total(generate, lambda m: m.empty_answers),
        "looping answers": _total(hygiene, lambda m: m.loops),
        "answers in the wrong language": _total(hygiene, lambda m: m.wrong_language),
        "clean answers": _total(hygiene, lambda m: m.clean),
        "share of answers that end": _of(run.metrics_of(probes.termination), lambda m: m.share_ended),
        "nll of held-out texts, nats/token": _of(run.metrics_of(probes.perplexity), lambda m: m.nll),
    }


def _of(metrics: M | None, count: Callable[[M], float | None]) -> float | None:
    return None if metrics is None else count(metrics)


def _total(metrics: Iterable[M], count: Callable[[M], int]) -> int | None:
    values = [count(m) for m in metrics]
    return sum(values) if values else None
