"""z(0): a first thinking for each pair, from its query and its solution (paper.md §1.5 step 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reer.models.protocols import Completion, Generator, Prompt, Request, Sampling
from reer.prompts import Prompts, Triggers
from reer.text import split_segments, whole_sentences
from reer.types import Drop, InputError, Pair, Trajectory, item_seed


@dataclass(frozen=True)
class DraftRules:
    """When a draft is no starting point for a search."""

    min_tokens: int
    min_segments: int

    def __post_init__(self) -> None:
        if self.min_tokens < 0 or self.min_segments < 1:
            raise InputError(f"filters.draft: want min_tokens >= 0 and min_segments >= 1, got {self}")


def draft_prompt(pair: Pair, prompts: Prompts, triggers: Triggers, seed: int) -> tuple[Prompt, str]:
    """The prompt and the opener its thinking begins with."""
    openers = prompts.openers(pair.query, triggers)
    opener = openers[item_seed(seed, pair.id, "opener") % len(openers)]
    values = {
        "query": pair.query,
        "solution": pair.solution,
        "reflection": prompts.reflection(pair.query, triggers),
    }
    return prompts.chat("draft", pair.query, values, prefill=f"<think>\n{opener}"), opener


def write_drafts(
    pairs: Sequence[Pair],
    generator: Generator,
    prompts: Prompts,
    triggers: Triggers,
    sampling: Sampling,
    rules: DraftRules,
    seed: int,
) -> tuple[list[Trajectory], list[Drop]]:
    """One draft per pair; too short or undivided ones are dropped with the reason."""
    asked = [draft_prompt(pair, prompts, triggers, seed) for pair in pairs]
    requests = [
        Request(prompt, sampling, item_seed(seed, pair.id, "draft"))
        for pair, (prompt, _) in zip(pairs, asked, strict=True)
    ]
    kept: list[Trajectory] = []
    dropped: list[Drop] = []
    for pair, (_, opener), reply in zip(pairs, asked, generator.generate(requests), strict=True):
        segments = tuple(part.strip() for part in split_segments((opener + thinking_of(reply)).strip()))
        reason = drop_reason(reply, segments, rules)
        if reason:
            dropped.append(Drop(pair.id, reason))
        else:
            kept.append(Trajectory(pair.id, segments, reply.tokens))
    return kept, dropped


def thinking_of(reply: Completion) -> str:
    """The text up to `</think>`; a draft cut by its token limit loses its unfinished last sentence."""
    text = reply.text.split("</think>")[0]
    return whole_sentences(text) if reply.stopped == "length" else text


def drop_reason(reply: Completion, segments: Sequence[str], rules: DraftRules) -> str | None:
    """A prompt that leaves no room, then the released code's drop rules (REER_DeepWriter 277acc6, synthesize.py) with
    thresholds from config."""
    if reply.stopped == "no_room":
        return "prompt_too_long"
    if reply.tokens < rules.min_tokens:
        return "draft_too_short"
    if len(segments) < rules.min_segments:
        return "draft_single_segment"
    return None
