"""How much the paired differences of a measure vary, and from what: as finished runs show it, else as assumed."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from evals.benchmark import ItemScores, MeasureName
from evals.statistics.paired import MIN_ITEMS
from evals.statistics.variance import Components, components
from experiments.metrics import evaluation, probes
from experiments.store.records import verified
from experiments.store.runs import Result
from experiments.store.step import StepName

NLL = MeasureName("perplexity", "nll")
"""Nats per token of a held-out text."""
ASSUMED_SD = 0.11
"""Standard deviation of the paired differences of single answers with a single judgement each, as a share of the
measure's range: that of GPT-4o and Claude 3.5 on the 123 heuristic tasks of HelloBench, in its published judgements
(1.74 ± 1.03 of 100 points; on its 200 open questions it is 0.08)."""
ASSUMED_SHARES = Components(seeds=0.01, items=0.25, answers=0.5, judgements=0.25)
"""Shares of that variance, with the seeds' beside it: sampled answers vary more than items (arXiv 2512.21326)."""
ASSUMED_SOURCE = f"assumed: SD {ASSUMED_SD:.0%} of the range (HelloBench's published judgements)"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The noise of a measure's paired differences. `above_worst` is how far the mean score is above the worst possible
    one, 0 where that is unknown, and `items` the number of items it was measured on, None where it is assumed. `source`
    says where the figures come from."""

    variances: Components
    above_worst: float
    items: int | None
    source: str

    @property
    def sd(self) -> float:
        """Standard deviation of the differences between single answers to an item, of one training."""
        variances = self.variances
        return math.sqrt(variances.items + variances.answers + variances.judgements)


@dataclass(frozen=True)
class Column:
    """The scores of a run on one measure by item, and the variance of a judgement around its answer's mean."""

    scores: Mapping[str, float | None]
    worst: float | None = None
    judgement: float = 0.0


Table = Mapping[MeasureName, Column]


def assumed(worst: float, best: float, judged: bool) -> Spread:
    """The spread of a measure that no finished run has. Where no judge is asked, the answers have its share."""
    variance = (ASSUMED_SD * (best - worst)) ** 2
    return Spread(
        variances=_split(variance, variance * ASSUMED_SHARES.judgements if judged else 0.0),
        above_worst=abs(best - worst) / 2,
        items=None,
        source=ASSUMED_SOURCE,
    )


def _split(variance: float, judgements: float) -> Components:
    """The variance of single differences in the assumed shares, of which that of judgements is known."""
    rest, items, answers = max(0.0, variance - judgements), ASSUMED_SHARES.items, ASSUMED_SHARES.answers
    return Components(
        seeds=variance * ASSUMED_SHARES.seeds,
        items=rest * items / (items + answers),
        answers=rest * answers / (items + answers),
        judgements=min(variance, judgements),
    )


def measured(results: Sequence[Result], scale: str, judges: Mapping[MeasureName, str]) -> dict[MeasureName, Spread]:
    """The spread of each measure that arms and their baseline have at a scale, on the average of these arms. `judges`
    are the names of the judges by measure, where there is one: scores that others gave are left out. A run whose stage
    results are damaged or gone is left out, with a line."""
    runs = {(run.name, run.seed): run for run in results if run.scale == scale and not run.why_stale()}
    tables: dict[tuple[str, int], Table] = {
        key: {**dict(_scored(run, judges)), **_nll(run)} for key, run in runs.items()
    }
    arms = {run.name: run.baseline for run in runs.values() if run.name != run.baseline}
    spreads: dict[MeasureName, Spread] = {}
    for name in dict.fromkeys(name for table in tables.values() for name in table):
        columns = {key: table[name] for key, table in tables.items() if name in table}
        pairs = [_paired(columns, arm, baseline) for arm, baseline in arms.items()]
        if (spread := _spread([pair for pair in pairs if pair], scale)) is not None:
            spreads[name] = spread
    return spreads


Pair = Sequence[tuple[Column, Column]]  # arm and baseline at each seed that both have


def _paired(columns: Mapping[tuple[str, int], Column], arm: str, baseline: str) -> Pair:
    of_arm = {seed: column for (name, seed), column in columns.items() if name == arm}
    return [(of_arm[seed], columns[baseline, seed]) for seed in sorted(of_arm) if (baseline, seed) in columns]


