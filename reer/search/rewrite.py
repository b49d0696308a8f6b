"""Rewrites of a segment by a generator (paper.md §2.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reer.models.protocols import Completion, Generator, Request, Sampling, in_order
from reer.prompts import BoundPrompts
from reer.search.methods import RequestRewrites
from reer.text import between_last, control_tokens, join_segments, language_of, whole_sentences, words
from reer.types import Candidate, Lost, Pair, item_seed


@dataclass(frozen=True, kw_only=True)
class Rewriter:
    """Handles RequestRewrites: the generator rewrites one marked segment of the thinking."""

    generator: Generator
    pairs: Mapping[str, Pair]
    prompts: BoundPrompts
    sampling: Sampling
    seed: int

    def __call__(self, requests: Sequence[RequestRewrites]) -> list[list[Candidate]]:
        calls = [call for request in requests for call in self._calls(request)]
        replies = iter(in_order(self.generator.generate(calls), len(calls)))
        return [[self._candidate(request, next(replies)) for _ in range(request.n)] for request in requests]

    def _calls(self, request: RequestRewrites) -> list[Request]:
        pair, segment = self.pairs[request.pair_id], request.segments[request.index]
        before = join_segments(request.segments[: request.index])
        after = join_segments(request.segments[request.index + 1 :])
        prompts = self.prompts.for_language(pair.language)
        prompt = prompts.edit(pair, before, segment, after)
        sampling = replace(self.sampling, stop=prompts.texts.edit_stops)
        # A later pass over an unchanged segment needs other seeds; the first pass has none of its own.
        later = (request.pass_index,) if request.pass_index else ()
        return [
            Request(prompt, sampling, item_seed(self.seed, pair.id, request.index, segment, sample, *later), pair.id)
            for sample in range(request.n)
        ]

    def _candidate(self, request: RequestRewrites, reply: Completion) -> Candidate:
        pair = self.pairs[request.pair_id]
        if reply.stopped == "prompt_too_long":
            return Candidate("", 0, None, "prompt_too_long")
        if reply.stopped == "refused":
            return Candidate("", 0, None, "refused_by_server")
        if reply.stopped == "unreadable":
            return Candidate("", 0, None, "unreadable_reply")
        prefill = self.prompts.for_language(pair.language).texts.edit_prefill
        text = between_last(prefill + reply.text, "<refine>", "</refine>")
        cut = reply.stopped == "length" and "</refine>" not in reply.text
        if text and cut:
            text = whole_sentences(text)
        return Candidate(text or "", reply.tokens, None, lost_rewrite(text, request.segments[request.index], pair, cut))


def lost_rewrite(text: str | None, segment: str, pair: Pair, cut: bool) -> Lost | None:
    """Why a rewrite of `segment` cannot be used, or None. `text` is None if the reply has no `<refine>` tag; `cut` says
    that the token limit ended the reply."""
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
