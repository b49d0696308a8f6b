"""First thinkings: prompts and seeds that depend on the pair alone, and drafts that are no starting point."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reer.errors import InputError
from reer.models.protocols import Completion, Request, Sampling
from reer.models.scripted import ScriptedSession
from reer.search.draft import Drafter, DraftRules, draft_prompt, drop_reason, thinking_of
from reer.types import Drop, Pair, item_seed
from tests.fakes.prompts import ENGLISH, PROMPTS, TRIGGERS

SAMPLING = Sampling(0.7, 0.95, 400, stop=("</think>",))
PAIRS = [Pair(f"id{i}", f"Write about boat number {i}", "A boat.", "others", "en", "test") for i in range(6)]
RULES = DraftRules(min_tokens=1, min_segments=2)


class Says:
    """A generator with one answer to everything, which remembers what it was asked."""

    name = "says"

    def __init__(self, text: str, tokens: int = 200, stopped: str = "stop") -> None:
        self.reply = Completion(text, stopped, 1, tokens)  # type: ignore[arg-type]
        self.asked: list[Request] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        self.asked += requests
        yield from enumerate([self.reply for _ in requests])


@settings(deadline=None)
@given(st.integers(), st.text(), st.integers(0, 99))
def test_an_item_seed_is_a_stable_31_bit_number(seed: int, id: str, sample: int) -> None:
    assert item_seed(seed, id, sample) == item_seed(seed, id, sample)
    assert 0 <= item_seed(seed, id, sample) < 2**31


def test_item_seeds_are_the_same_on_every_machine_and_differ_by_every_part() -> None:
    assert item_seed(0, "pair", "draft") == 1874363542
    seeds = {item_seed(s, id, role, n) for s in (0, 1) for id in ("a", "b") for role in ("x", "y") for n in range(9)}
    assert len(seeds) == 72


def test_the_prompt_puts_a_chosen_opener_into_the_models_mouth() -> None:
    prompt, opener = draft_prompt(PAIRS[0], PROMPTS, TRIGGERS, seed=0)
    assert prompt.prefill == f"<think>\n{opener}"
    assert opener in ENGLISH.openers
    assert "Say Hmm; Wait." in prompt.messages[-1].content


def test_all_openers_are_used_over_many_seeds() -> None:
    assert {draft_prompt(PAIRS[0], PROMPTS, TRIGGERS, seed)[1] for seed in range(20)} == set(ENGLISH.openers)


def test_every_pair_is_asked_under_its_own_seed() -> None:
    writer = Says("x")
    Drafter(writer, PROMPTS, TRIGGERS, SAMPLING, RULES, 0).first_drafts(PAIRS)
    assert len({request.seed for request in writer.asked}) == len(PAIRS)


def test_the_order_of_pairs_changes_no_draft() -> None:
    forth, _ = Drafter(ScriptedSession(0), PROMPTS, TRIGGERS, SAMPLING, RULES, 3).first_drafts(PAIRS)
    back, _ = Drafter(ScriptedSession(0), PROMPTS, TRIGGERS, SAMPLING, RULES, 3).first_drafts(PAIRS[::-1])
    assert forth == back[::-1]
    assert all(len(draft.segments) >= 2 for draft in forth)


def test_a_draft_begins_with_its_opener_and_ends_before_the_closing_tag() -> None:
    writer = Says(f" that {'a' * 120}.\n\n{'b' * 120}.\n</think>\n\nThe answer.")
    (draft,), _ = Drafter(writer, PROMPTS, TRIGGERS, SAMPLING, RULES, 0).first_drafts(PAIRS[:1])
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
    assert drop_reason(Says("", tokens).reply, ["s"] * segments, DraftRules(100, 2)) == reason


def test_a_pair_whose_prompt_fills_the_context_is_dropped_for_that() -> None:
    assert drop_reason(Says("", 0, stopped="prompt_too_long").reply, [], DraftRules(100, 2)) == "prompt_too_long"


def test_dropped_drafts_are_listed_with_their_pair() -> None:
    kept, dropped = Drafter(Says("short", tokens=0), PROMPTS, TRIGGERS, SAMPLING, RULES, 0).first_drafts(PAIRS[:2])
    assert kept == []
    assert dropped == [Drop("id0", "draft_too_short"), Drop("id1", "draft_too_short")]


@pytest.mark.parametrize("bad", [(-1, 1), (0, 0)])
def test_impossible_rules_are_refused(bad: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"filters\.draft"):
        DraftRules(*bad)


def test_further_drafts_of_a_pair_draw_anew_and_z0_keeps_its_own_seed() -> None:
    writer = Says(f" that {'a' * 120}.\n\n{'b' * 120}.")
    drafter = Drafter(writer, PROMPTS, TRIGGERS, SAMPLING, RULES, 4)
    drafter.first_drafts(PAIRS[:1])
    drafter.starts([(PAIRS[0], sample) for sample in range(4)])
    seeds = [request.seed for request in writer.asked]
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 4
    assert {request.group for request in writer.asked} == {PAIRS[0].id}
