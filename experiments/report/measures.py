"""What a finished run scored: the measures of its benchmarks, also by item."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evals.benchmark import ItemScores, Measure
from experiments.contracts.confounds import confounds
from experiments.stages import evaluation
from experiments.store.records import digest_of, verified
from experiments.store.runs import Counts, Result

SCORED = (evaluation.grade, evaluation.harness)
SCORES = "scores.json"  # of a stage that scores: metric → item → score


@dataclass(frozen=True)
class ScoredRun:
    """A run with its confounds, its measures and its scores by item, read once, and for each measure the sha256 of the
    file with its scores."""

    result: Result
    confounds: Counts
    measures: dict[str, Measure]
    table: ItemScores
    digests: dict[str, str]

    @classmethod
    def read(cls, result: Result) -> ScoredRun:
        """The scores of a run. Raises InputError for a damaged file of scores."""
        run = cls(result, confounds(result), {}, {}, {})
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


def measures_of(result: Result) -> dict[str, Measure]:
    """The measures of all benchmarks by name, without their scores by item."""
    scored = [metrics for stage in SCORED for metrics in result.all_metrics_of(stage).values()]
    return {str(measure.name): measure for metrics in scored for measure in metrics.measures}


def score_files(result: Result) -> dict[Path, tuple[Measure, ...]]:
    """The files with scores by item, and the measures that each one holds. Raises InputError for a damaged file."""
    files: dict[Path, tuple[Measure, ...]] = {}
    for stage in SCORED:
        for label, metrics in result.all_metrics_of(stage).items():
            folder = result.folder_of(stage, label)
            if folder is not None:
                files[verified(folder, SCORES)] = metrics.measures
    return files
