"""LongBench-Write's length score."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.benchmarks.length import count_units, length_score

relaxed = settings(deadline=None, max_examples=100)
lengths = st.integers(1, 5000)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("", 0),
        ("one two  three\nfour", 4),
        ("今天天气好", 5),
        ("今天 very 好", 4),
        ("3 words: 12, 2026!", 1),
        ("don't well-made", 4),
        ("abc123 x_y", 0),
        ("café naïve", 0),
        ("カタカナ", 0),
        ("。，！", 0),
    ],
)
def test_ideographs_and_plain_ascii_words_are_units(text: str, units: int) -> None:
    assert count_units(text) == units


@pytest.mark.parametrize(
    ("required", "written", "score"),
    [
        (100, 100, 100.0),
        (100, 400, 0.0),
        (100, 500, 0.0),
        (100, 250, 50.0),
        (300, 100, 0.0),
        (300, 99, 0.0),
        (300, 150, 50.0),
        (100, 0, 0.0),
        (1, 1, 100.0),
    ],
)
def test_the_score_is_zero_from_four_times_and_below_a_third(required: int, written: int, score: float) -> None:
    assert length_score(required, "word " * written) == pytest.approx(score)


@relaxed
@given(lengths, st.integers(0, 5000))
def test_the_score_is_between_0_and_100(required: int, written: int) -> None:
    assert 0 <= length_score(required, "w " * written) <= 100


@relaxed
@given(lengths, st.integers(1, 2000), st.integers(1, 500))
def test_a_larger_distance_never_scores_higher(required: int, distance: int, more: int) -> None:
    for near, far in (
        (required + distance, required + distance + more),
        (required - distance, required - distance - more),
    ):
        if far > 0:
            assert length_score(required, "w " * far) <= length_score(required, "w " * near)
