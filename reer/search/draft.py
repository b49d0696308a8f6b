"""z(0): a first thinking for each pair, from its query and its solution (paper.md §1.5 step 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reer.errors import InputError
from reer.models.protocols import Completion, Generator, Prompt, Request, Sampling, in_order
from reer.prompts import Prompts, Triggers
from reer.text import split_segments, whole_sentences
from reer.types import Drop, Pair, Start, Trajectory, item_seed


@dataclass(frozen=True)
class DraftRules:
    """When a draft is no starting point for a search."""

    min_tokens: int
    min_segments: int

    def __post_init__(self) -> None:
        if self.min_tokens < 0 or self.min_segments < 1:
            raise InputError(f"filters.draft: want min_tokens >= 0 and min_segments >= 1, got {self}")


def draft_prompt(pair: Pair, prompts: Prompts, triggers: Triggers, seed: int, sample: int = 0) -> tuple[Prompt, str]:
    """The prompt and the opener its thinking begins with; `sample` numbers the drafts of one pair, z(0) first."""
    openers = prompts.openers(pair.query, triggers)
    opener = openers[item_seed(seed, pair.id, "opener", *_number(sample)) % len(openers)]
    values = {
        "query": pair.query,
        "solution": pair.solution,
        "reflection": prompts.reflection(pair.query, triggers),
    }
    return prompts.render("draft", pair.query, values, prefill=f"<think>\n{opener}"), opener


def _number(sample: int) -> tuple[int, ...]:
    return (sample,) if sample else ()


@dataclass(frozen=True)
class Drafter:
    """Writes drafts with one generator, in one way."""

    generator: Generator
    prompts: Prompts
    triggers: Triggers
    sampling: Sampling
    rules: DraftRules
    seed: int

    def starts(self, wanted: Sequence[tuple[Pair, int]]) -> list[Start]:
        """The draft of each (pair, sample number), or the reason there is none."""
        asked = [draft_prompt(pair, self.prompts, self.triggers, self.seed, sample) for pair, sample in wanted]
        requests = [
            Request(prompt, self.sampling, item_seed(self.seed, pair.id, "draft", *_number(sample)), pair.id)
            for (pair, sample), (prompt, _) in zip(wanted, asked, strict=True)
        ]
        replies = in_order(self.generator.generate(requests), len(requests))
        return [self._start(opener, reply) for (_, opener), reply in zip(asked, replies, strict=True)]

    def _start(self, opener: str, reply: Completion) -> Start:
        segments = tuple(part.strip() for part in split_segments((opener + thinking_of(reply)).strip()))
        return Start(segments, reply.tokens, drop_reason(reply, segments, self.rules))

    def first_drafts(self, pairs: Sequence[Pair]) -> tuple[list[Trajectory], list[Drop]]:
        """z(0) for each pair; too short or undivided ones are dropped with the reason."""
        made = list(zip(pairs, self.starts([(pair, 0) for pair in pairs]), strict=True))
        kept = [Trajectory(pair.id, start.segments, start.tokens) for pair, start in made if not start.lost]
        return kept, [Drop(pair.id, start.lost) for pair, start in made if start.lost]


def thinking_of(reply: Completion) -> str:
    """The text up to `</think>`; a draft cut by its token limit loses its unfinished last sentence."""
    text = reply.text.split("</think>")[0]
    return whole_sentences(text) if reply.stopped == "length" else text


def drop_reason(reply: Completion, segments: Sequence[str], rules: DraftRules) -> str | None:
    """A prompt that leaves no room, then the released code's drop rules (REER_DeepWriter 277acc6, synthesize.py) with
    thresholds from config."""
    if reply.stopped == "prompt_too_long":
        return "prompt_too_long"
    if reply.stopped == "refused":
        return "refused_by_server"
    if reply.tokens < rules.min_tokens:
        return "draft_too_short"
    if len(segments) < rules.min_segments:
        return "draft_single_segment"
    return None
