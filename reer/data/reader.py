"""Rows become raw pairs: the one way in for files, the hub and several sources together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reer.data.rows import BadRow, Fields, Placed, Problems, Row, named, number_of, text_of
from reer.data.shapes import Exchange, exchange
from reer.errors import InputError
from reer.types import Drop, RawPair, content_id


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How the rows of a source are read. `source` is its name."""

    source: str
    fields: Fields
    min_votes: float | None

    def __post_init__(self) -> None:
        if self.min_votes is not None and not self.fields.votes:
            raise InputError(
                f"source.min_votes: {self.min_votes:g} filters nothing, because source.fields.votes names no field; "
                "name the field that holds the votes, or leave out min_votes"
            )

    def pairs(self, rows: Iterable[Placed], problems: Problems) -> Iterator[RawPair]:
        """The usable rows in order; bad rows are reported. Two rows with one id are duplicates if their content is
        equal, else an error. Rows with few votes, or none, are dropped."""
        seen: dict[str, str] = {}
        for where, row in rows:
            try:
                pair = self._pair(where, row, problems)
                self._refuse_conflict(row, pair, seen)
                reason = self._outvoted(row)
            except BadRow as bad:
                problems.add(where, bad.reason, str(bad))
                continue
            if reason:
                problems.drops.append(Drop(where, reason))
            else:
                yield pair

    def _pair(self, where: str, row: Row, problems: Problems) -> RawPair:
        found = composed_exchange(where, row, self.fields, problems)
        return RawPair(
            query=found.query,
            solution=found.answer,
            category=text_of(named(row, self.fields.category, "category"), self.fields.category) or None,
            source=self.source,
            where=where,
            thinking=found.thinking,
            context=found.context,
        )

    def _refuse_conflict(self, row: Row, pair: RawPair, seen: dict[str, str]) -> None:
        row_id = named(row, self.fields.id, "id")
        digest = content_id(pair.query or "", pair.solution)
        if row_id not in (None, "") and seen.setdefault(str(row_id), digest) != digest:
            raise BadRow(
                "conflicting_id",
                f"id {row_id!r} belongs to an earlier row with other content; where ids are not those of rows (several "
                "answers of one prompt), set fields.id='' of this source",
            )

    def _outvoted(self, row: Row) -> str | None:
        votes = number_of(named(row, self.fields.votes, "votes"))
        if self.min_votes is None:
            return None
        return "no_votes" if votes is None else "few_votes" if votes < self.min_votes else None


def composed_exchange(where: str, row: Row, fields: Fields, problems: Problems) -> Exchange:
    """The exchange in a row, its text in Unicode's composed form, which is noted where it differs. Raises BadRow,
    also where the answer is empty."""
    found = exchange(row, fields)
    if not found.answer:
        raise BadRow("empty_text", "the answer is empty, or nothing but thinking")
    composed = found.composed()
    if composed != found:
        problems.composed.append(where)
    return composed
