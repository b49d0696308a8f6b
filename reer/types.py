"""The records that flow through the method: small, frozen, JSON-able, standard library only."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
Stopped = Literal["threshold", "budget", "exhausted", "degenerate"]


def content_id(*parts: str) -> str:
    """A stable 12-digit id of texts: equal content gives equal ids on every machine."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8")).hexdigest()[:12]


def item_seed(*parts: object) -> int:
    """A seed derived from what identifies an item, so that neither order nor parallelism matters."""
    return int(content_id(*map(str, parts)), 16) % 2**31


@dataclass(frozen=True)
class Pair:
    """A query x and a known good solution y. `id` is a hash of both."""

    id: str
    query: str
    solution: str
    category: str
    language: Language
    source: str


@dataclass(frozen=True)
class RawPair:
    """A row as its source holds it: the query or the category may still be missing; a thinking may have come along."""

    query: str | None
    solution: str
    category: str | None
    source: str
    where: str
    votes: float | None = None
    thinking: str | None = None


@dataclass(frozen=True)
class Drop:
    """Something left out, and why. Every stage that leaves things out writes these beside what it kept."""

    id: str
    reason: str


def count_reasons(drops: Sequence[Drop]) -> dict[str, int]:
    """How many were dropped, by reason, the most frequent first."""
    return dict(Counter(drop.reason for drop in drops).most_common())


@dataclass(frozen=True)
class Trajectory:
    """A thinking for a pair, cut into segments: z(0), or one that came with the pair. `tokens` is what its generation
    cost here."""

    pair_id: str
    segments: tuple[str, ...]
    tokens: int


@dataclass(frozen=True)
class Candidate:
    """One proposed rewrite of a segment: a score, or the reason it was lost (then `score` is None)."""

    text: str
    tokens: int
    score: float | None
    lost: str | None


@dataclass(frozen=True)
class Edit:
    """One step of the search, in pass `turn`. `chosen` is the index of the winning candidate, None if the incumbent
    stayed; `score` is that of the thinking after the step."""

    index: int
    candidates: tuple[Candidate, ...]
    chosen: int | None
    score: float
    turn: int = 0


@dataclass(frozen=True)
class Start:
    """A further draft of a pair, or the reason it is none."""

    segments: tuple[str, ...]
    tokens: int
    lost: str | None


@dataclass(frozen=True)
class Refinement:
    """The outcome of a search: `stopped` says why it ended, and `score` never exceeds `draft_score` unless the choice
    was left to chance. A search of several starts keeps each one's `runs`, with what its draft cost."""

    pair_id: str
    draft: tuple[str, ...]
    segments: tuple[str, ...]
    draft_score: float
    score: float
    edits: tuple[Edit, ...]
    stopped: Stopped
    runs: tuple[Refinement, ...] = ()
    start_tokens: int = 0
    lost_starts: tuple[str, ...] = ()

    def trace(self) -> tuple[Edit, ...]:
        """All edits that were tried, in all runs."""
        return (*self.edits, *(edit for run in self.runs for edit in run.trace()))

    @property
    def tokens(self) -> int:
        """What the search generated: further drafts and all rewrites, the lost ones too."""
        spent = sum(candidate.tokens for edit in self.edits for candidate in edit.candidates)
        return self.start_tokens + spent + sum(run.tokens for run in self.runs)


AnyThinking = Refinement | Trajectory  # a thinking that training may use: searched for, or adopted as it came


@dataclass(frozen=True)
class Message:
    """One chat turn, content verbatim."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Sample:
    """One training row: a conversation ending in the assistant's turn, and where it came from. `without_thinking` rows
    are taught as answers alone; whether they are kept is decided with their thinking, so that the rows are the same."""

    id: str
    messages: tuple[Message, ...]
    source: str
    category: str
    thinking: str
    answer: str
    without_thinking: bool = False
