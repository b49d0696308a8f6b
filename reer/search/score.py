"""The score of a thinking: how unlikely the solution is under a model that reads the query and the thinking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import PositiveFloat

from reer.calls import all_of
from reer.errors import InputError
from reer.models.protocols import ConcurrentScorer, Passage, Scorer, in_order
from reer.prompts import BoundPrompts
from reer.search.methods import RequestScores, Segments
from reer.text import join_segments, split_segments
from reer.types import Pair

Metric = Literal["clipped_nll", "nll", "perplexity"]


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

    def passage(self, pair: Pair, thinking: Segments, prompts: BoundPrompts) -> Passage | None:
        """The context and the text to score; None if nothing is left to score (a solution of one segment)."""
        head, rest = "", pair.solution
        if self.skip_first_segment:
            head, *tail = split_segments(pair.solution) or [""]
            rest = "".join(tail)
        if not rest.strip():
            return None
        prefill = f"<think>\n{join_segments(thinking)}\n</think>\n<answer>\n{head}"
        context = prompts.for_language(pair.language).inference(pair, prefill, self.wrap_in_instruction)
        return Passage(context, rest, group=pair.id)


@dataclass(frozen=True)
class NllScorer:
    """Handles RequestScores with a model that returns the NLL of each token."""

    scorer: Scorer
    metric: ScoreMetric
    pairs: Mapping[str, Pair]
    prompts: BoundPrompts

    def passages(self, requests: Sequence[RequestScores]) -> list[Passage | None]:
        """The passage of each thinking of each request."""
        return [
            self.metric.passage(self.pairs[request.pair_id], thinking, self.prompts)
            for request in requests
            for thinking in request.thinkings
        ]

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
    batched = in_order(scorer.score([*passages, *passages[::-1]]), 2 * len(passages))[len(passages) :][::-1]
    both = [(a, b) for a, b in zip(alone, batched, strict=True) if a is not None and b is not None]
    return max((abs(metric.from_nats(a) - metric.from_nats(b)) for a, b in both), default=0.0)
