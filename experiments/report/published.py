"""Scores that the paper reports for an arm, shown beside a score of this project at the paper's scale only.

The paper's judges are not those of today. Where `reer bridge` has stored a line between the two, a published score is
also placed on the scale of the judge that graded here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import cast

from evals.benchmark import Measure
from evals.judging.bridge import Bridge
from evals.statistics.agreement import Interval
from experiments.store.fingerprint import Json
from experiments.store.records import read_document, write_document
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
    placed: Interval | None = None
    """The value on the scale of `judge_here`, with the interval of the line; None where no bridge is stored."""


@dataclass(frozen=True, kw_only=True)
class StoredBridge:
    """The bridge of one measure between two judges, by their names."""

    measure: str
    old: str
    new: str
    bridge: Bridge


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the paper's tables: its judge, the choice of `judge=` that it is, the full number of items, and how
    many of its points make one unit of the measure."""

    column: str
    judge: str
    judge_name: str
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
    points = table().arms.get(result.name, {}).get(column.column)
    if points is None:
        return None
    value, here = points / column.unit, str(judge_settings(result.identity, measure.benchmark)["name"])
    found = None if result.root is None else _between(result.root, str(measure.name), column, here)
    return Published(
        value=value,
        column=column.column,
        judge=column.judge,
        judge_here=here,
        note=column.note,
        placed=None if found is None else found.bridge.placed(value),
    )


def store_bridge(root: Path, stored: StoredBridge) -> None:
    """Keep a bridge, in the place of an older one of the same measure and judges."""
    path = _path(root, stored.measure, stored.old, stored.new)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_document(path, asdict(stored))


def _between(root: Path, measure: str, column: Column, here: str) -> StoredBridge | None:
    path = _path(root, measure, column.judge_name, here)
    return adapter(StoredBridge).validate_python(read_document(path)) if path.exists() else None


def _path(root: Path, measure: str, old: str, new: str) -> Path:
    """The file of a bridge; names of judges may hold what a file's name may not."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{measure}-{old}-{new}")[:80]
    digest = sha256("\n".join((measure, old, new)).encode()).hexdigest()[:8]
    return root / "bridges" / f"{readable}-{digest}.json"
