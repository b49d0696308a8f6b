"""Prompt texts as data: their slots are checked, and what is put into them stays as it is."""

from dataclasses import replace

import pytest

from reer.errors import InputError
from reer.prompts import Triggers
from reer.types import Message
from tests.fakes.prompts import CHINESE, ENGLISH, PROMPTS, TRIGGERS


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


def test_the_query_decides_the_language() -> None:
    assert PROMPTS.of("Write a poem") is ENGLISH
    assert PROMPTS.of("写一首诗") is CHINESE


def test_a_system_text_comes_first_and_an_empty_one_not_at_all() -> None:
    values = {"query": "q", "reflection": ""}
    assert PROMPTS.render("inference", "q", values).messages == (
        Message("system", "Be kind."),
        Message("user", "Think: q"),
    )
    assert [m.role for m in PROMPTS.render("inference", "诗", values).messages] == ["user"]


def test_braces_in_the_texts_are_not_filled() -> None:
    values = {"query": "{{solution}} {} %s", "solution": "{{query}}", "reflection": ""}
    assert "Draft: {{solution}} {} %s | {{query}}" in PROMPTS.render("draft", "q", values).messages[-1].content


def test_the_prefill_stands_apart_from_the_turns() -> None:
    prompt = PROMPTS.render("reverse", "x", {"solution": "x"}, prefill="<think>\n")
    assert prompt.prefill == "<think>\n"
    assert "<think>" not in prompt.messages[-1].content


def test_reflective_openers_stand_in_where_reflection_is_asked_for() -> None:
    prompts = replace(PROMPTS, en=replace(ENGLISH, reflective_openers=("Hmm, so",)))
    assert prompts.openers("q", TRIGGERS) == ("Hmm, so",)
    assert prompts.openers("q", Triggers()) == prompts.openers("q", Triggers(zh=("等等",))) == ENGLISH.openers
    assert prompts.openers("诗", TRIGGERS) == CHINESE.openers


def test_without_triggers_reflection_is_not_asked_for() -> None:
    assert PROMPTS.reflection("q", TRIGGERS) == "Say Hmm; Wait."
    assert PROMPTS.reflection("诗", TRIGGERS) == "Say 等等."
    assert PROMPTS.reflection("q", Triggers()) == ""
