"""The tables of a run, as plain data: every item of every benchmark, every trajectory, every measure, every number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from evals.benchmark import JudgedBenchmark, Measure, Response, Verdict
from experiments.contracts.measured import metrics_in
from experiments.experiment import Experiment
from experiments.metrics import data, evaluation, synthesis
from experiments.metrics.evaluation import ScoreMetrics
from experiments.report.compare import Arm
from experiments.report.measures import ScoredRun
from experiments.store.metrics import StageMetrics
from experiments.store.runs import Result
from reer.text import join_segments
from reer.types import Pair, Refinement

Value = str | float | None
TRAJECTORIES = (
    "pair_id",
    "query",
    "solution",
    "thinking_before",
    "thinking_after",
    "score_before",
    "score_after",
    "accepted_edits",
    "stopped",
)
RESULTS = (
    "measure",
    "score",
    "coverage",
    "items",
    "least",
    "greatest",
    "delta",
    "delta_low",
    "delta_high",
    "p",
    "p_holm",
    "finding",
    "published",
)


@dataclass(frozen=True)
class Table:
    """Rows of plain values under named columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


def tables_of(exp: Experiment, arm: Arm, baseline: Result | None) -> dict[str, Table]:
    """All tables of a finished run by their key, which is the same in every run, so that W&B joins them."""
    result = arm.result
    found = {"trajectories": trajectories(result), "eval_results": results(arm), "detail/metrics": details(result)}
    for label, benchmark in exp.benchmarks.items():
        if isinstance(benchmark, JudgedBenchmark):
            found[f"samples/{label}"] = samples(label, benchmark, result, baseline)
    return {key: table for key, table in found.items() if table.rows}


def samples(label: str, benchmark: JudgedBenchmark, result: Result, baseline: Result | None) -> Table:
    """Every item: prompt, thinking, answer, scores, what the judge said, and the scores of the baseline."""
    responses = {row.item_id: row for row in result.rows(evaluation.GENERATE, Response, label)}
    verdicts: dict[str, list[Verdict]] = {}
    for verdict in result.rows(evaluation.GRADE, Verdict, label):
        verdicts.setdefault(verdict.item_id, []).append(verdict)
    ours = ScoredRun.read(result).table
    theirs = ScoredRun.read(baseline).table if baseline else {}
    names = [name for name in ours if name.startswith(f"{benchmark.name}/")]
    columns = [f"score {name}" for name in names] + [f"baseline {name}" for name in names]
    rows = [
        (
            item.id,
            item.prompt,
            responses[item.id].thinking,
            responses[item.id].answer,
            "\n".join(filter(None, map(said, verdicts.get(item.id, ())))),
            *(ours[name].get(item.id) for name in names),
            *(theirs.get(name, {}).get(item.id) for name in names),
        )
        for item in benchmark.items()
        if item.id in responses
    ]
    return Table(("item_id", "prompt", "thinking", "answer", "verdict", *columns), tuple(rows))


def said(verdict: Verdict) -> str:
    """What a verdict says: its reason where it gives one, else the judge's reply."""
    text = verdict.why or verdict.reply
    return f"{verdict.criterion}: {text}" if verdict.criterion and text else text


def trajectories(result: Result) -> Table:
    """Every searched trajectory, before and after its search."""
    pairs = {pair.id: pair for pair in result.rows(data.PAIRS, Pair)}
    rows = [
        (
            row.pair_id,
            pairs[row.pair_id].query,
            pairs[row.pair_id].solution,
            join_segments(row.draft),
            join_segments(row.segments),
            row.draft_score,
            row.score,
            sum(edit.chosen is not None for edit in row.trace()),
            row.stopped,
        )
        for row in result.rows(synthesis.REFINE, Refinement)
    ]
    return Table(TRAJECTORIES, tuple(rows))


def results(arm: Arm) -> Table:
    """Every measure with its bounds, and its difference from the baseline with the interval."""
    rows: list[tuple[Value, ...]] = []
    for name, cell in arm.cells.items():
        if cell.measure is not None:
            m, d = cell.measure, cell.difference
            change = (d.mean, d.low, d.high, d.p, d.p_holm, d.finding) if d else (None,) * 6
            published = cell.published.value if cell.published else None
            rows.append((name, m.value, m.coverage, m.total, m.low, m.high, *change, published))
    return Table(RESULTS, tuple(rows))


def details(result: Result) -> Table:
    """Every number of every stage."""
    numbers = {str(name): scalars(metrics) for name, metrics in metrics_in(result).items()}
    rows = [(stage, key, value) for stage, of_stage in numbers.items() for key, value in of_stage.items()]
    return Table(("stage", "number", "value"), tuple(rows))


def scalars(metrics: StageMetrics) -> dict[str, float]:
    """Metrics as flat numbers: nested ones by path, measures by name with their coverage; None is left out."""
    if isinstance(metrics, ScoreMetrics):
        values = asdict(metrics)
        del values["measures"]
        return flat(values) | {k: v for measure in metrics.measures for k, v in _measure_scalars(measure).items()}
    return flat(asdict(cast(Any, metrics)))


def _measure_scalars(measure: Measure) -> dict[str, float]:
    named = {
        str(measure.name): measure.value,
        f"{measure.name}/coverage": measure.coverage,
        f"{measure.name}/of_scored": measure.mean_of_scored,
    }
    return {name: value for name, value in named.items() if value is not None}


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, float]:
    """The numbers in nested mappings by path; all else is left out."""
    numbers: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            numbers |= flat(cast(Mapping[str, object], value), f"{prefix}{key}/")
        elif isinstance(value, int | float):
            numbers[f"{prefix}{key}"] = value
    return numbers
