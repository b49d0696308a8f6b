"""The score of a thinking: how unlikely the solution is under a model that reads the query and the thinking."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import PositiveFloat

from reer.calls import all_of
from reer.errors import InputError
from reer.models.protocols import ConcurrentScorer, Nats, Passage, Scorer, in_order
from reer.prompts import BoundPrompts
from reer.search.methods import RequestScores, Segments
from reer.text import join_segments, split_segments
from reer.types import Pair

Metric = Literal["clipped_nll", "nll", "perplexity"]
CLOSING = "\n</answer>"
_LINE_BREAKS = re.compile(r"\n\s*\Z")


@dataclass(frozen=True)
class ScoreMetric:
    """How the score is computed from the solution's tokens; lower is better.

    The released code takes the mean NLL in nats per token with each token's clipped, and moves the first segment of
    the solution into the context; the paper writes perplexity over the whole solution (paper.md §1.2).
    """

    metric: Metric
    """`nll` and `clipped_nll` are means in nats per token; `perplexity` is exp(nll)."""
    clip: PositiveFloat | None
    """Upper bound of each token's NLL in nats, for clipped_nll only."""
    skip_first_segment: bool
    """Move the first segment of the solution into the context, so that it is not scored."""
    wrap_in_instruction: bool
    """Put the query into the inference prompt (paper.md §1.3); otherwise the query is the whole user turn."""
    boundary_tokens: bool = False
    """Score the tokens that reach over an end of the solution too, as the released code does: the separator before it
    with what the tokenizer joins to it, and the line break after it."""
    raw_draft: bool = False
    """Score z(0) as it was generated, as the released code does, not as its joined segments."""

    def __post_init__(self) -> None:
        if (self.metric == "clipped_nll") != (self.clip is not None):
            raise InputError(f"scorer: metric {self.metric!r} with clip {self.clip}; clip goes with clipped_nll alone")

    def from_nats(self, nats: Sequence[float]) -> float:
        """The score, from the NLL in nats of each scored token."""
        if self.clip is not None:
            nats = [min(n, self.clip) for n in nats]
        mean = math.fsum(nats) / len(nats)
        if self.metric != "perplexity":
            return mean
        return math.exp(mean) if mean < 700 else math.inf  # a larger exponent overflows; the search rejects infinity

    def passage(self, pair: Pair, thinking: Segments, prompts: BoundPrompts, raw: str = "") -> Passage | None:
        """The context, with the thinking as its segments joined or as `raw`, and the text to score; None if nothing is
        left to score (a solution of one segment), unless its boundary is scored."""
        head, rest = "", pair.solution
        if self.skip_first_segment:
            head, *tail = split_segments(pair.solution) or [""]
            rest = "".join(tail)
        if not (rest.strip() or self.boundary_tokens):
            return None
        if self.boundary_tokens and rest:
            head, rest = _separator_behind(head, rest)
        prefill = f"<think>\n{raw or join_segments(thinking)}\n</think>\n<answer>\n{head}"
        context = prompts.for_language(pair.language).inference(pair, prefill, self.wrap_in_instruction)
        return Passage(context, rest, pair.id, CLOSING if self.boundary_tokens else None)


def _separator_behind(head: str, rest: str) -> tuple[str, str]:
    """The same two texts with the line breaks between them at the front of the second, where the released segmenter
    puts them."""
    given = _LINE_BREAKS.sub("", head)
    return given, head[len(given) :] + rest


@dataclass(frozen=True)
class NllScorer:
    """Handles RequestScores with a model that returns the NLL of each token. `raw_drafts` are drafts as they were
    generated, by pair, for a metric that scores them so."""

    scorer: Scorer
    metric: ScoreMetric
    pairs: Mapping[str, Pair]
    prompts: BoundPrompts
    raw_drafts: Mapping[str, str] = field(default_factory=dict[str, str])

    def passages(self, requests: Sequence[RequestScores]) -> list[Passage | None]:
        """The passage of each thinking of each request."""
        return [
            self.metric.passage(self.pairs[request.pair_id], thinking, self.prompts, self._raw(request, number))
            for request in requests
            for number, thinking in enumerate(request.thinkings)
        ]

    def _raw(self, request: RequestScores, number: int) -> str:
        """The draft as it was generated; '' for every other thinking, and for a metric that does not score it so."""
        is_draft = request.draft_first and number == 0
        return self.raw_drafts[request.pair_id] if is_draft and self.metric.raw_draft else ""

    async def handle(self, scorer: ConcurrentScorer, request: RequestScores) -> list[float | None]:
        """Handles one request, with a scorer that takes passages one at a time."""

        async def score(passage: Passage | None) -> float | None:
            nats = None if passage is None else await scorer.nats_of(passage)
            return None if nats is None else self.metric.from_nats(nats)

        return await all_of(score(passage) for passage in self.passages([request]))

    def __call__(self, requests: Sequence[RequestScores]) -> list[list[float | None]]:
        passages = self.passages(requests)
        scorable = [passage for passage in passages if passage is not None]
        scored = iter(in_order(self.scorer.score(scorable), len(scorable)))
        nats = [None if passage is None else next(scored) for passage in passages]
        scores = iter([None if row is None else self.metric.from_nats(row) for row in nats])
        return [[next(scores) for _ in request.thinkings] for request in requests]


def repeat_noise(scorer: Scorer, metric: ScoreMetric, passages: Sequence[Passage]) -> float:
    """The largest difference between the score of a passage alone and in a batch, in the unit of the score. Smaller
    differences are ties: choosing the minimum among them would select noise."""
    alone = [nats for passage in passages for _, nats in scorer.score([replace(passage, group="")])]
    batched = in_order(scorer.score([*passages, *passages[::-1]]), 2 * len(passages))
    return _largest_difference(metric, alone, batched)


async def repeat_noise_served(scorer: ConcurrentScorer, metric: ScoreMetric, passages: Sequence[Passage]) -> float:
    """`repeat_noise` of a server, while other calls are in flight."""
    alone = [await scorer.nats_of(replace(passage, group="")) for passage in passages]
    batched = await all_of(scorer.nats_of(passage) for passage in [*passages, *passages[::-1]])
    return _largest_difference(metric, alone, batched)


def _largest_difference(metric: ScoreMetric, alone: Sequence[Nats | None], batched: Sequence[Nats | None]) -> float:
    """Between scores alone, and those in the second, reversed half of a batch."""
    both = [(a, b) for a, b in zip(alone, batched[len(alone) :][::-1], strict=True) if a is not None and b is not None]
    return max((abs(metric.from_nats(a) - metric.from_nats(b)) for a, b in both), default=0.0)
