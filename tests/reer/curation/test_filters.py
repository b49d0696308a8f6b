"""One text per rule and its reason."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from reer.curation.filters import Filters, TrajectoryMeasures, leak, measures, still_thinking
from reer.curation.markers import Markers
from reer.errors import InputError
from reer.files import read_rows
from reer.search.draft import DraftRules
from reer.text import words
from reer.types import Pair, Trajectory
from tests.fakes.fields import assert_field_refuses
from tests.fakes.plans import compose
from tests.fakes.prompts import GUARDED

FILTERS = Filters(
    draft=DraftRules(0, 1),
    rewrite=GUARDED,
    end_share=0.1,
    end_markers=Markers(interjections=("hm+", "wait", "等等")),
    repetition_n=(5, 10),
    max_repetition=(0.2, 0.15),
    max_leak=0.5,
)
PAPER = compose("scale=smoke", "filters=paper").filters
SOLUTION = " ".join(f"word{i}" for i in range(40))
PAIR = Pair(id="p", query="Write", solution=SOLUTION, category="others", language="en", source="test")
CALM = (
    "The task asks for a short piece about a harbour, and I see it in winter light. First comes the crane with ice on "
    "its cable, then a man who counts crates in a low voice. His daughter brings soup in a can; that is where they "
    "talk. I keep the ferry for the last third, because nobody expects it there. Its horn can say what he does not."
)


@dataclass(frozen=True)
class Solution:
    """What is read of a row of human text."""

    answer: str = ""


def looping(size: int, period: int) -> list[str]:
    """Different words, as numbers, around a fifth of them that is a loop."""
    loop, rest = size // 5, size - size // 5
    different = [str(n) for n in range(period, period + rest)]
    return [*different[: rest // 2], *(str(n % period) for n in range(loop)), *different[rest // 2 :]]


def trajectory(thinking: str) -> Trajectory:
    return Trajectory("p", (thinking,), 0)


@pytest.mark.parametrize(
    ("thinking", "reason"),
    [
        (CALM, None),
        ("Hmm, wait. " + CALM, None),
        ("  ", "empty"),
        (CALM + " Hmm, no.", "thinking_at_end"),
        (CALM + " WAIT.", "thinking_at_end"),
        (CALM + " They wait.", None),
        ("先写一个画面，" * 2 + "再慢慢说清楚事情的来由和分寸。等等，不对。", "thinking_at_end"),
        ("先写苹果和梨，" + "再慢慢说清楚事情的来由和分寸，桃子等等。", None),
        ("one two three four " * 20, "repetition"),
        (f"I write: {SOLUTION}", "leak"),
    ],
)
def test_each_rule_has_its_reason(thinking: str, reason: str | None) -> None:
    assert FILTERS.drop_reason(PAIR, trajectory(thinking)) == reason


def test_the_first_rule_that_drops_gives_the_reason() -> None:
    assert FILTERS.drop_reason(PAIR, trajectory("Wait, no. " * 9)) == "thinking_at_end"


def test_without_a_bound_leaks_are_measured_and_drop_nothing() -> None:
    copied = trajectory(SOLUTION)
    assert replace(FILTERS, max_leak=None).drop_reason(PAIR, copied) is None
    assert measures(PAIR, copied) == TrajectoryMeasures("p", leak=1.0, words=40.0)


def test_a_share_on_its_bound_is_kept() -> None:
    filters = replace(FILTERS, repetition_n=(1,), max_repetition=(0.5,), max_leak=None)
    assert filters.drop_reason(PAIR, trajectory("a a b c")) is None
    assert filters.drop_reason(PAIR, trajectory("a a a b")) == "repetition"


def test_original_thinking_has_no_leak() -> None:
    assert leak(CALM, PAIR) == 0
    assert leak("too short for a 13-gram", PAIR) == 0


def test_thinking_patterns_count_only_at_the_end() -> None:
    assert still_thinking("0123456789 It. Wait.", 0.3, Markers(("wait",)))
    assert not still_thinking("Wait. " + "." * 95, 0.1, Markers(("wait",)))
    assert not still_thinking("wait", 0.0, Markers(("wait",)))


@pytest.mark.parametrize(
    ("field", "value"),
    [("end_share", 1.1), ("max_repetition", (-0.1, 0.1)), ("max_leak", 2.0), ("repetition_n", (0, 5))],
)
def test_a_threshold_out_of_range_is_refused_with_its_field(field: str, value: float) -> None:
    assert_field_refuses(FILTERS, field, value)


def test_each_length_of_ngrams_wants_its_bound() -> None:
    with pytest.raises(InputError, match=r"filters\.max_repetition: want one share for each of the 2 lengths"):
        replace(FILTERS, max_repetition=(0.2,))


@pytest.mark.parametrize("size", [100, 200, 500, 1000, 2500])
def test_a_loop_of_any_period_that_fills_a_fifth_of_a_text_is_caught(size: int) -> None:
    """A text whose fifth is one passage of `period` words, at least twice; in English, and in Chinese characters."""
    for period in range(1, min(200, size // 10) + 1, 1 if size < 500 else 7):
        assert PAPER.repeats(" ".join(looping(size, period))), period
        assert PAPER.repeats("".join(chr(0x4E00 + int(word)) for word in looping(size, period))), period
    assert not PAPER.repeats(" ".join(map(str, range(size))))


def test_few_human_texts_are_taken_for_loops_or_for_unfinished_thinking(shared: Path) -> None:
    """Of all human texts of at least 100 words it is under 1 % (tests/benchmarks/filters.py, by genre); of an eighth of
    them it may be a little more by chance."""
    rows = [row for name in ("demo24", "scale_open") for row in read_rows(shared / f"pairs/{name}.jsonl", Solution)]
    texts = [row.answer for row in rows[::8] if len(words(row.answer)) >= 100]
    assert len(texts) > 500
    assert sum(PAPER.repeats(text) for text in texts) <= 0.015 * len(texts)
    unfinished = sum(still_thinking(text, PAPER.end_share, PAPER.end_markers) for text in texts)
    assert unfinished <= 0.015 * len(texts)
