"""Scores that the paper reports for an arm, shown beside a score of this project at the paper's scale only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from evals.benchmark import Measure
from experiments.store.fingerprint import Json
from experiments.store.runs import Result
from reer.files import adapter

TABLE = Path(__file__).parent / "published.yaml"
SCALE = "paper"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published value in the unit of the measure, with its column and its judge; `judge_here` graded this run."""

    value: float
    column: str
    judge: str
    judge_here: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the paper's tables: its judge, the full number of items, and how many of its points make one unit
    of the measure."""

    column: str
    judge: str
    items: int
    unit: float
    note: str = ""


@dataclass(frozen=True)
class PublishedTable:
    """The published numbers: their source, columns by measure, and values by arm and column."""

    source: str
    columns: Mapping[str, Column]
    arms: Mapping[str, Mapping[str, float]]


@cache
def table() -> PublishedTable:
    """The published numbers, read once."""
    import yaml

    return adapter(PublishedTable).validate_python(yaml.safe_load(TABLE.read_text(encoding="utf-8")))


def source() -> str:
    """Where the numbers are from, and why they are not comparable."""
    return table().source


def judge_settings(identity: Mapping[str, Json], benchmark: str) -> Mapping[str, Json]:
    """The settings of the judge of a benchmark, in the identity of a run."""
    judge = cast("Mapping[str, Json]", identity["judge"])
    if "by_benchmark" not in judge:
        return judge
    own = cast("Mapping[str, Mapping[str, Json]]", judge["by_benchmark"])
    return own.get(benchmark, cast("Mapping[str, Json]", judge["default"]))


def published(result: Result, measure: Measure) -> Published | None:
    """The paper's value for this arm and measure. None at another scale, for another arm, and where the measure has
    fewer items than the benchmark."""
    column = table().columns.get(str(measure.name)) if result.scale == SCALE else None
    if column is None or measure.total != column.items:
        return None
    value = table().arms.get(result.name, {}).get(column.column)
    if value is None:
        return None
    return Published(
        value=value / column.unit,
        column=column.column,
        judge=column.judge,
        judge_here=str(judge_settings(result.identity, measure.benchmark)["name"]),
        note=column.note,
    )
