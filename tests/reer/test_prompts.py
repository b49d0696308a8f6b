"""Prompt texts: their slots are checked, and the texts put into them are used verbatim."""

import re
from collections import Counter
from dataclasses import replace

import pytest

from reer.errors import InputError
from reer.prompts import Triggers
from reer.types import Message, Pair
from tests.fakes.plans import compose
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
    assert english.messages == (Message("system", "Be kind."), Message("user", "Think: q Think Hmm; Wait."))
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


def test_each_prompt_asks_for_reflection_in_its_own_sentence() -> None:
    draft, edit = BOUND.en.draft(PAIR, "Okay"), BOUND.en.edit(PAIR, "", "segment", "")
    inference = BOUND.en.inference(PAIR, "", with_instruction=True)
    assert draft.messages[-1].content.endswith("Say Hmm; Wait.")
    assert edit.messages[-1].content.endswith("Edit Hmm; Wait.")
    assert inference.messages[-1].content.endswith("Think Hmm; Wait.")


def test_without_triggers_the_prompts_do_not_ask_for_reflection() -> None:
    prompts = PROMPTS.with_triggers(Triggers()).en
    assert prompts.edit(PAIR, "", "segment", "").messages[-1].content.endswith("</replace>")


@pytest.mark.parametrize("texts", ["reer", "brief"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_sentences_of_edits_and_of_inference_refer_to_no_list(texts: str, language: str) -> None:
    prompts = compose("scale=smoke", f"prompts={texts}").prompts
    of_language = prompts.en if language == "en" else prompts.zh
    for sentence in (of_language.reflection_edit, of_language.reflection_inference):
        assert not re.search(r"\([a-d]\)|（[一二三四]）", sentence)


def test_drafts_open_as_often_with_each_opener_as_the_released_ones() -> None:
    openers = compose("scale=smoke", "prompts=reer").prompts.en.openers
    assert sorted(Counter(openers).values()) == [5, 8, 12]
