"""Thinking that came with a data set, taken over in the place of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from reer.text import control_tokens, split_segments
from reer.types import Drop, Pair, Trajectory

T = TypeVar("T")


@dataclass(frozen=True)
class ThinkingSource:
    """Where the thinking of synthetic rows comes from: a search done here, or the data set the pairs are from."""

    name: str
    from_source: bool

    def choose(self, searched: T, from_source: T) -> T:
        """The one that is used; the other is never computed."""
        return from_source if self.from_source else searched

    def caution(self, source: str) -> str:
        """What every table has to say of it."""
        return f"the thinking was adopted from {source} as it came: no search was made here" if self.from_source else ""


def take_over(pairs: Sequence[Pair], thinking: Mapping[str, str]) -> tuple[list[Trajectory], list[Drop]]:
    """The thinking of each pair in segments, and the pairs that have none that could be used."""
    kept: list[Trajectory] = []
    dropped: list[Drop] = []
    for pair in pairs:
        text = thinking.get(pair.id, "").strip()
        if not text:
            dropped.append(Drop(pair.id, "no_thinking"))
        elif control_tokens(text):
            dropped.append(Drop(pair.id, "control_tokens"))
        else:
            kept.append(Trajectory(pair.id, tuple(split_segments(text)), 0))
    return kept, dropped
