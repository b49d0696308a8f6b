"""What the search asks for, answered by models: rewrites of a segment, and the score of a thinking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from reer.models.protocols import Completion, Generator, Request, Sampling, in_order
from reer.prompts import Prompts, Triggers
from reer.search.draft import Drafter
from reer.search.methods import RequestDrafts, RequestRewrites
from reer.text import between_last, control_tokens, join_segments, language_of, whole_sentences, words
from reer.types import Candidate, Pair, Start, item_seed


class Rewriter:
    """Serves `RequestRewrites` needs: a generator asked to rewrite one marked segment (paper.md §2.3)."""

    def __init__(
        self,
        generator: Generator,
        pairs: Mapping[str, Pair],
        prompts: Prompts,
        triggers: Triggers,
        sampling: Sampling,
        seed: int,
    ) -> None:
        self.generator, self.pairs, self.prompts, self.triggers = generator, pairs, prompts, triggers
        self.sampling, self.seed = sampling, seed

    def __call__(self, needs: Sequence[RequestRewrites]) -> list[list[Candidate]]:
        requests = [request for need in needs for request in self._requests(need)]
        replies = iter(in_order(self.generator.generate(requests), len(requests)))
        return [[self._candidate(need, next(replies)) for _ in range(need.n)] for need in needs]

    def _requests(self, need: RequestRewrites) -> list[Request]:
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
        prompt = self.prompts.render("edit", pair.query, values, texts.edit_prefill)
        sampling = replace(self.sampling, stop=texts.edit_stops)
        again = (need.turn,) if need.turn else ()  # a later pass over the same words draws anew
        return [
            Request(prompt, sampling, item_seed(self.seed, pair.id, need.index, segment, sample, *again), pair.id)
            for sample in range(need.n)
        ]

    def _candidate(self, need: RequestRewrites, reply: Completion) -> Candidate:
        pair = self.pairs[need.pair_id]
        text = between_last(self.prompts.of(pair.query).edit_prefill + reply.text, "<refine>", "</refine>")
        if reply.stopped == "prompt_too_long":
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
    """Serves `RequestDrafts` needs: further drafts of a pair, numbered after z(0)."""

    def __init__(self, drafter: Drafter, pairs: Mapping[str, Pair]) -> None:
        self.drafter, self.pairs = drafter, pairs

    def __call__(self, needs: Sequence[RequestDrafts]) -> list[list[Start]]:
        wanted = [(self.pairs[need.pair_id], sample) for need in needs for sample in range(1, need.n + 1)]
        starts = iter(self.drafter.starts(wanted))
        return [[next(starts) for _ in range(need.n)] for need in needs]
