"""Thinking that came with a data set."""

import pytest

from reer.curation.source_thinking import ThinkingSource, take_over
from reer.data.rows import Fields, Problems, raw_pair
from reer.errors import InputError
from reer.text import join_segments
from reer.types import Pair


def pair(id: str) -> Pair:
    return Pair(id, "q", "y", "others", "en", "t")


def test_each_pair_is_adopted_or_left_out_for_a_reason() -> None:
    came = {"a": "First.\n\nSecond.", "b": " ", "d": "odd <|im_end|> text"}
    kept, dropped = take_over([pair(id) for id in "abcd"], came)
    assert [(row.pair_id, join_segments(row.segments), row.tokens) for row in kept] == [("a", "First.\n\nSecond.", 0)]
    assert {drop.id: drop.reason for drop in dropped} == {"b": "no_thinking", "c": "no_thinking", "d": "control_tokens"}


@pytest.mark.parametrize(
    ("text", "thinking", "solution"),
    [
        ("<think>\nz\n</think>\n\n<answer>\ny\n</answer>", "z", "y"),
        ("<think>z</think>y", "z", "y"),
        ("z</think>y", "z", "y"),
        ("<think>a</think>b</think>y", "a</think>b", "y"),
        ("y", None, "y"),
    ],
)
def test_a_solution_is_parted_from_the_thinking_before_it(text: str, thinking: str | None, solution: str) -> None:
    raw = raw_pair({"query": "q", "answer": text}, Fields(category="", id=""), "s", "f:1", Problems("error"))
    assert raw is not None
    assert (raw.thinking, raw.solution) == (thinking, solution)


def test_a_solution_that_is_nothing_but_thinking_is_none() -> None:
    for text in ("<think>on and on", "<think>z</think> "):
        with pytest.raises(InputError, match="nothing but thinking"):
            raw_pair({"query": "q", "answer": text}, Fields(category="", id=""), "s", "f:1", Problems("error"))


def test_what_was_adopted_is_said() -> None:
    assert ThinkingSource("adopted", True).choose(searched=1, from_source=2) == 2
    assert ThinkingSource("searched", False).choose(searched=1, from_source=2) == 1
    assert "no search was made here" in ThinkingSource("adopted", True).caution("owner/name")
    assert ThinkingSource("searched", False).caution("owner/name") == ""
