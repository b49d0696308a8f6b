"""How surprising a solution is given a thinking: the score metric, and the model that computes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reer.errors import InputError
from reer.models.protocols import Passage, Scorer, in_order
from reer.prompts import Prompts, Triggers
from reer.search.methods import RequestScores, Segments
from reer.text import join_segments, split_segments
from reer.types import Pair

Metric = Literal["clipped_nll", "nll", "perplexity"]


@dataclass(frozen=True)
class ScoreMetric:
    """How surprising a solution is given a query and a thinking; lower is better.

    The released code scores mean NLL in nats per token with each token's clipped to `clip`, and puts the first
    segment of the solution into the context; the paper writes perplexity over all of it (paper.md §1.2).
    `wrap_in_instruction` puts the query into the inference prompt (§1.3), else it stands alone.
    """

    metric: Metric
    clip: float | None
    skip_first_segment: bool
    wrap_in_instruction: bool

    def __post_init__(self) -> None:
        if (self.metric == "clipped_nll") != (self.clip is not None):
            raise InputError(f"scorer: metric {self.metric!r} with clip {self.clip}; clip goes with clipped_nll alone")

    def of(self, nats: Sequence[float]) -> float:
        """The score from the answer's per-token NLL in nats."""
        if self.clip is not None:
            nats = [min(n, self.clip) for n in nats]
        mean = math.fsum(nats) / len(nats)
        if self.metric != "perplexity":
            return mean
        return math.exp(mean) if mean < 700 else math.inf  # beyond it a float overflows; the search refuses infinities

    def passage(self, pair: Pair, thinking: Segments, prompts: Prompts, triggers: Triggers) -> Passage | None:
        """The context and the text to score; None if nothing is left to score (a one-segment solution)."""
        head, rest = "", pair.solution
        if self.skip_first_segment:
            head, *tail = split_segments(pair.solution)
            rest = "".join(tail)
        if not rest.strip():
            return None
        prefill = f"<think>\n{join_segments(thinking)}\n</think>\n<answer>\n{head}"
        values = {"query": pair.query, "reflection": prompts.reflection(pair.query, triggers)}
        context = prompts.render("inference", pair.query, values, prefill)
        if not self.wrap_in_instruction:
            bare = context.messages[-1].__class__("user", pair.query)
            context = type(context)((*context.messages[:-1], bare), prefill)
        return Passage(context, rest, group=pair.id)


class NllScorer:
    """Serves `RequestScores` needs."""

    def __init__(
        self, scorer: Scorer, surprise: ScoreMetric, pairs: Mapping[str, Pair], prompts: Prompts, triggers: Triggers
    ) -> None:
        self.scorer, self.surprise, self.pairs, self.prompts, self.triggers = scorer, surprise, pairs, prompts, triggers

    def passages(self, needs: Sequence[RequestScores]) -> list[Passage | None]:
        """What is scored for each thinking of each need."""
        return [
            self.surprise.passage(self.pairs[need.pair_id], thinking, self.prompts, self.triggers)
            for need in needs
            for thinking in need.thinkings
        ]

    def __call__(self, needs: Sequence[RequestScores]) -> list[list[float | None]]:
        passages = self.passages(needs)
        asked = [p for p in passages if p is not None]
        found = iter(in_order(self.scorer.score(asked), len(asked)))
        nats = [None if passage is None else next(found) for passage in passages]
        scores = iter([None if n is None else self.surprise.of(n) for n in nats])
        return [[next(scores) for _ in need.thinkings] for need in needs]


def repeat_noise(scorer: Scorer, surprise: ScoreMetric, passages: Sequence[Passage]) -> float:
    """The largest difference between a passage's score asked alone and asked again among the others, in the score's
    unit. What is closer than this is the same score: an argmin over noise selects noise."""
    alone = [nats for passage in passages for _, nats in scorer.score([replace(passage, group="")])]
    among = in_order(scorer.score([*passages, *passages[::-1]]), 2 * len(passages))[len(passages) :][::-1]
    both = [(a, b) for a, b in zip(alone, among, strict=True) if a is not None and b is not None]
    return max((abs(surprise.of(a) - surprise.of(b)) for a, b in both), default=0.0)
