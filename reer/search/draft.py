"""Drafts: a first thinking z(0) for each pair from its query and its solution (paper.md §1.5 step 1), and further
drafts for searches with several starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import NonNegativeInt, PositiveInt

from reer.calls import all_of
from reer.models.protocols import (
    Completion,
    ConcurrentGenerator,
    Generator,
    Prompt,
    Request,
    Sampling,
    generated,
    in_order,
)
from reer.prompts import BoundPrompts
from reer.search.methods import RequestDrafts
from reer.text import split_segments, whole_sentences
from reer.types import Drop, Lost, Pair, Start, Trajectory, item_seed


def ignored(pair_id: str, start: Start) -> None:
    """Receives a draft that nobody waits for."""


@dataclass(frozen=True)
class DraftRules:
    """Which drafts are too short to start a search from."""

    min_tokens: NonNegativeInt
    """Drafts with fewer generated tokens are dropped."""
    min_segments: PositiveInt
    """Drafts with fewer segments are dropped."""


def draft_prompt(pair: Pair, prompts: BoundPrompts, seed: int, sample: int = 0) -> tuple[Prompt, str]:
    """The prompt, and the opener with which its thinking begins; `sample` numbers the drafts of a pair, z(0) is 0."""
    texts = prompts.for_language(pair.language)
    opener = texts.openers[item_seed(seed, pair.id, "opener", *_number(sample)) % len(texts.openers)]
    return texts.draft(pair, opener), opener


def _number(sample: int) -> tuple[int, ...]:
    return (sample,) if sample else ()


@dataclass(frozen=True, kw_only=True)
class Drafter:
    """Writes drafts with one generator."""

    generator: Generator
    prompts: BoundPrompts
    sampling: Sampling
    rules: DraftRules
    seed: int

    def starts(self, wanted: Sequence[tuple[Pair, int]]) -> list[Start]:
        """The draft of each (pair, sample number)."""
        calls = [self._call(pair, sample) for pair, sample in wanted]
        replies = in_order(self.generator.generate([request for request, _ in calls]), len(calls))
        return [self._start(opener, reply) for (_, opener), reply in zip(calls, replies, strict=True)]

    def _call(self, pair: Pair, sample: int) -> tuple[Request, str]:
        """The request for a draft, and its opener."""
        prompt, opener = draft_prompt(pair, self.prompts, self.seed, sample)
        seed = item_seed(self.seed, pair.id, "draft", *_number(sample))
        return Request(prompt, self.sampling, seed, pair.id), opener

    def _start(self, opener: str, reply: Completion) -> Start:
        raw = opener + thinking_of(reply)
        segments = tuple(part.strip() for part in split_segments(raw.strip()))
        return Start(segments, reply.tokens, lost_draft(reply, segments, self.rules), raw)

    def first_drafts(
        self, pairs: Sequence[Pair], width: int | None = None, on_draft: Callable[[str, Start], None] = ignored
    ) -> tuple[list[Trajectory], list[Drop]]:
        """z(0) of each pair, and the pairs dropped because their draft cannot be used. `width` is as in
        `reer.models.protocols.generated`, None for all at once; `on_draft` receives the id of a pair and its draft, as
        it comes."""
        calls = [self._call(pair, 0) for pair in pairs]
        starts: dict[int, Start] = {}
        for at, reply in generated(self.generator, [request for request, _ in calls], width or max(1, len(calls))):
            starts[at] = self._start(calls[at][1], reply)
            on_draft(pairs[at].id, starts[at])
        drafts = [(pair.id, starts[at]) for at, pair in enumerate(pairs)]
        kept = [start.as_trajectory(pair_id) for pair_id, start in drafts if not start.lost]
        return kept, [Drop(pair_id, start.lost) for pair_id, start in drafts if start.lost]

    def further_drafts(self, pairs: Mapping[str, Pair], requests: Sequence[RequestDrafts]) -> list[list[Start]]:
        """Handles RequestDrafts: drafts of the requested pairs."""
        wanted = [(pairs[request.pair_id], sample) for request in requests for sample in _samples(request)]
        starts = iter(self.starts(wanted))
        return [[next(starts) for _ in range(request.n)] for request in requests]

    async def handle(
        self, generator: ConcurrentGenerator, pairs: Mapping[str, Pair], request: RequestDrafts
    ) -> list[Start]:
        """Handles one request, with a generator that takes requests one at a time."""

        async def start(sample: int) -> Start:
            call, opener = self._call(pairs[request.pair_id], sample)
            return self._start(opener, await generator.complete(call))

        return await all_of(start(sample) for sample in _samples(request))


def _samples(request: RequestDrafts) -> range:
    """The sample numbers of the requested drafts; z(0) has number 0."""
    return range(request.first, request.first + request.n)


def thinking_of(reply: Completion) -> str:
    """The text before `</think>`. If the token limit ended the reply, its unfinished last sentence is removed."""
    text = reply.text.split("</think>")[0]
    return whole_sentences(text) if reply.stopped == "length" else text


def lost_draft(reply: Completion, segments: Sequence[str], rules: DraftRules) -> Lost | None:
    """Why a draft cannot be used, or None: no room for a completion, rejected by the server, or the drop rules of the
    released code (REER_DeepWriter 277acc6, synthesize.py) with thresholds from the configuration."""
    if reply.stopped == "prompt_too_long":
        return "prompt_too_long"
    if reply.stopped == "refused":
        return "refused_by_server"
    if reply.stopped == "unreadable":
        return "unreadable_reply"
    if reply.tokens < rules.min_tokens:
        return "draft_too_short"
    if len(segments) < rules.min_segments:
        return "draft_single_segment"
    return None
