"""Controls: each takes one property of the thinking away and keeps rows, answers and the amount of thinking."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.hygiene import loops
from reer.curation.controls import FillerThinking, MismatchedThinking, ShuffledThinking, ThinkingControl, true_pairs
from reer.curation.transforms import Curated
from reer.errors import InputError
from reer.text import join_segments, words
from reer.types import Language, Pair
from tests.fakes.plans import compose

MISMATCHED = MismatchedThinking("mismatched", from_source=False)
SHUFFLED = ShuffledThinking("shuffled", from_source=False)
relaxed = settings(deadline=None, max_examples=100)


def tokens(text: str) -> int:
    """Tokens of two characters."""
    return (len(text) + 1) // 2


def row(number: int, size: int = 5, category: str = "poetry", language: Language = "en", query: str = "") -> Curated:
    pair = Pair(
        id=f"p{number}",
        query=query or f"q {number}",
        solution="y",
        category=category,
        language=language,
        source="t",
    )
    return Curated(pair, (f"Thought {number}. " + "word " * size, f"It ends {number}."))


def texts(rows: tuple[Curated, ...] | list[Curated]) -> list[str]:
    return [join_segments(row.segments) for row in rows]


shapes = st.lists(
    st.tuples(st.integers(1, 40), st.sampled_from(["poetry", "law"]), st.sampled_from(["en", "zh"])),
    min_size=2,
    max_size=24,
)


@relaxed
@given(shapes, st.integers(0, 3))
def test_no_row_keeps_its_own_thinking_and_all_thinkings_are_used_once(
    sizes: list[tuple[int, str, Language]], seed: int
) -> None:
    rows = [row(n, *shape) for n, shape in enumerate(sizes)]
    out = replace(MISMATCHED, seed=seed).applied(rows, tokens)
    assert true_pairs(rows, out.rows) == 0
    assert Counter(texts(out.rows)) == Counter(texts(rows)), "so the amount of thinking is equal to the token"
    assert [r.pair for r in out.rows] == [r.pair for r in rows]
    assert out == replace(MISMATCHED, seed=seed).applied(rows, tokens)


def test_thinking_comes_from_the_same_language_category_and_length_bin() -> None:
    rows = [row(n, 3 if n % 2 else 30, "law" if n < 8 else "poetry", "en" if n % 4 < 2 else "zh") for n in range(16)]
    out = replace(MISMATCHED, bins=2).applied(rows, tokens)
    assert out.exceptions == {}
    own = dict(zip(texts(rows), rows, strict=True))
    for got in out.rows:
        donor = own[join_segments(got.segments)]
        assert (donor.pair.category, donor.pair.language) == (got.pair.category, got.pair.language)
        assert len(words(join_segments(donor.segments))) == len(words(texts(rows)[int(got.pair.id[1:])]))


def test_a_group_of_one_joins_the_nearest_and_is_counted() -> None:
    rows = [*(row(n) for n in range(4)), row(4, category="law")]
    out = replace(MISMATCHED, bins=1).applied(rows, tokens)
    assert out.exceptions == {"other_category": 2}, "the single row and the one that gets its thinking"
    lone_length = [row(0, 3), row(1, 3), row(2, 3), row(3, 90)]
    assert replace(MISMATCHED, bins=4).applied(lone_length, tokens).exceptions.keys() == {"other_length_bin"}


def test_several_texts_of_each_query_are_no_obstacle() -> None:
    rows = [row(n, query=f"tale {n // 3}") for n in range(12)]
    out = replace(MISMATCHED, bins=1).applied(rows, tokens)
    assert (true_pairs(rows, out.rows), out.exceptions) == (0, {})


def test_another_row_of_the_same_query_does_not_count_as_another_query() -> None:
    rows = [row(n, query=f"tale {n // 2}") for n in range(6)]
    assert true_pairs(rows, MISMATCHED.applied(rows, tokens).rows) == 0
    with pytest.raises(InputError, match="2 rows leave no thinking of another query"):
        MISMATCHED.applied(rows[:2], tokens)


@relaxed
@given(st.lists(st.lists(st.sampled_from(["Alpha.", "Beta.", "Gamma."]), min_size=1, max_size=5), max_size=9))
def test_segments_are_permuted_and_never_into_their_own_order(thinkings: list[list[str]]) -> None:
    rows = [replace(row(n), segments=tuple(segments)) for n, segments in enumerate(thinkings)]
    out = SHUFFLED.applied(rows, tokens)
    for before, after in zip(rows, out.rows, strict=True):
        assert sorted(after.segments) == sorted(before.segments)
        assert (after.segments != before.segments) == (len(set(before.segments)) > 1)
    assert out.unchangeable == sum(len(set(segments)) < 2 for segments in thinkings)


def test_the_sentences_of_a_thinking_of_one_segment_are_permuted() -> None:
    rows = [replace(row(0), segments=("The boat stays.\nIt rains!  And then?",)), replace(row(1), segments=("One.",))]
    out = SHUFFLED.applied(rows, tokens)
    assert (out.exceptions, out.unchangeable) == ({"by_sentence": 1}, 1)
    assert out.rows[0].segments != rows[0].segments
    (before,), (after,) = rows[0].segments, out.rows[0].segments
    assert sorted(before) == sorted(after), "line breaks and spaces are kept, so the tokens are, too"
    assert after.count("\n") == 1 == after.count("  ")


@pytest.fixture(scope="module")
def filler() -> ThinkingControl:
    control = compose("scale=smoke", "thinking=filler").thinking
    assert isinstance(control, FillerThinking)
    return control


def test_filler_has_as_many_tokens_in_each_segment_and_nothing_of_the_thinking(filler: ThinkingControl) -> None:
    rows = [row(n, 20 * n, language="en" if n % 2 else "zh") for n in range(8)]
    out = filler.applied(rows, tokens)
    for before, after in zip(rows, out.rows, strict=True):
        sizes = [[tokens(segment.strip()) for segment in side.segments] for side in (before, after)]
        assert len(sizes[0]) == len(sizes[1])
        assert abs(sum(sizes[0]) - sum(sizes[1])) <= 6, "a word"
        assert not set(words(join_segments(after.segments))) & {"thought", "word", "ends"}
        assert join_segments(after.segments).isascii() == (before.pair.language == "en")


def test_long_filler_is_no_loop_and_asks_for_no_reflection(filler: ThinkingControl) -> None:
    exp = compose("scale=smoke")
    for language in ("en", "zh"):
        (out,) = filler.applied([row(0, 1500, language=language)], tokens).rows
        text = join_segments(out.segments)
        assert not loops(text)
        assert exp.reflection.markers.count(text) == 0
