"""Which trajectories are kept. Each rule has the reason under which it drops a trajectory.

The paper names two filters and releases neither (paper.md §3.3); thresholds are in `conf/filters` with their source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import PositiveInt

from reer.curation.markers import Markers
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
    end_markers: Markers
    """Phrases of a thinking that has not finished; one near the end drops the trajectory."""
    repetition_n: tuple[PositiveInt, ...]
    """Lengths in words of the n-grams counted as repetition: short ones find short loops in short texts, and long ones
    do not take refrains for loops."""
    max_repetition: tuple[Share, ...]
    """For each length, the largest share of the words that may be inside n-grams which occur more than once."""
    max_leak: Share | None
    """The largest share of n-grams also found in the solution; None measures it without dropping."""

    def __post_init__(self) -> None:
        if len(self.repetition_n) != len(self.max_repetition):
            raise InputError(
                f"filters.max_repetition: want one share for each of the {len(self.repetition_n)} lengths in "
                f"repetition_n, got {len(self.max_repetition)}"
            )

    def drop_reason(self, pair: Pair, thinking: AnyThinking) -> str | None:
        """The first rule that drops this trajectory, or None."""
        return next(self._reasons(pair, join_segments(thinking.segments)), None)

    def unfinished(self, text: str) -> bool:
        """True if a thinking has not finished at its end."""
        return still_thinking(text, self.end_share, self.end_markers)

    def repeats(self, text: str) -> bool:
        """True if a text repeats more of itself than the bounds allow."""
        tokens = words(text)
        bounds = zip(self.repetition_n, self.max_repetition, strict=True)
        return any(repeated_share(tokens, n) > share for n, share in bounds)

    def _reasons(self, pair: Pair, thinking: str) -> Iterator[str]:
        if not thinking.strip():
            yield "empty"
        if self.unfinished(thinking):
            yield "thinking_at_end"
        if self.repeats(thinking):
            yield "repetition"
        if self.max_leak is not None and leak(thinking, pair) > self.max_leak:
            yield "leak"


def still_thinking(thinking: str, end_share: float, markers: Markers) -> bool:
    """True if a phrase of thinking occurs in the last `end_share` of the characters, so the thinking is not finished.
    The paper counts the final 10 % of the sequence; counting characters is our reading."""
    tail = int(len(thinking) * (1 - end_share))
    return any(span.end > tail for span in markers.spans(thinking, after=tail))


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
