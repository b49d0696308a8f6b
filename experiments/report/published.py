"""What the paper reports of an arm, to stand beside our own number at the paper's scale and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from experiments.store.runs import Result

TABLE = Path(__file__).parent / "published.yaml"
SCALE = "paper"


@dataclass(frozen=True)
class Published:
    """A value in our measure's unit, the paper's column it stands in and its judge; `our_judge` graded ours."""

    value: float
    column: str
    judge: str
    our_judge: str
    note: str = ""


@cache
def table() -> Mapping[str, Any]:
    """The published numbers with their source, read once."""
    import yaml

    content: Mapping[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return content


def source() -> str:
    """Where the numbers are from, and why they are no comparison."""
    return str(table()["source"])


def published(result: Result, measure: Mapping[str, Any]) -> Published | None:
    """The paper's value of this arm and measure. None at another scale, for another arm, and where the measure was
    taken on fewer items than the benchmark has."""
    column = table()["columns"].get(f"{measure['benchmark']}/{measure['metric']}") if result.scale == SCALE else None
    if column is None or measure["total"] != column["items"]:
        return None
    value = table()["arms"].get(result.name, {}).get(column["column"])
    if value is None:
        return None
    ours = str(result.identity["judge"]["name"])  # type: ignore[index, call-overload]  # a part, encoded
    return Published(value / column["unit"], column["column"], column["judge"], ours, column.get("note", ""))
