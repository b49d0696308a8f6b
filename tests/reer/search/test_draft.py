"""Drafts: prompts and seeds depend on the pair alone, and drafts that cannot be used have a reason."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reer.models.protocols import Completion, Request, Sampling
from reer.models.scripted import ScriptedSession
from reer.search.draft import Drafter, DraftRules, draft_prompt, lost_draft, thinking_of
from reer.search.methods import RequestDrafts
from reer.types import Drop, Pair, Trajectory, item_seed
from tests.fakes.fields import assert_field_refuses
from tests.fakes.prompts import BOUND, ENGLISH

SAMPLING = Sampling(temperature=0.7, top_p=0.95, max_tokens=400, stop=("</think>",))
PAIRS = [
    Pair(
        id=f"id{i}",
        query=f"Write about boat number {i}",
        solution="A boat.",
        category="others",
        language="en",
        source="test",
    )
    for i in range(6)
]
RULES = DraftRules(min_tokens=1, min_segments=2)


class Says:
    """A generator that always gives the same reply; `asked` lists its requests."""

    name = "says"

    def __init__(self, text: str, tokens: int = 200, stopped: str = "stop") -> None:
        self.reply = Completion(text=text, stopped=stopped, prompt_tokens=1, tokens=tokens)  # type: ignore[arg-type]
        self.asked: list[Request] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        self.asked += requests
        yield from enumerate([self.reply for _ in requests])


class Numbered(Says):
    """A generator whose replies name the request's seed; `batches` lists the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__("")
        self.batches: list[int] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        self.batches.append(len(requests))
        yield from enumerate([self.reply_to(request) for request in requests])

    def reply_to(self, request: Request) -> Completion:
        self.asked.append(request)
        return replace(self.reply, text=f" that {request.seed} {'a' * 120}.\n\n{'b' * 120}.")


class OneAtATime(Numbered):
    """The same, of single requests."""

    async def complete(self, request: Request) -> Completion:
        return self.reply_to(request)


@settings(deadline=None)
@given(st.integers(), st.text(), st.integers(0, 99))
def test_an_item_seed_is_a_31_bit_number(seed: int, item_id: str, sample: int) -> None:
    assert 0 <= item_seed(seed, item_id, sample) < 2**31


def test_item_seeds_are_the_same_on_every_machine_and_differ_by_every_part() -> None:
    assert item_seed(0, "pair", "draft") == 1874363542
    parts = product((0, 1), ("a", "b"), ("x", "y"), range(9))
    seeds = {item_seed(*part) for part in parts}
    assert len(seeds) == 72


def test_the_thinking_begins_with_a_chosen_opener() -> None:
    prompt, opener = draft_prompt(PAIRS[0], BOUND, seed=0)
    assert prompt.prefill == f"<think>\n{opener}"
    assert opener in ENGLISH.openers
    assert "Say Hmm; Wait." in prompt.messages[-1].content


def test_all_openers_are_used_over_many_seeds() -> None:
    assert {draft_prompt(PAIRS[0], BOUND, seed)[1] for seed in range(20)} == set(ENGLISH.openers)


def test_every_pair_has_its_own_seed() -> None:
    writer = Says("x")
    Drafter(generator=writer, prompts=BOUND, sampling=SAMPLING, rules=RULES, seed=0).first_drafts(PAIRS)
    assert len({request.seed for request in writer.asked}) == len(PAIRS)


def test_the_order_of_pairs_changes_no_draft() -> None:
    forth, _ = Drafter(
        generator=ScriptedSession(0), prompts=BOUND, sampling=SAMPLING, rules=RULES, seed=3
    ).first_drafts(PAIRS)
    back, _ = Drafter(generator=ScriptedSession(0), prompts=BOUND, sampling=SAMPLING, rules=RULES, seed=3).first_drafts(
        PAIRS[::-1]
    )
    assert forth == back[::-1]
    assert all(len(draft.segments) >= 2 for draft in forth)


def test_a_draft_begins_with_its_opener_and_ends_before_the_closing_tag() -> None:
    writer = Says(f" that {'a' * 120}.\n\n{'b' * 120}.\n</think>\n\nThe answer.")
    (draft,), _ = Drafter(generator=writer, prompts=BOUND, sampling=SAMPLING, rules=RULES, seed=0).first_drafts(
        PAIRS[:1]
    )
    assert draft.segments[0].startswith(ENGLISH.openers)
    assert draft.segments[-1] == "b" * 120 + "."
    assert draft.tokens == 200


@pytest.mark.parametrize(
    ("text", "stopped", "thinking"),
    [
        ("One. Two", "stop", "One. Two"),
        ("One. Two", "length", "One."),
        ("一。二", "length", "一。"),
        ("no end at all", "length", ""),
        ("Done.</think>rest", "stop", "Done."),
    ],
)
def test_a_draft_cut_by_its_limit_loses_its_unfinished_sentence(text: str, stopped: str, thinking: str) -> None:
    assert thinking_of(Says(text, stopped=stopped).reply) == thinking


