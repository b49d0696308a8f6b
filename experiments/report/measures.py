"""What a finished run scored: the measures of its benchmarks, also by item."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.benchmark import ItemScores, Measure, OfficialScore
from evals.hygiene import Symptoms
from experiments.contracts.conditions import reasons_over_seeds
from experiments.contracts.confounds import confounds
from experiments.metrics import degeneration, evaluation, probes
from experiments.store.records import digest_of, verified
from experiments.store.runs import Counts, Result

SCORED = (evaluation.GRADE, evaluation.HARNESS, evaluation.HELD_OUT_SCORES)
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
    graded = result.all_metrics_of(evaluation.GRADE).values()
    return {str(m.name): of.official[m.metric] for of in graded for m in of.measures if m.metric in of.official}


def score_files(result: Result) -> dict[Path, tuple[Measure, ...]]:
    """The files with scores by item, and the measures that each one holds. Raises InputError for a damaged file."""
    files: dict[Path, tuple[Measure, ...]] = {}
    for stage in SCORED:
        for label, metrics in result.all_metrics_of(stage).items():
            folder = result.folder_of(stage, label)
            if folder is not None:
                files[verified(folder, SCORES)] = metrics.measures
    return files


def degenerate(run: Result, baseline: Result | None) -> tuple[str, ...]:
    """Why a run's model is degenerate, so that its scores say little about its data; beside a baseline, only what is
    worse than there. Empty where it is not."""
    return tuple(_symptoms(run).reasons(_symptoms(baseline) if baseline else None))


def fooled_judges(results: Sequence[Result]) -> list[str]:
    """A sentence on the judge of each benchmark that grades answers without content as high as the model's own."""
    lines: list[str] = []
    for label in dict.fromkeys(label for result in results for label in result.labels_of(probes.RELIABILITY)):
        found = [metrics for result in results if (metrics := result.metrics_of(probes.RELIABILITY, label))]
        if fooled := sum(bool(metrics.fooled_by) for metrics in found):
            lines.append(
                f"In {fooled} of {len(found)} run{'' if len(found) == 1 else 's'} the judge of {label} grades answers "
                "without content, such as an empty one, no lower than the model's own: it cannot rank these arms."
            )
    return lines


def degenerate_models(label: str, baselines: Mapping[int, Result], others: Sequence[Result]) -> Iterator[str]:
    """Why the model of the baseline is degenerate at these seeds, and how many others are; nothing where it is not."""
    reasons = list(reasons_over_seeds({seed: degenerate(run, None) for seed, run in baselines.items()}))
    if not reasons:
        return
    why = f"The model of {label} is degenerate ({', '.join(reasons)})"
    count = sum(bool(degenerate(run, None)) for run in others)
    if not others:
        yield f"{why}: its scores say little about its data."
        return
    runs = "runs of other arms" if len(baselines) > 1 else "other arms"
    yield (
        f"{why}, and so are those of {count} of {len(others)} {runs}: their scores say little about their data. "
        "An arm is named only where it is worse."
    )


def _symptoms(run: Result) -> Symptoms:
    answers = run.all_metrics_of(probes.HYGIENE).values()
    count = sum(metrics.rows for metrics in answers)
    termination, template = run.metrics_of(probes.TERMINATION), run.metrics_of(degeneration.TEMPLATE)
    return Symptoms(
        loops=sum(metrics.loops for metrics in answers) / count if count else None,
        unfinished=sum(max(metrics.truncated, metrics.unclosed) for metrics in answers) / count if count else None,
        ended=termination.share_ended if termination else None,
        asked_otherwise=template.asked_otherwise / template.rows if template else None,
        without_end=template.without_end / template.rows if template else None,
    )
