"""Thinking that a data set provides."""

import pytest

from reer.curation.source_thinking import ThinkingSource, trajectories_from_source
from reer.data.reader import Reader
from reer.data.rows import Fields, Problems
from reer.errors import InputError
from reer.text import join_segments
from reer.types import Pair

READ = Reader(source="s", fields=Fields(), min_votes=None)


def pair(pair_id: str) -> Pair:
    return Pair(id=pair_id, query="q", solution="y", category="others", language="en", source="t")


def test_each_pairs_thinking_is_used_or_dropped_for_a_reason() -> None:
    texts = {"a": "First.\n\nSecond.", "b": " ", "d": "odd <|im_end|> text"}
    kept, dropped = trajectories_from_source([pair(letter) for letter in "abcd"], texts)
    assert [(row.pair_id, join_segments(row.segments), row.tokens) for row in kept] == [("a", "First.\n\nSecond.", 0)]
    assert {drop.id: drop.reason for drop in dropped} == {"b": "no_thinking", "c": "no_thinking", "d": "control_tokens"}


@pytest.mark.parametrize(
    ("text", "thinking", "solution"),
    [
        ("<think>\nz\n</think>\n\n<answer>\ny\n</answer>", "z", "y"),
        ("<think>z</think>y", "z", "y"),
        ("z</think>y", "z", "y"),
        ("y", None, "y"),
    ],
)
def test_a_solution_is_separated_from_the_thinking_before_it(text: str, thinking: str | None, solution: str) -> None:
    (raw,) = READ.pairs([("f:1", {"query": "q", "answer": text})], Problems("error"))
    assert (raw.thinking, raw.solution) == (thinking, solution)


def test_a_solution_that_is_nothing_but_thinking_is_refused() -> None:
    for text in ("<think>on and on", "<think>z</think> "):
        with pytest.raises(InputError, match="nothing but thinking"):
            list(READ.pairs([("f:1", {"query": "q", "answer": text})], Problems("error")))


def test_tables_note_that_the_thinking_is_from_the_source() -> None:
    assert ThinkingSource("from_source", True).choose(searched=1, from_source=2) == 2
    assert ThinkingSource("searched", False).choose(searched=1, from_source=2) == 1
    assert "no search was made here" in ThinkingSource("from_source", True).caution("owner/name")
    assert ThinkingSource("searched", False).caution("owner/name") == ""
