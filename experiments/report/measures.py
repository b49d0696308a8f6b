"""The metrics of a finished run as records: of every step, and the measures of its benchmarks, also by item."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evals.benchmark import ItemScores, Measure
from experiments.stages import data, evaluation, probes, synthesis, training
from experiments.stages.evaluation import ScoreMetrics
from experiments.store.metrics import StageMetrics
from experiments.store.records import verified
from experiments.store.runs import Result
from experiments.store.step import Stage, StepName

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
