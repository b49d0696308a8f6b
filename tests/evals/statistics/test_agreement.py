"""Agreement of two lists of scores, and the slope of scores on length, in their limiting cases."""

import pytest

from evals.statistics.agreement import Agreement, LengthSlope, agreement, length_slope


def test_without_a_shared_item_there_is_no_agreement() -> None:
    assert agreement({}, {}) == Agreement(
        items=0, alpha=None, exact_agreement=None, mean_difference=None, noise_sd=None
    )


def test_alpha_is_undefined_where_all_scores_are_equal() -> None:
    scores = {"a": 5.0, "b": 5.0}
    assert agreement(scores, scores) == Agreement(
        items=2, alpha=None, exact_agreement=1.0, mean_difference=0.0, noise_sd=0.0
    )


def test_opposite_scores_have_a_negative_alpha() -> None:
    opposite = agreement({"a": 1.0, "b": 9.0}, {"a": 9.0, "b": 1.0})
    assert opposite.alpha is not None
    assert opposite.alpha < 0


def test_answers_of_one_length_have_no_slope() -> None:
    assert length_slope([("a b", 3.0)] * 9) == LengthSlope(slope_per_doubling=None, p=None, answers=9)


def test_alpha_is_that_of_krippendorffs_definition() -> None:
    """By hand: the squared differences within items average 1.25, all differences between scores 2 * 2.125."""
    first, second = {"a": 1, "b": 2, "c": 4, "d": 5}, {"a": 1, "b": 3, "c": 4, "d": 3}
    assert agreement(first, second).alpha == pytest.approx(1 - 1.25 / 4.25)
