"""Rewrites of a segment by a generator (paper.md §2.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from reer.calls import all_of
from reer.models.protocols import Completion, ConcurrentGenerator, Generator, Request, Sampling, in_order
from reer.prompts import BoundPrompts
from reer.search.methods import RequestRewrites
from reer.text import between_last, control_tokens, join_segments, main_language, whole_sentences, words
from reer.types import Candidate, Lost, Pair, item_seed

ANALYSIS_END, OPENING, CLOSING = "</analyze>", "<refine>", "</refine>"
_UNWRAPPED = re.compile(r"<replace>((?:(?!</?replace>).)*)</replace>", re.S)
_EDIT_TAG = re.compile(r"</?(?:analyze|refine|replace)>")


@dataclass(frozen=True, kw_only=True)
class RewriteRules:
    """Which replies hold no usable rewrite. The released code (REER_DeepWriter 277acc6, synthesize.py) has none of
    these rules beyond the tag itself: `filters=released`."""

    after_analysis: bool
    """Only a block after `</analyze>` counts, because the analysis may name the tags."""
    refuse_empty: bool
    """An empty rewrite would delete the segment."""
    refuse_tags: bool
    """Tags of the edit prompt, and markers of the chat format or of thinking, would be trained on."""
    copied_characters: PositiveInt | None
    """A passage of the solution of at least this length is a copy; None accepts copies."""
    same_language: bool
    """The rewrite is mainly in the language of the segment or of the pair."""
    growth: PositiveFloat | None
    """A rewrite has at most this many times the words of its segment, and `growth_words` more: a longer one has taken
    over the rest of the thinking. None is without a bound."""
    growth_words: NonNegativeInt

    def lost(self, text: str | None, segment: str, pair: Pair, cut: bool) -> Lost | None:
        """Why a rewrite of `segment` cannot be used, or None. `text` is None where the reply has no block; `cut` says
        that the token limit ended the block."""
        if text is None:
            return "no_tag"
        if not text:
            return "cut_by_limit" if cut else "empty" if self.refuse_empty else None
        if text == segment:
            return "unchanged"
        if self.refuse_tags and control_tokens(text):
            return "control_tokens"
        if self.refuse_tags and _EDIT_TAG.search(text):
            return "edit_tags"
        if self.copied_characters is not None and len(text) >= self.copied_characters and text in pair.solution:
            return "copied_solution"
        if self.same_language and main_language(text) not in (main_language(segment), pair.language):
            return "other_language"
        if self.growth is not None and len(words(text)) > self.growth * len(words(segment)) + self.growth_words:
            return "too_long"
        return None

    def block(self, reply: str) -> tuple[str | None, bool]:
        """The text of the last `<refine>` block of a reply, and whether the block is closed; None without a block. A
        pair of `<replace>` tags around the whole text is removed: the prompt marks the segment with them."""
        start = reply.rfind(OPENING)
        if self.after_analysis and ANALYSIS_END not in reply[: max(start, 0)]:
            return None, False
        text = between_last(reply, OPENING, CLOSING)
        if text is not None and self.refuse_tags and (wrapped := _UNWRAPPED.fullmatch(text)):
            text = wrapped[1].strip()
        return text, CLOSING in reply[start:]


@dataclass(frozen=True, kw_only=True)
class Rewriter:
    """Handles RequestRewrites: the generator rewrites one marked segment of the thinking."""

    generator: Generator
    pairs: Mapping[str, Pair]
    prompts: BoundPrompts
    sampling: Sampling
    rules: RewriteRules
    seed: int

    def __call__(self, requests: Sequence[RequestRewrites]) -> list[list[Candidate]]:
        calls = [call for request in requests for call in self._calls(request)]
        replies = iter(in_order(self.generator.generate(calls), len(calls)))
        return [[self._candidate(request, next(replies)) for _ in range(request.n)] for request in requests]

    async def handle(self, generator: ConcurrentGenerator, request: RequestRewrites) -> list[Candidate]:
        """Handles one request, with a generator that takes requests one at a time."""
        replies = await all_of(generator.complete(call) for call in self._calls(request))
        return [self._candidate(request, reply) for reply in replies]

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
        text, closed = self.rules.block(prefill + reply.text)
        cut = reply.stopped == "length" and not closed
        if text and cut:
            text = whole_sentences(text)
        lost = self.rules.lost(text, request.segments[request.index], pair, cut)
        return Candidate(text or "", reply.tokens, None, lost)
