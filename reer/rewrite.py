"""What the search asks for, answered by models: rewrites of a segment, and the score of a thinking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reer.draft import Drafter
from reer.models.protocols import Completion, Generator, Passage, Request, Sampling, Scorer
from reer.prompts import Prompts, Triggers
from reer.search import Evaluate, Propose, Restart, Segments
from reer.text import between_last, control_tokens, join_segments, language_of, split_segments, whole_sentences, words
from reer.types import Candidate, InputError, Pair, Start, item_seed

Metric = Literal["clipped_nll", "nll", "perplexity"]


@dataclass(frozen=True)
class Surprise:
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
        context = prompts.chat("inference", pair.query, values, prefill)
        if not self.wrap_in_instruction:
            bare = context.messages[-1].__class__("user", pair.query)
            context = type(context)((*context.messages[:-1], bare), prefill)
        return Passage(context, rest, group=pair.id)


class Rewriter:
    """Serves `Propose` needs: a generator asked to rewrite one marked segment (paper.md §2.3)."""

    def __init__(
        self, generator: Generator, pairs: Mapping[str, Pair], prompts: Prompts, triggers: Triggers,
        sampling: Sampling, seed: int,
    ) -> None:  # fmt: skip
        self.generator, self.pairs, self.prompts, self.triggers = generator, pairs, prompts, triggers
        self.sampling, self.seed = sampling, seed

    def __call__(self, needs: Sequence[Propose]) -> list[list[Candidate]]:
        requests = [request for need in needs for request in self._requests(need)]
        replies = iter(self.generator.generate(requests))
        return [[self._candidate(need, next(replies)) for _ in range(need.n)] for need in needs]

    def _requests(self, need: Propose) -> list[Request]:
        pair, segment = self.pairs[need.pair_id], need.segments[need.index]
        values = {
            "query": pair.query,
            "solution": pair.solution,
            "before": join_segments(need.segments[: need.index]),
            "segment": segment,
            "after": join_segments(need.segments[need.index + 1 :]),
            "reflection": self.prompts.reflection(pair.query, self.triggers),
        }
        texts = self.prompts.of(pair.query)
        prompt = self.prompts.chat("edit", pair.query, values, texts.edit_prefill)
        sampling = replace(self.sampling, stop=texts.edit_stops)
        again = (need.turn,) if need.turn else ()  # a later pass over the same words draws anew
        return [
            Request(prompt, sampling, item_seed(self.seed, pair.id, need.index, segment, sample, *again), pair.id)
            for sample in range(need.n)
        ]

    def _candidate(self, need: Propose, reply: Completion) -> Candidate:
        pair = self.pairs[need.pair_id]
        text = between_last(self.prompts.of(pair.query).edit_prefill + reply.text, "<refine>", "</refine>")
        if reply.stopped == "no_room":
            return Candidate("", 0, None, "prompt_too_long")
        if reply.stopped == "refused":
            return Candidate("", 0, None, "refused_by_server")
        cut = reply.stopped == "length" and "</refine>" not in reply.text
        if text and cut:
            text = whole_sentences(text)
        lost = lost_reason(text, need.segments[need.index], pair, cut)
        return Candidate(text or "", reply.tokens, None, lost)


def lost_reason(text: str | None, segment: str, pair: Pair, cut: bool) -> str | None:
    """Why a reply is no candidate, or None if it is one."""
    if text is None:
        return "no_tag"
    if not text:
        return "cut_by_limit" if cut else "empty"
    if control_tokens(text):
        return "control_tokens"
    if text == segment:
        return "unchanged"
    if len(text) >= 40 and text in pair.solution:
        return "copied_solution"
    if language_of(text) != language_of(segment):
        return "other_language"
    if len(words(text)) > 4 * len(words(segment)) + 40:
        return "too_long"
    return None


class Starter:
    """Serves `Restart` needs: further drafts of a pair, numbered after z(0)."""

    def __init__(self, drafter: Drafter, pairs: Mapping[str, Pair]) -> None:
        self.drafter, self.pairs = drafter, pairs

    def __call__(self, needs: Sequence[Restart]) -> list[list[Start]]:
        wanted = [(self.pairs[need.pair_id], sample) for need in needs for sample in range(1, need.n + 1)]
        starts = iter(self.drafter.starts(wanted))
        return [[next(starts) for _ in range(need.n)] for need in needs]


class SurpriseScorer:
    """Serves `Evaluate` needs."""

    def __init__(
        self, scorer: Scorer, surprise: Surprise, pairs: Mapping[str, Pair], prompts: Prompts, triggers: Triggers
    ) -> None:
        self.scorer, self.surprise, self.pairs, self.prompts, self.triggers = scorer, surprise, pairs, prompts, triggers

    def passages(self, needs: Sequence[Evaluate]) -> list[Passage | None]:
        """What is scored for each thinking of each need."""
        return [
            self.surprise.passage(self.pairs[need.pair_id], thinking, self.prompts, self.triggers)
            for need in needs
            for thinking in need.thinkings
        ]

    def __call__(self, needs: Sequence[Evaluate]) -> list[list[float | None]]:
        passages = self.passages(needs)
        found = iter(self.scorer.score([p for p in passages if p is not None]))
        nats = [None if passage is None else next(found) for passage in passages]
        scores = iter([None if n is None else self.surprise.of(n) for n in nats])
        return [[next(scores) for _ in need.thinkings] for need in needs]


def repeat_noise(scorer: Scorer, surprise: Surprise, passages: Sequence[Passage]) -> float:
    """The largest difference between a passage's score asked alone and asked again among the others, in the score's
    unit. What is closer than this is the same score: an argmin over noise selects noise."""
    alone = [scorer.score([replace(passage, group="")])[0] for passage in passages]
    among = scorer.score([*passages, *passages[::-1]])[len(passages) :][::-1]
    both = [(a, b) for a, b in zip(alone, among, strict=True) if a is not None and b is not None]
    return max((abs(surprise.of(a) - surprise.of(b)) for a, b in both), default=0.0)
