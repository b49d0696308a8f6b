"""Which trajectories are kept: one function per rule, each answers None (keep) or the reason it drops.

The paper names two filters and releases neither (paper.md §3.3); thresholds are in `conf/filters` with their source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reer.errors import InputError
from reer.search.draft import DraftRules
from reer.text import join_segments, overlap, repeated_share, words
from reer.types import AnyThinking, Pair

LEAK_NGRAM = 13  # the n REER-PT reports its overlap at (paper.md §6.3)


@dataclass(frozen=True)
class Filters:
    """Thresholds of all rules. `max_leak` None measures the overlap with the solution without dropping for it."""

    draft: DraftRules
    end_share: float
    end_patterns: tuple[str, ...]
    repetition_n: int
    repetition_top: int
    max_repetition: float
    max_leak: float | None

    def __post_init__(self) -> None:
        shares = (self.end_share, self.max_repetition, 0.0 if self.max_leak is None else self.max_leak)
        if not all(0 <= share <= 1 for share in shares):
            raise InputError(f"filters: end_share, max_repetition and max_leak want shares in [0, 1], got {shares}")
        if self.repetition_n < 1 or self.repetition_top < 1:
            raise InputError("filters: repetition_n and repetition_top want >= 1")
        for pattern in self.end_patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(f"filters.end_patterns: {pattern!r} is no regular expression: {error}") from None

    def drop_reason(self, pair: Pair, thought: AnyThinking) -> str | None:
        """The first rule that drops this trajectory, or None."""
        return next(self._reasons(pair, join_segments(thought.segments)), None)

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
    """True if a thinking pattern stands in the last `end_share` of the characters: the thought has not come to rest.
    The paper counts the final 10 % of the sequence; characters are our reading."""
    tail = thinking[int(len(thinking) * (1 - end_share)) :]
    return any(re.search(pattern, tail, re.I) for pattern in patterns)


def leak(thinking: str, pair: Pair) -> float:
    """Share of the thinking's 13-grams that stand in the solution: a copied draft is seen here."""
    return overlap(thinking, pair.solution, LEAK_NGRAM)


def measures(pair: Pair, thought: AnyThinking) -> dict[str, float]:
    """What is recorded of each trajectory, kept or dropped."""
    thinking = join_segments(thought.segments)
    return {"leak": leak(thinking, pair), "words": float(len(words(thinking)))}
