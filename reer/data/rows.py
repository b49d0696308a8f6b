"""What every reader of rows shares: the names of fields, bad rows and what happens to them, and values of a row."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from reer.errors import InputError, near
from reer.types import Drop

READER = 3  # part of the identity of files and hub data sets; raised when the same bytes become other rows
OnBadRow = Literal["error", "skip"]
Row = Mapping[str, object]
Placed = tuple[str, Row]
"""A row after its place: file and line, or file and number."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Names of the fields of a row. A dotted name addresses nested objects and, by number, lists (`turns.0.text`); an
    empty name means there is no field. A field that is named must be in every row, where it may be null.

    With `query` and `answer` at their defaults a row is read by its shape (see `reer.data.shapes`)."""

    query: str = "query"
    """Text, or a conversation that ends with the user's turn."""
    solution: str = "answer"
    """Text, or a conversation that ends with the assistant's turn; it may be the same field as the query."""
    category: str = "category"
    """Rows may lack a field of the default name."""
    id: str = "id"
    """Rows may lack a field of the default name."""
    votes: str = ""
    thinking: str = ""
    """Thinking in a field of its own; thinking inside the solution is found without it."""

    @property
    def by_shape(self) -> bool:
        return self.query == "query" and self.solution == "answer"


USUAL = frozenset({"category", "id"})  # the default names that rows may lack


class BadRow(ValueError):
    """A row that cannot be used; `reason` is the code under which it is counted, the message says what is wrong."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Problems:
    """The policy for bad rows, and the rows dropped under it: `error` raises at the first, `skip` lists them. `key` is
    the setting of the source, for messages; `examples` holds the first bad row of each reason in words; `composed`
    lists the rows whose text was put into Unicode's composed form; `strata` counts the rows that a draw found."""

    policy: OnBadRow
    drops: list[Drop] = field(default_factory=list)
    key: str = "source"
    examples: dict[str, str] = field(default_factory=dict)
    composed: list[str] = field(default_factory=list)
    strata: Counter[str] = field(default_factory=Counter[str])

    def add(self, where: str, reason: str, detail: str) -> None:
        """Report a bad row. Raises InputError unless bad rows are skipped."""
        if self.policy == "error":
            raise InputError(
                f"{where}: {detail}\nFix the row, or set {self.key}.on_bad_row=skip to skip and count such rows."
            ) from None
        self.examples.setdefault(reason, f"{where}: {detail}")
        self.drops.append(Drop(where, reason))


def pluck(row: Row, name: str, setting: str) -> object:
    """The value under a dotted name; null where something on the way to it is null. Raises BadRow, naming the setting
    and what there is instead, if it is missing."""
    if name in row:
        return row[name]
    value, at = row, "the row"
    for part in name.split("."):
        if value is None:
            return None
        inner = _children(value)
        if part not in inner:
            has = f"has: {', '.join(sorted(inner))}" if inner else f"is {_kind(value)}"
            raise BadRow(
                "missing_field",
                f"no field {name!r} (fields.{setting}); {at} {has}{near(part, inner)}",
            )
        value, at = inner[part], repr(part)
    return value


def _children(value: object) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list):
        return {str(index): inner for index, inner in enumerate(value)}
    return {}


def named(row: Row, name: str, setting: str) -> object:
    """The value of a field; None for a field without a name, and where the row lacks one of a usual name."""
    if not name or (name in USUAL and name not in row):
        return None
    return pluck(row, name, setting)


def text_of(value: object, name: str) -> str | None:
    """A value that is text, or None. Raises BadRow for anything else, and for text that is not valid Unicode."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRow("not_text", f"field {name!r} wants text, got {_kind(value)}")
    if any("\ud800" <= character <= "\udfff" or character == "\x00" for character in value):
        raise BadRow("broken_text", f"field {name!r} contains a NUL or half a surrogate pair; want valid Unicode text")
    return value


def _kind(value: object) -> str:
    return type(value).__name__


def number_of(value: object) -> float | None:
    """A finite number, also where it is written as text, as in CSV files; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):  # an integer beyond the range of a float; text that is no number
        return None
    return number if math.isfinite(number) else None


def composed(text: str) -> str:
    """A text in Unicode's composed form (NFC), in which most text is written. Text in the decomposed form (NFD, as
    macOS writes file names) would be changed by many tokenizers, and its words would be cut at every accent."""
    return unicodedata.normalize("NFC", text)


def listed(names: Sequence[str]) -> str:
    """At most eight names, in a message."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
