"""`source=several`: pairs from several sources, each with its share and, if wanted, its own mix of categories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from pydantic import InstanceOf

from reer.data.duplicates import SameRow
from reer.data.pairs import Quotas, Source
from reer.data.rows import OnBadRow, Problems
from reer.errors import InputError
from reer.parts import Name, Share, refuse_other_sum
from reer.types import RawPair


@dataclass(frozen=True, kw_only=True)
class SourcePart:
    """One source among several."""

    source: InstanceOf[Source]
    share: Share
    """Its share of the pairs."""
    categories: dict[str, Share] = field(default_factory=dict)
    """The shares of categories, by the names that its rows have, inside its own; empty: as they come."""

    def quotas(self, name: str) -> Quotas:
        """Its shares of all pairs, by category."""
        return {(name, category): self.share * share for category, share in (self.categories or {"": 1.0}).items()}


@dataclass(frozen=True, kw_only=True)
class SeveralSources:
    """Rows of all parts by turns. A pair's source is the name of its part."""

    parts: dict[Name, SourcePart]
    name: Name = "several"
    same_row: SameRow = "solution"
    """Which rows of all parts count as the same row."""
    on_bad_row: ClassVar[OnBadRow] = "error"  # each part has its own

    def __post_init__(self) -> None:
        refuse_other_sum("source.parts: the shares", {name: part.share for name, part in self.parts.items()})
        for name, part in self.parts.items():
            if part.source.same_row not in ("solution", self.same_row):
                raise InputError(
                    f"source.parts.{name}.source.same_row: got {part.source.same_row!r}; one rule holds for all parts, "
                    "set source.same_row"
                )
            if part.categories:
                refuse_other_sum(f"source.parts.{name}.categories: the shares", part.categories)

    @property
    def quotas(self) -> Quotas:
        return {quota: share for name, part in self.parts.items() for quota, share in part.quotas(name).items()}

    def rows(self, problems: Problems) -> Iterator[RawPair]:
        """The rows of the parts by turns in the proportion of their shares, each part in its own order."""
        streams = {name: self._rows(name, part, problems) for name, part in self.parts.items() if part.share}
        given = dict.fromkeys(streams, 0)
        while streams:
            name = min(streams, key=lambda name: (given[name] + 1) / self.parts[name].share)
            given[name] += 1
            row = next(streams[name], None)
            if row is None:
                del streams[name]
            else:
                yield row

    def _rows(self, name: str, part: SourcePart, problems: Problems) -> Iterator[RawPair]:
        policy = problems.policy if problems.policy == "skip" else part.source.on_bad_row
        own = replace(problems, policy=policy, key=f"source.parts.{name}.source")  # the same lists, another key
        for row in part.source.rows(own):
            yield replace(row, source=name)
