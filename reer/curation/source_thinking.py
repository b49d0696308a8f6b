"""Thinking that a data set provides, used instead of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from reer.parts import Name
from reer.text import control_tokens, split_segments
from reer.types import Drop, Pair, Trajectory

Step = TypeVar("Step")


@dataclass(frozen=True)
class ThinkingSource:
    """Where the thinking of synthetic rows comes from."""

    name: Name
    from_source: bool
    """Use the thinking of the data set instead of a search."""

    def choose(self, searched: Step, from_source: Step) -> Step:
        """The chosen one; the other is never computed."""
        return from_source if self.from_source else searched

    @property
    def origin(self) -> str:
        """Where the thinking comes from, in a word or two."""
        return "from_source" if self.from_source else "searched"

    def caution(self, source: str) -> str:
        """The note that every table of results must show; empty for a search."""
        return f"the thinking is that of {source}, unchanged: no search was made here" if self.from_source else ""


def trajectories_from_source(pairs: Sequence[Pair], thinking: Mapping[str, str]) -> tuple[list[Trajectory], list[Drop]]:
    """Each pair's thinking in segments, from texts by pair id; pairs without usable thinking are dropped."""
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
