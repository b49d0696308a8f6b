"""Which trajectories are kept. Each rule has the reason under which it drops a trajectory.

The paper names two filters and releases neither (paper.md §3.3); thresholds are in `conf/filters` with their source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import PositiveInt

from reer.errors import InputError
from reer.parts import Share
from reer.search.draft import DraftRules
from reer.search.rewrite import RewriteRules
from reer.text import join_segments, overlap, repeated_share, words
from reer.types import AnyThinking, Pair

LEAK_NGRAM = 13  # the n for which REER-PT reports its overlap (paper.md §6.3)


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Thresholds of all rules."""

    draft: DraftRules
    rewrite: RewriteRules
    end_share: Share
    """The last share of the characters in which thinking patterns are searched."""
    end_patterns: tuple[str, ...]
    """Regular expressions of thinking patterns; a match near the end drops the trajectory."""
    repetition_n: PositiveInt
    """Length in words of the n-grams counted as repetition."""
    repetition_top: PositiveInt
    """How many of the most frequent n-grams count."""
    max_repetition: Share
    """The largest share of all n-grams that these may take."""
    max_leak: Share | None
    """The largest share of n-grams also found in the solution; None measures it without dropping."""

    def __post_init__(self) -> None:
        for pattern in self.end_patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(f"filters.end_patterns: {pattern!r} is not a regular expression: {error}") from None

    def drop_reason(self, pair: Pair, thinking: AnyThinking) -> str | None:
        """The first rule that drops this trajectory, or None."""
        return next(self._reasons(pair, join_segments(thinking.segments)), None)

    def _reasons(self, pair: Pair, thinking: str) -> Iterator[str]:
        if not thinking.strip():
            yield "empty"
        if still_thinking(thinking, self.end_share, self.end_patterns):
            yield "thinking_at_end"
        if repeated_share(thinking, self.repetition_n, self.repetition_top) > self.max_repetition:
            yield "repetition"
        if self.max_leak is not None and leak(thinking, pair) > self.max_leak:
            yield "leak"


def still_thinking(thinking: str, end_share: float, patterns: Sequence[str]) -> bool:
    """True if a thinking pattern occurs in the last `end_share` of the characters, so the thinking is not finished. The
    paper counts the final 10 % of the sequence; counting characters is our reading."""
    tail = thinking[int(len(thinking) * (1 - end_share)) :]
    return any(re.search(pattern, tail, re.I) for pattern in patterns)


def leak(thinking: str, pair: Pair) -> float:
    """Share of the thinking's 13-grams that also occur in the solution; high if the thinking copies the solution."""
    return overlap(thinking, pair.solution, LEAK_NGRAM)


@dataclass(frozen=True)
class TrajectoryMeasures:
    """Measurements of a trajectory: its leak as a share, and its length in words."""

    pair_id: str
    leak: float
    words: float


def measures(pair: Pair, thinking: AnyThinking) -> TrajectoryMeasures:
    """The measurements recorded for each trajectory, kept or dropped."""
    text = join_segments(thinking.segments)
    return TrajectoryMeasures(pair.id, leak(text, pair), float(len(words(text))))