def _spread(pairs: Sequence[Pair], scale: str) -> Spread | None:
    """The average over the arms with most seeds; None where no differences vary."""
    most = max(map(len, pairs), default=0)
    grids = [(pair, grid) for pair in pairs if len(pair) == most and (grid := _grid(pair))]
    if not grids:
        return None
    bases = [base for pair, _ in grids for _, base in pair]
    judgement = 2 * statistics.fmean(base.judgement for base in bases)  # of both sides
    variances = _components([grid for _, grid in grids], judgement)
    if not variances.items + variances.answers + variances.judgements:
        return None
    items = len(grids[0][1][0])
    of_seeds = "one seed: its split is assumed" if most == 1 else f"{most} seeds"
    compared = "arm" if len(grids) == 1 else "arms"
    return Spread(
        variances=variances,
        above_worst=max(0.0, statistics.fmean(map(_above_worst, bases))),
        items=items,
        source=f"measured: {len(grids)} {compared} at {scale}, {items} items, {of_seeds}",
    )


def _grid(pair: Pair) -> list[list[float]]:
    """Differences by seed and item, of the items that are scored in all of these runs; empty for too few items."""
    known = [{item: s for item, s in column.scores.items() if s is not None} for sides in pair for column in sides]
    shared = sorted(set.intersection(*map(set, known)))
    sides = list(zip(known[::2], known[1::2], strict=True))
    return [[arm[item] - base[item] for item in shared] for arm, base in sides] if len(shared) >= MIN_ITEMS else []


def _components(grids: Sequence[list[list[float]]], judgement: float) -> Components:
    """The mean components of the arms. What a table of one answer to an item hides is moved to where it belongs: the
    known variance of judgements, and with one seed the assumed share of answers."""
    import numpy as np

    found = [components(np.asarray(grid)[:, :, None, None]) for grid in grids]
    mean = Components(**{f.name: statistics.fmean(getattr(one, f.name) for one in found) for f in fields(Components)})
    if len(grids[0]) == 1:
        return _split(mean.items, judgement)
    return Components(
        seeds=mean.seeds,
        items=mean.items,
        answers=max(0.0, mean.answers - judgement),
        judgements=min(mean.answers, judgement),
    )


def _above_worst(column: Column) -> float:
    known = [score for score in column.scores.values() if score is not None]
    return 0.0 if column.worst is None or not known else statistics.fmean(known) - column.worst


def _scored(run: Result, judges: Mapping[MeasureName, str]) -> Iterator[tuple[MeasureName, Column]]:
    """The measures of the benchmarks, without those that another judge graded."""
    for label, metrics in run.all_metrics_of(evaluation.GRADE).items():
        table, noise = _item_scores(run, evaluation.GRADE.named(label)), _noise(run, label)
        for measure in metrics.measures:
            judge = judges.get(measure.name)
            if judge in (None, metrics.judge):
                column = Column(table[measure.metric], measure.worst, judgement=noise if judge else 0.0)
                yield measure.name, column
    for stage in (evaluation.HARNESS, evaluation.HELD_OUT_SCORES):
        for label, metrics in run.all_metrics_of(stage).items():
            table = _item_scores(run, stage.named(label))
            for measure in metrics.measures:
                yield measure.name, Column(table[measure.metric], measure.worst)


def _item_scores(run: Result, name: StepName) -> ItemScores:
    return json.loads(verified(run.steps[name].path, "scores.json").read_text(encoding="utf-8"))


def _noise(run: Result, benchmark: str) -> float:
    """The variance of a judgement around its answer's mean, from the judge's repeated verdicts; 0 without any."""
    reliability = run.metrics_of(probes.RELIABILITY, benchmark)
    repeat = reliability.repeat if reliability else None
    return (repeat.noise_sd or 0.0) ** 2 if repeat else 0.0


@dataclass(frozen=True, kw_only=True)
class TextNll:
    """A held-out text with its nats per token; None where it exceeds the context."""

    id: str
    tokens: int | None
    nll: float | None


def _nll(run: Result) -> Table:
    rows = run.rows(probes.PERPLEXITY, TextNll)
    return {NLL: Column({row.id: row.nll for row in rows})} if rows else {}
