"""What a stage reports about itself: one frozen dataclass per stage, in `experiments/metrics/`.

A renamed field fails in the type checker wherever it is read, and a record of another shape is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

from pydantic import ValidationError

from reer.errors import InputError
from reer.files import adapter

ABSENT = "–"


@runtime_checkable
class StageMetrics(Protocol):
    """The numbers of one finished stage, a frozen dataclass of plain values. Fields that differ between two executions
    that make the same, such as seconds and calls replayed, are marked `identity: False`."""

    def headline(self) -> str:
        """The result in a few words, for the line printed when the stage ends."""
        ...

    def summary(self) -> Sequence[str]:
        """The result in one or more lines, for the table at the end of a run."""
        return (self.headline(),)


@dataclass(frozen=True, kw_only=True)
class RowMetrics(StageMetrics):
    """Metrics of a stage that writes rows."""

    rows: int

    def headline(self) -> str:
        return f"{self.rows} rows"


@dataclass(frozen=True, kw_only=True)
class FilteredRowMetrics(RowMetrics):
    """Metrics of a stage that leaves rows out: how many, by reason."""

    dropped: Mapping[str, int]

    def headline(self) -> str:
        return f"{self.rows} rows, dropped {counts(self.dropped)}" if self.dropped else f"{self.rows} rows"

    def summary(self) -> Sequence[str]:
        """Lines beside the counts of rows and drops, which the table shows in columns of their own."""
        return ()


class Detail(NamedTuple):
    """One labelled number of a stage, as it is printed in tables that compare arms."""

    label: str
    text: str


@runtime_checkable
class DetailedMetrics(StageMetrics, Protocol):
    """Metrics that tables compare arm by arm."""

    def details(self) -> list[Detail]: ...


AnyMetrics = TypeVar("AnyMetrics", bound=StageMetrics)


def identifying(metrics: StageMetrics) -> dict[str, object]:
    """The metrics that are part of a build, as plain values."""
    marked = {field.name for field in fields(cast(Any, metrics)) if not field.metadata.get("identity", True)}
    return {name: value for name, value in asdict(cast(Any, metrics)).items() if name not in marked}


def read_metrics(kind: type[AnyMetrics], content: Mapping[str, object], source: str) -> AnyMetrics:
    """Metrics from the plain values of a record. Raises InputError naming `source` when these are not a `kind`."""
    known = {field.name for field in fields(cast(type, kind))}
    problems = [f"{name}: unknown field" for name in content if name not in known]
    try:
        metrics: AnyMetrics = adapter(kind).validate_python(content)
    except ValidationError as error:
        problems += [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    else:
        if not problems:
            return metrics
    raise InputError(
        f"{source}: not a record of {kind.__name__} ({'; '.join(problems[:5])}). Another version of this program wrote "
        "it; run the experiment again in a new runtime.root, or move this stage result out of the store"
    )


LARGE = 9999.5  # from here on, four digits would be written with an exponent


def number(value: float | int | bool | None) -> str:
    """A number in four digits, or as a whole one; a dash for None."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:{'.4g' if abs(value) < LARGE else '.0f'}}" if isinstance(value, float) else str(value)


def counts(values: Mapping[str, float | int | None]) -> str:
    """`long 3, empty 1`; `none` for an empty mapping."""
    return ", ".join(f"{name} {number(value)}" for name, value in values.items()) or "none"