@pytest.mark.parametrize(
    ("tokens", "segments", "reason"),
    [(99, 5, "draft_too_short"), (100, 1, "draft_single_segment"), (100, 0, "draft_single_segment"), (100, 2, None)],
)
def test_why_a_draft_is_dropped(tokens: int, segments: int, reason: str | None) -> None:
    assert lost_draft(Says("", tokens).reply, ["s"] * segments, DraftRules(100, 2)) == reason


@pytest.mark.parametrize(
    ("stopped", "reason"),
    [("prompt_too_long", "prompt_too_long"), ("refused", "refused_by_server"), ("unreadable", "unreadable_reply")],
)
def test_what_is_no_draft_is_dropped_for_that_reason(stopped: str, reason: str) -> None:
    assert lost_draft(Says("", 200, stopped=stopped).reply, ["a", "b"], DraftRules(100, 2)) == reason


def test_dropped_drafts_are_listed_with_their_pair() -> None:
    kept, dropped = Drafter(
        generator=Says("short", tokens=0), prompts=BOUND, sampling=SAMPLING, rules=RULES, seed=0
    ).first_drafts(PAIRS[:2])
    assert kept == []
    assert dropped == [Drop("id0", "draft_too_short"), Drop("id1", "draft_too_short")]


@pytest.mark.parametrize(("field", "value"), [("min_tokens", -1), ("min_segments", 0)])
def test_a_rule_out_of_range_is_refused_with_its_field(field: str, value: int) -> None:
    assert_field_refuses(RULES, field, value)


def test_further_drafts_are_numbered_after_the_first() -> None:
    writer = Says(f" {'a' * 120}.\n\n{'b' * 120}.")
    drafter = Drafter(generator=writer, prompts=BOUND, sampling=SAMPLING, rules=DraftRules(0, 2), seed=0)
    pairs = {pair.id: pair for pair in PAIRS}
    (three, one) = drafter.further_drafts(pairs, [RequestDrafts("id0", 3), RequestDrafts("id1", 1)])
    assert (len(three), len(one), len({request.seed for request in writer.asked})) == (3, 1, 4)
    assert all(start.lost is None and len(start.segments) == 2 for start in three)


def test_each_draft_of_a_pair_has_its_own_seed_and_z0_keeps_its() -> None:
    writer = Says(f" that {'a' * 120}.\n\n{'b' * 120}.")
    drafter = Drafter(generator=writer, prompts=BOUND, sampling=SAMPLING, rules=RULES, seed=4)
    drafter.first_drafts(PAIRS[:1])
    drafter.starts([(PAIRS[0], sample) for sample in range(4)])
    seeds = [request.seed for request in writer.asked]
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 4
    assert {request.group for request in writer.asked} == {PAIRS[0].id}


def drafter_of(writer: Says, seed: int = 0) -> Drafter:
    return Drafter(generator=writer, prompts=BOUND, sampling=SAMPLING, rules=RULES, seed=seed)


def test_seeds_and_openers_of_drafts_never_change() -> None:
    """A recorded draft is found under its seed and its prompt."""
    writer = Numbered()
    drafter_of(writer).starts([(PAIRS[0], sample) for sample in range(3)])
    assert [request.seed for request in writer.asked] == [1383484509, 684879050, 474333955]
    first, second = ENGLISH.openers
    assert [draft_prompt(pair, BOUND, 0)[1] for pair in PAIRS] == [first, first, first, second, first, second]
    assert [draft_prompt(PAIRS[1], BOUND, 0, sample)[1] for sample in range(4)] == [first, second, first, second]
    asked = [(pair, sample) for pair in PAIRS for sample in range(3)]
    drafter_of(writer, seed=2).starts(asked)
    assert [request.prompt for request in writer.asked[3:]] == [draft_prompt(p, BOUND, 2, n)[0] for p, n in asked]


def test_drafts_are_the_same_one_at_a_time_as_in_a_batch() -> None:
    alone, together = OneAtATime(), Numbered()
    pairs = {pair.id: pair for pair in PAIRS}
    request = RequestDrafts("id1", 3)
    (batch,) = drafter_of(together, seed=2).further_drafts(pairs, [request])
    assert asyncio.run(drafter_of(alone, seed=2).handle(alone, pairs, request)) == batch
    assert alone.asked == together.asked
    assert len({start.raw for start in batch}) == 3


def test_first_drafts_come_in_batches_of_the_width_and_each_is_passed_on_as_it_comes() -> None:
    writer, came = Numbered(), list[Trajectory]()
    kept, dropped = drafter_of(writer).first_drafts(
        PAIRS, 4, lambda pair_id, start: came.append(start.as_trajectory(pair_id))
    )
    assert (writer.batches, dropped) == ([4, 2], [])
    assert came == kept
    assert all(draft.raw.startswith(ENGLISH.openers) and f" {'a' * 120}." in draft.raw for draft in kept)
    at_once = Numbered()
    assert drafter_of(at_once).first_drafts(PAIRS) == (kept, [])
    assert at_once.batches == [6]
    assert drafter_of(at_once).first_drafts([]) == ([], [])
