"""One text per rule, asserting its reason."""

from dataclasses import replace
from typing import Any

import pytest

from reer.curation.filters import Filters, leak, measures, still_thinking
from reer.errors import InputError
from reer.search.draft import DraftRules
from reer.types import Pair, Trajectory

FILTERS = Filters(
    draft=DraftRules(0, 1),
    end_share=0.1,
    end_patterns=(r"\bhmm+\b", r"\bwait\b", "等等"),
    repetition_n=3,
    repetition_top=3,
    max_repetition=0.3,
    max_leak=0.5,
)
SOLUTION = " ".join(f"word{i}" for i in range(40))
PAIR = Pair("p", "Write", SOLUTION, "others", "en", "test")
CALM = "The task asks for a short piece about a harbour, and I see it in winter light. " + " ".join(
    f"Idea {n} comes with its own picture {n * 7}, so it stays." for n in range(8)
)


def refined(thinking: str) -> Trajectory:
    return Trajectory("p", (thinking,), 0)


@pytest.mark.parametrize(
    ("thinking", "reason"),
    [
        (CALM, None),
        ("Hmm, wait. " + CALM, None),
        ("  ", "empty"),
        (CALM + " Hmm, no.", "thinking_at_end"),
        (CALM + " WAIT", "thinking_at_end"),
        ("先写一个画面，" * 2 + "再慢慢说清楚事情的来由和分寸，等等。", "thinking_at_end"),
        ("one two three four " * 20, "repetition"),
        (f"I write: {SOLUTION}", "leak"),
    ],
)
def test_each_rule_has_its_reason(thinking: str, reason: str | None) -> None:
    assert FILTERS.drop_reason(PAIR, refined(thinking)) == reason


def test_the_first_rule_that_drops_gives_the_reason() -> None:
    assert FILTERS.drop_reason(PAIR, refined("wait wait wait wait " * 9)) == "thinking_at_end"


def test_without_a_bound_leaks_are_measured_and_drop_nothing() -> None:
    copied = refined(SOLUTION)
    assert replace(FILTERS, max_leak=None).drop_reason(PAIR, copied) is None
    assert measures(PAIR, copied) == {"leak": 1.0, "words": 40.0}


def test_a_share_on_its_bound_is_kept() -> None:
    filters = replace(FILTERS, repetition_n=1, repetition_top=1, max_repetition=0.5, max_leak=None)
    assert filters.drop_reason(PAIR, refined("a a b c")) is None
    assert filters.drop_reason(PAIR, refined("a a a b")) == "repetition"


def test_a_thought_of_its_own_does_not_leak() -> None:
    assert leak(CALM, PAIR) == 0
    assert leak("too short for a 13-gram", PAIR) == 0


def test_only_the_end_is_looked_at() -> None:
    assert still_thinking("0123456789 wait", 0.3, [r"\bwait\b"])
    assert not still_thinking("wait " + "." * 95, 0.1, [r"\bwait\b"])
    assert not still_thinking("wait", 0.0, [r"\bwait\b"])


@pytest.mark.parametrize(
    "bad",
    [
        {"end_share": 1.1},
        {"max_repetition": -0.1},
        {"max_leak": 2.0},
        {"repetition_n": 0},
        {"repetition_top": 0},
        {"end_patterns": ("wait(",)},
    ],
)
def test_impossible_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="filters"):
        replace(FILTERS, **bad)
