"""A run as one row of a table: flat columns with short names, the same for every arm of a scale."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from experiments.contracts.conditions import Conditions
from experiments.metrics import evaluation, training
from experiments.report.compare import Arm, Cell, Comparison, SeedsArm, SeedsCell, SeedsComparison
from experiments.report.published import table
from experiments.store.records import read_record
from experiments.store.runs import Result

Row = Mapping[str, float | str]
Columns = dict[str, float | str | None]
UNPUBLISHED_MEASURES = 3  # columns for a benchmark of which the paper reports no measure
ABLATIONS = 2  # the fewest arms for which the paper reports a measure that is about ablations


def summary_row(comparison: Comparison, arm: Arm) -> Row:
    """The columns of one arm at one seed, beside the baseline at this seed; the report in W&B has the table over seeds.
    A number that is not known has no column.

    For each headline measure: `score`, `coverage` (share of scored items), `official` and `official_coverage` (the
    number of the benchmark's own scripts, and the share of items that it counts), `delta` (paired difference from the
    baseline) with `delta_low`, `delta_high`, `p_holm` and `finding`, and `published` and `published_delta` where the
    paper has a value for this arm. `contract` says whether the arm can be compared with the baseline, `confounded_by`
    which confounds are out of bounds, and why its model is degenerate where it is worse than the baseline's. `cost/usd`
    is what its judgements cost, whichever run paid; `seconds` and `cost/device_hours` count all its stages, also those
    that it shares.
    """
    confounds: Columns = {f"confound/{slug(label)}": value for label, value in arm.confounds.items()}
    confounds["confounded_by"] = None if arm.is_baseline else confounded_by(arm)
    columns: Columns = {"contract": arm.contract_word, **score_columns(comparison, arm)}
    return _known(columns | confounds | costs(arm.result))


def score_columns(table: Comparison | SeedsComparison, arm: Arm | SeedsArm) -> Row:
    """The columns of the headline measures, of an arm at one seed or over several."""
    first = table.arms[0]
    columns: Columns = {}
    for name in headline_measures(table.measures):
        columns |= _measure_columns(slug(name), arm.cells[name], first.cells[name] if first.is_baseline else None)
    return _known(columns)


def _known(columns: Mapping[str, float | str | None]) -> Row:
    return {name: value for name, value in columns.items() if value is not None}


def confounded_by(arm: Conditions) -> str:
    """The confounds that are flagged, and why the model is degenerate; `nothing` where there is no such."""
    model = [f"a degenerate model: {', '.join(arm.degenerate)}"] if arm.degenerate else []
    return ", ".join([*(flag.label for flag in arm.flags), *model]) or "nothing"


def headline_measures(names: Sequence[str]) -> list[str]:
    """The measures that a row shows: of each benchmark those that the paper reports for ablations, else those that it
    reports at all, else the first few."""
    by_benchmark: dict[str, list[str]] = {}
    for name in names:
        by_benchmark.setdefault(name.partition("/")[0], []).append(name)
    return [name for of_one in by_benchmark.values() for name in _headlines(of_one)]


def _headlines(names: Sequence[str]) -> Sequence[str]:
    columns = {measure: column.column for measure, column in table().columns.items()}
    arms = Counter(column for values in table().arms.values() for column in values)
    published = [name for name in names if name in columns]
    of_ablations = [name for name in published if arms[columns[name]] >= ABLATIONS]
    return of_ablations or published or names[:UNPUBLISHED_MEASURES]


def _measure_columns(name: str, cell: Cell | SeedsCell, baseline: Cell | SeedsCell | None) -> Columns:
    columns: Columns = {f"score/{name}": cell.value, f"coverage/{name}": cell.coverage}
    if cell.official:
        columns[f"official/{name}"] = cell.official.value
        columns[f"official_coverage/{name}"] = cell.official.counted / cell.official.total
    if difference := cell.difference:
        columns |= {
            f"delta/{name}": difference.mean,
            f"delta_low/{name}": difference.low,
            f"delta_high/{name}": difference.high,
            f"p_holm/{name}": difference.p_holm,
            f"finding/{name}": difference.finding,
        }
    if cell.published:
        columns[f"published/{name}"] = cell.published.value
        if baseline and baseline.published and baseline is not cell:
            columns[f"published_delta/{name}"] = cell.published.value - baseline.published.value
    return columns


def costs(result: Result) -> Columns:
    """What a run took: seconds of all its stages, device-hours, and US dollars for judgements."""
    train = result.metrics_of(training.TRAIN)
    devices = train.processes if train else 1
    seconds = {name: read_record(step.path).seconds for name, step in result.steps.items()}
    busy = sum(took * (devices if name.stage == training.TRAIN.name else 1) for name, took in seconds.items())
    grades = result.all_metrics_of(evaluation.GRADE).values()
    return {
        "seconds": round(sum(seconds.values()), 2),
        "cost/device_hours": busy / 3600,
        "cost/usd": sum(grade.judge_usd for grade in grades) if grades else None,
    }


def slug(label: str) -> str:
    """A label as part of a column's name: lower case words joined by `_`."""
    return "_".join(_words(label))


def _words(label: str) -> Iterator[str]:
    return (word.lower() for word in re.findall(r"[A-Za-z0-9]+", label))
