"""Prompt texts: their slots are checked, and the texts put into them are used verbatim."""

from dataclasses import replace

import pytest

from reer.errors import InputError
from reer.prompts import Triggers
from reer.types import Message, Pair
from tests.fakes.prompts import BOUND, CHINESE, ENGLISH, PROMPTS

PAIR = Pair(id="p", query="q", solution="y", category="others", language="en", source="test")


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("draft", "{{query}} {{solution}}"),
        ("inference", "{{query}} {{reflection}} {{solution}}"),
        ("edit", "nothing"),
        ("reverse", "{{solutions}}"),
        ("reverse_fallback", ""),
        ("classify", "{{query}}"),
        ("reflection", "{triggers}"),
    ],
)
def test_a_text_with_other_slots_is_refused_by_name(field: str, text: str) -> None:
    with pytest.raises(InputError, match=f"text '{field}' has slots"):
        replace(ENGLISH, **{field: text})


def test_at_least_one_opener_is_wanted() -> None:
    with pytest.raises(InputError, match="opener"):
        replace(ENGLISH, openers=())


def test_a_pairs_language_decides_the_texts() -> None:
    assert PROMPTS.for_language("en") is BOUND.for_language("en").texts is ENGLISH
    assert PROMPTS.for_language("zh") is BOUND.for_language("zh").texts is CHINESE


def test_the_system_turn_comes_first_if_there_is_one() -> None:
    english = BOUND.for_language("en").inference(PAIR, "", with_instruction=True)
    assert english.messages == (Message("system", "Be kind."), Message("user", "Think: q Say Hmm; Wait."))
    chinese = BOUND.for_language("zh").inference(PAIR, "", with_instruction=True)
    assert [message.role for message in chinese.messages] == ["user"]


def test_without_the_instruction_the_query_is_the_whole_user_turn() -> None:
    prompt = BOUND.for_language("en").inference(PAIR, "<think>\n", with_instruction=False)
    assert prompt.messages == (Message("system", "Be kind."), Message("user", "q"))
    assert prompt.prefill == "<think>\n"


def test_braces_in_the_texts_are_not_filled() -> None:
    pair = replace(PAIR, query="{{solution}} {} %s", solution="{{query}}")
    prompt = BOUND.for_language("en").draft(pair, "Okay")
    assert "Draft: {{solution}} {} %s | {{query}}" in prompt.messages[-1].content


def test_the_prefill_is_not_part_of_the_user_turn() -> None:
    prompt = ENGLISH.render("reverse", {"solution": "x"}, prefill="<think>\n")
    assert prompt.prefill == "<think>\n"
    assert "<think>" not in prompt.messages[-1].content


def test_reflective_openers_are_used_where_reflection_is_asked_for() -> None:
    prompts = replace(PROMPTS, en=replace(ENGLISH, reflective_openers=("Hmm, so",)))
    both, only_chinese = Triggers(("Hmm",), ("等等",)), Triggers(zh=("等等",))
    assert prompts.with_triggers(both).en.openers == ("Hmm, so",)
    assert prompts.with_triggers(Triggers()).en.openers == ENGLISH.openers
    assert prompts.with_triggers(only_chinese).en.openers == ENGLISH.openers
    assert prompts.with_triggers(both).zh.openers == CHINESE.openers


def test_without_triggers_the_prompts_do_not_ask_for_reflection() -> None:
    assert BOUND.en.reflection == "Say Hmm; Wait."
    assert BOUND.zh.reflection == "Say 等等."
    assert PROMPTS.with_triggers(Triggers()).en.reflection == ""
