"""One text per rule and its reason."""

from dataclasses import replace

import pytest

from reer.curation.filters import Filters, TrajectoryMeasures, leak, measures, still_thinking
from reer.errors import InputError
from reer.search.draft import DraftRules
from reer.types import Pair, Trajectory
from tests.fakes.fields import assert_field_refuses
from tests.fakes.prompts import GUARDED

FILTERS = Filters(
    draft=DraftRules(0, 1),
    rewrite=GUARDED,
    end_share=0.1,
    end_patterns=(r"\bhmm+\b", r"\bwait\b", "等等"),
    repetition_n=3,
    repetition_top=3,
    max_repetition=0.3,
    max_leak=0.5,
)
SOLUTION = " ".join(f"word{i}" for i in range(40))
PAIR = Pair(id="p", query="Write", solution=SOLUTION, category="others", language="en", source="test")
CALM = "The task asks for a short piece about a harbour, and I see it in winter light. " + " ".join(
    f"Idea {n} comes with its own picture {n * 7}, so it stays." for n in range(8)
)


def trajectory(thinking: str) -> Trajectory:
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
    assert FILTERS.drop_reason(PAIR, trajectory(thinking)) == reason


def test_the_first_rule_that_drops_gives_the_reason() -> None:
    assert FILTERS.drop_reason(PAIR, trajectory("wait wait wait wait " * 9)) == "thinking_at_end"


def test_without_a_bound_leaks_are_measured_and_drop_nothing() -> None:
    copied = trajectory(SOLUTION)
    assert replace(FILTERS, max_leak=None).drop_reason(PAIR, copied) is None
    assert measures(PAIR, copied) == TrajectoryMeasures("p", leak=1.0, words=40.0)


def test_a_share_on_its_bound_is_kept() -> None:
    filters = replace(FILTERS, repetition_n=1, repetition_top=1, max_repetition=0.5, max_leak=None)
    assert filters.drop_reason(PAIR, trajectory("a a b c")) is None
    assert filters.drop_reason(PAIR, trajectory("a a a b")) == "repetition"


def test_original_thinking_has_no_leak() -> None:
    assert leak(CALM, PAIR) == 0
    assert leak("too short for a 13-gram", PAIR) == 0


def test_thinking_patterns_count_only_at_the_end() -> None:
    assert still_thinking("0123456789 wait", 0.3, [r"\bwait\b"])
    assert not still_thinking("wait " + "." * 95, 0.1, [r"\bwait\b"])
    assert not still_thinking("wait", 0.0, [r"\bwait\b"])


@pytest.mark.parametrize(
    ("field", "value"),
    [("end_share", 1.1), ("max_repetition", -0.1), ("max_leak", 2.0), ("repetition_n", 0), ("repetition_top", 0)],
)
def test_a_threshold_out_of_range_is_refused_with_its_field(field: str, value: float) -> None:
    assert_field_refuses(FILTERS, field, value)


def test_a_pattern_that_is_not_a_regular_expression_is_refused() -> None:
    with pytest.raises(InputError, match=r"filters\.end_patterns: 'wait\('"):
        replace(FILTERS, end_patterns=("wait(",))
