"""Agreement of two lists of scores, and the slope of scores on length, in their limiting cases."""

import math

import numpy as np
import pytest
from scipy import stats

from evals.statistics.agreement import Agreement, Interval, LengthSlope, agreement, length_slope, rank_agreement


def test_without_a_shared_item_there_is_no_agreement() -> None:
    assert agreement({}, {}) == Agreement(
        items=0, alpha=None, exact_agreement=None, mean_difference=None, noise_sd=None
    )


def test_alpha_is_undefined_where_all_scores_are_equal() -> None:
    scores = {"a": 5.0, "b": 5.0}
    assert agreement(scores, scores) == Agreement(
        items=2, alpha=None, exact_agreement=1.0, mean_difference=0.0, noise_sd=0.0
    )


def test_the_fewer_scores_are_repeated_the_wider_is_the_bound_of_their_noise() -> None:
    once = Agreement(items=4, alpha=None, exact_agreement=None, mean_difference=0.0, noise_sd=1.0)
    assert once.noise_bound == pytest.approx(2.776, abs=1e-3), "Student's t with four degrees of freedom"
    assert agreement({}, {}).noise_bound is None


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


def numbered(values: np.ndarray) -> dict[str, float]:
    return {f"i{n}": float(value) for n, value in enumerate(values)}


def test_ranks_do_not_ask_for_the_same_scale() -> None:
    first = np.arange(1.0, 9.0)
    found = rank_agreement(numbered(first), numbered(first**3))
    assert (found.spearman, found.kendall) == (Interval(1.0, 1.0, 1.0), Interval(1.0, 1.0, 1.0))
    shifted = rank_agreement(numbered(first), numbered(first + 3))
    assert shifted.icc == Interval(1.0, 1.0, 1.0), "one judge may be milder"


def test_icc_is_that_of_its_definition() -> None:
    """By hand: sums 2, 5, 5, 9, 10 have variance 10.7, differences 0, 1, -1, 1, 0 have variance 0.7."""
    first, second = numbered(np.array([1, 2, 3, 4, 5])), numbered(np.array([1, 3, 2, 5, 5]))
    icc = rank_agreement(first, second).icc
    assert icc is not None
    assert icc.value == pytest.approx((10.7 - 0.7) / (10.7 + 0.7))
    assert icc.low < icc.value < icc.high < 1


def test_too_few_or_equal_grades_have_no_agreement_of_ranks() -> None:
    few, equal = numbered(np.arange(4.0)), numbered(np.ones(9))
    assert rank_agreement(few, few).spearman is None
    found = rank_agreement(equal, numbered(np.arange(9.0)))
    assert (found.items, found.spearman, found.kendall, found.icc) == (9, None, None, None)


def test_the_intervals_hold_the_truth() -> None:
    """For normal grades, whose true values are known; the bound is 93 %, less two standard errors of the simulation."""
    rho, tries = 0.6, 400
    truth = {"spearman": 6 / math.pi * math.asin(rho / 2), "kendall": 2 / math.pi * math.asin(rho), "icc": rho}
    pairs = np.random.default_rng(5).multivariate_normal([0, 0], [[1, rho], [rho, 1]], (tries, 40))
    found = [rank_agreement(numbered(x), numbered(y)) for x, y in pairs.transpose(0, 2, 1)]
    for name, value in truth.items():
        intervals = [getattr(one, name) for one in found]
        share = np.mean([one.low <= value <= one.high for one in intervals])
        assert share >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / tries), (name, share)


def test_agreement_is_that_of_the_shared_items_second_minus_first() -> None:
    """By hand: the differences of three items are 0, 2 and -1."""
    found = agreement({"a": 1, "b": 2, "c": 4, "x": 9}, {"a": 1, "b": 4, "c": 3, "y": 0})
    assert (found.items, found.exact_agreement, found.mean_difference) == (
        3,
        pytest.approx(1 / 3),
        pytest.approx(1 / 3),
    )
    assert found.noise_sd == pytest.approx(math.sqrt((0 + 4 + 1) / 3 / 2))
    assert agreement({"a": 1}, {"a": 2}).alpha is None, "one item has no expected disagreement"
    assert agreement({"a": 1, "b": 2}, {"a": 1, "b": 2}).alpha == 1


def test_the_intervals_of_ranks_are_the_published_ones() -> None:
    """Standard errors of the Fisher transform by Bonett and Wright 2000; ends of ICC(C,1) from the F distribution by
    McGraw and Wong 1996."""
    x, y = [1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 4, 3, 5, 8, 6, 7]
    first, second = numbered(np.array(x)), numbered(np.array(y))
    found = rank_agreement({**first, "of one alone": 9.0}, {**second, "of the other": 1.0})
    assert found.items == 8
    assert found.spearman is not None
    assert found.kendall is not None
    assert found.icc is not None
    rho, tau = stats.spearmanr(x, y).statistic, stats.kendalltau(x, y).statistic
    for interval, value, error in (
        (found.spearman, rho, math.sqrt((1 + rho**2 / 2) / 5)),
        (found.kendall, tau, math.sqrt(0.437 / 4)),
    ):
        ends = np.tanh(np.arctanh(value) + np.array([-1, 1]) * stats.norm.ppf(0.975) * error)
        assert (interval.value, interval.low, interval.high) == pytest.approx((value, *ends))
    ratio, bound = np.var(np.add(x, y)) / np.var(np.subtract(x, y)), stats.f.ppf(0.975, 7, 7)
    ends = [(f - 1) / (f + 1) for f in (ratio, ratio / bound, ratio * bound)]
    assert (found.icc.value, found.icc.low, found.icc.high) == pytest.approx(ends)


def test_opposite_ranks_agree_perfectly_the_other_way_round() -> None:
    five = np.arange(5.0)
    found = rank_agreement(numbered(five), numbered(-five))
    assert (found.spearman, found.kendall) == (Interval(-1, -1, -1), Interval(-1, -1, -1))
    assert rank_agreement(numbered(five), numbered(np.ones(5))).kendall is None


def test_the_slope_is_what_a_doubling_of_the_words_adds_to_the_score() -> None:
    answers = [("word " * length, 1 + 2 * math.log2(length)) for length in (1, 2, 4, 8)]
    assert length_slope(answers) == LengthSlope(slope_per_doubling=None, p=None, answers=4)
    found = length_slope([*answers, ("", 1.0)])
    assert (found.slope_per_doubling, found.answers) == (pytest.approx(2), 5), "an empty answer counts as one word"
    assert found.p is not None
    assert found.p < 1e-6
