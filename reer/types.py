"""The records that pass through the method: small, frozen, writable as JSON; only the standard library is imported."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
Stopped = Literal["threshold", "budget", "exhausted", "degenerate"]
Lost = Literal[
    "no_tag",
    "empty",
    "cut_by_limit",
    "control_tokens",
    "edit_tags",
    "unchanged",
    "copied_solution",
    "other_language",
    "too_long",
    "prompt_too_long",
    "refused_by_server",
    "unreadable_reply",
    "draft_too_short",
    "draft_single_segment",
    "no_valid_score",
]

STOPPED: Mapping[Stopped, str] = {
    "threshold": "The score fell below `search.threshold`, so the search ended early.",
    "budget": "The thinking has more segments than `search.max_edits`; raise it to edit the remaining ones.",
    "exhausted": "Every segment was edited in every pass and the score stayed above the threshold.",
    "degenerate": "No candidate of any edit could be scored; see why the candidates were lost.",
}
"""Why a search ended, one sentence for each code of `Refinement.stopped`."""

LOST: Mapping[Lost, str] = {
    "no_tag": "The reply has no `<refine>` block after its analysis, so it contains no rewrite.",
    "empty": "The `<refine>` block of the reply is empty.",
    "cut_by_limit": "The token limit (`scale.edit_tokens`) ended the reply before its first complete sentence.",
    "control_tokens": "The rewrite contains chat or thinking markers, which would break the training row.",
    "edit_tags": "The rewrite contains tags of the edit prompt, which would be trained on.",
    "unchanged": "The rewrite repeats the segment word for word.",
    "copied_solution": "The rewrite is a passage copied from the solution.",
    "other_language": "The rewrite is in another language than the segment and the pair.",
    "too_long": "The rewrite is longer than `filters.rewrite.growth` allows.",
    "prompt_too_long": "The prompt alone fills the context of the model.",
    "refused_by_server": "The model server rejected the prompt because of its content.",
    "unreadable_reply": "Every reply of the model server to the prompt had a shape that is not read.",
    "draft_too_short": "The draft has fewer tokens than `filters.draft.min_tokens`.",
    "draft_single_segment": "The draft has fewer segments than `filters.draft.min_segments`.",
    "no_valid_score": "The scorer returned no finite score.",
}
"""Why a candidate or a draft could not be used, one sentence for each code of `Candidate.lost` and `Start.lost`."""


def content_id(*parts: str) -> str:
    """A stable id of texts, 12 hex digits: equal content has equal ids on every machine."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8")).hexdigest()[:12]


def item_seed(*parts: object) -> int:
    """A 31-bit seed derived from what identifies an item, so that results do not depend on order or parallelism."""
    return int(content_id(*map(str, parts)), 16) % 2**31


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A query x and a known good solution y. `id` is a hash of both; `language` is that of the query and chooses the
    prompts. `context` are the turns before the query (the system's, earlier ones): they are trained on as context, and
    the search does not see them."""

    id: str
    query: str
    solution: str
    category: str
    language: Language
    source: str
    context: tuple[Message, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RawPair:
    """A row as read from its source. The query or the category may be missing; `where` is the row's position in the
    source, `thinking` the reasoning that the source provides, `context` the turns before the query."""

    query: str | None
    solution: str
    category: str | None
    source: str
    where: str
    thinking: str | None = None
    context: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Drop:
    """A dropped item and the reason. Every stage that drops items writes these beside its rows."""

    id: str
    reason: str


def count_reasons(drops: Sequence[Drop]) -> dict[str, int]:
    """Number of drops per reason, the most frequent first."""
    return dict(Counter(drop.reason for drop in drops).most_common())


@dataclass(frozen=True)
class Trajectory:
    """The thinking for a pair in segments: the first draft z(0), or thinking that the source provides. `tokens` is the
    number of tokens generated for it here, `raw` the text as it was generated, with blank space that segments lose."""

    pair_id: str
    segments: tuple[str, ...]
    tokens: int
    raw: str = ""


@dataclass(frozen=True)
class Candidate:
    """A proposed rewrite of a segment: it has a score, or `lost` is the reason and `score` is None (see LOST)."""

    text: str
    tokens: int
    score: float | None
    lost: Lost | None


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One step of the search: the segment `index` in pass `pass_index`. `chosen` is the index of the winning candidate,
    None if the segment was kept; `score` is the score of the thinking after the step."""

    index: int
    candidates: tuple[Candidate, ...]
    chosen: int | None
    score: float
    pass_index: int = 0


@dataclass(frozen=True)
class Start:
    """A draft of a pair; `lost` is the reason if it cannot be used (see LOST), `raw` its text as it was generated."""

    segments: tuple[str, ...]
    tokens: int
    lost: Lost | None
    raw: str = ""

    def as_trajectory(self, pair_id: str) -> Trajectory:
        """The draft as the thinking for a pair."""
        return Trajectory(pair_id, self.segments, self.tokens, self.raw)


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """The result of a search. `stopped` is why it ended (see STOPPED). `score` never exceeds `draft_score`, except for
    random search. A search with several starts keeps the result of each start in `runs`; `start_tokens` is the number
    of tokens generated for the draft of such a run, and of the whole the number for drafts that best of n lost."""

    pair_id: str
    draft: tuple[str, ...]
    segments: tuple[str, ...]
    draft_score: float
    score: float
    edits: tuple[Edit, ...]
    stopped: Stopped
    runs: tuple[Refinement, ...] = ()
    start_tokens: int = 0
    lost_starts: tuple[Lost, ...] = ()

    def trace(self) -> tuple[Edit, ...]:
        """All edits of all runs."""
        return (*self.edits, *(edit for run in self.runs for edit in run.trace()))

    @property
    def tokens(self) -> int:
        """Number of tokens the search generated: all rewrites, including the lost ones, and further drafts, of which
        several refined starts count those with a score."""
        spent = sum(candidate.tokens for edit in self.edits for candidate in edit.candidates)
        return self.start_tokens + spent + sum(run.tokens for run in self.runs)


AnyThinking = Refinement | Trajectory  # what training may use: thinking found by the search or provided by the source


@dataclass(frozen=True)
class Message:
    """One chat turn, content verbatim."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One training row: a conversation that ends with the assistant's turn. With `without_thinking` only the answer is
    trained on. The length limit still counts the thinking, so that both variants keep the same rows."""

    id: str
    messages: tuple[Message, ...]
    source: str
    category: str
    thinking: str
    answer: str
    without_thinking: bool = False
