"""`reer agreement RUN --labels FILE`: how well a judge's scores agree with grades by people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.benchmark import Response
from evals.labels import Label, LabelledAnswers, labelled, read_labels
from evals.statistics.agreement import Interval, Rank, rank_agreement
from experiments.metrics import evaluation
from experiments.report import console as show
from experiments.report.arms import only
from experiments.report.measures import ScoredRun
from experiments.store.metrics import counts
from experiments.store.runs import Result, all_results
from reer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LabelAgreement:
    """The agreement of a run's measures with the labels of a file, and by benchmark which labels count."""

    run: str
    labels: str
    measures: Mapping[str, Rank]
    benchmarks: Mapping[str, LabelledAnswers]


def agreement_of(name: str, path: Path, root: Path) -> LabelAgreement:
    """The agreement of every measure of the labelled benchmarks with the labels. Raises InputError where no label is
    about an answer of the run."""
    result, labels = only(all_results(root / "runs"), name), read_labels(path)
    run = ScoredRun.read(result)
    found = {label: _of(result, label, labels) for label in result.labels_of(evaluation.GRADE)}
    used = {label: of_benchmark for label, of_benchmark in found.items() if of_benchmark.grades}
    if not used:
        reasons = "; ".join(f"{label}: {counts(of.left_out)}" for label, of in found.items())
        raise InputError(f"agreement: no label of {path} is about an answer of {result.run_name} ({reasons})")
    measures: dict[str, Rank] = {}
    for label, of_benchmark in used.items():
        graded = result.metrics_of(evaluation.GRADE, label)
        for measure in graded.measures if graded else ():
            scores = {item: s for item, s in run.column(str(measure.name)).items() if s is not None}
            measures[str(measure.name)] = rank_agreement(of_benchmark.grades, scores)
    return LabelAgreement(run=result.run_name, labels=path.name, measures=measures, benchmarks=used)


def show_agreement(found: LabelAgreement) -> None:
    """Print the agreement of each measure, and which labels count."""
    heads = ("measure", "n", "Spearman", "Kendall", "ICC")
    rows = [_row(name, agreed) for name, agreed in found.measures.items()]
    show.table(f"{found.run} and {found.labels}, 95 % intervals", heads, rows)
    for label, of_benchmark in found.benchmarks.items():
        show.line(_counted(label, of_benchmark))


def _of(result: Result, label: str, labels: Sequence[Label]) -> LabelledAnswers:
    return labelled(labels, label, result.rows(evaluation.GENERATE, Response, label))


def _row(measure: str, found: Rank) -> tuple[str, ...]:
    return (measure, str(found.items), *map(_text, (found.spearman, found.kendall, found.icc)))


def _text(estimate: Interval | None) -> str:
    return "–" if estimate is None else f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _counted(label: str, found: LabelledAnswers) -> str:
    left_out = f"; labels left out: {counts(found.left_out)}" if found.left_out else ""
    return f"{label}: {len(found.grades)} answers with a label, {found.unlabelled} without{left_out}"
