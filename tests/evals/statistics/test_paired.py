"""Paired comparison on shared items: known cases, gaps, and no test where the data support none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.statistics.paired import Difference, failure_shifts, paired_difference
from tests.fakes.scores import BASELINE, shifted


def test_a_clear_gain_has_an_interval_above_zero_and_a_small_p() -> None:
    difference = paired_difference(shifted(1.0, 2.0, 3.0), BASELINE)
    assert difference is not None
    assert difference.mean == pytest.approx(2.0)
    assert difference.low is not None
    assert difference.high is not None
    assert difference.p is not None
    assert 1.0 < difference.low < 2.0 < difference.high < 3.0
    assert difference.standard_error == pytest.approx(np.std([1.0, 2.0, 3.0] * 4, ddof=1) / 12**0.5)
    assert difference.p < 0.01


def test_noise_around_zero_is_not_significant() -> None:
    difference = paired_difference(shifted(1.0, -1.0), BASELINE)
    assert difference is not None
    assert difference.p is not None
    assert difference.mean == 0
    assert difference.low < 0 < difference.high  # type: ignore[operator]
    assert difference.p > 0.5


def test_swapping_arm_and_baseline_changes_the_sign() -> None:
    arm = shifted(0.5, -0.25, 1.0, 0.0)
    forward, backward = paired_difference(arm, BASELINE), paired_difference(BASELINE, arm)
    assert forward is not None
    assert backward is not None
    assert forward.mean == -backward.mean
    assert forward.p == pytest.approx(backward.p, abs=0.02)  # type: ignore[arg-type]


def test_the_order_of_items_does_not_change_the_result() -> None:
    arm = shifted(1.0, -0.5, 0.25)
    reordered = dict(reversed(arm.items()))
    assert paired_difference(arm, BASELINE) == paired_difference(reordered, BASELINE)


def test_only_items_scored_in_both_are_compared() -> None:
    arm: dict[str, float | None] = {"a": 3.0, "b": None, "c": 5.0, "only arm": 9.0}
    baseline: dict[str, float | None] = {"a": 1.0, "b": 1.0, "c": None, "only baseline": 0.0}
    assert paired_difference(arm, baseline) == Difference(mean=2.0, items=1)


@pytest.mark.parametrize(
    ("arm", "baseline"), [({}, {}), ({"a": 1.0}, {"b": 1.0}), ({"a": None}, {"a": 1.0}), ({"a": 1.0}, {"a": None})]
)
def test_without_a_shared_item_there_is_no_difference(
    arm: dict[str, float | None], baseline: dict[str, float | None]
) -> None:
    assert paired_difference(arm, baseline) is None


@pytest.mark.parametrize("items", [1, 2])
def test_below_three_items_there_is_no_interval(items: int) -> None:
    arm = {f"i{n}": 1.0 + n for n in range(items)}
    expected = Difference(mean=1.0 + (items - 1) / 2, items=items)
    assert paired_difference(arm, dict.fromkeys(arm, 0.0)) == expected


@pytest.mark.parametrize(("worst", "fragile"), [(None, False), (1.0, False), (-40.0, True), (40.0, True)])
def test_a_difference_that_one_more_failure_would_undo_is_fragile(worst: float | None, fragile: bool) -> None:
    """The arm's scores are higher by 2 on 12 items with scores of 0 to 4. A failure of the arm with a score of -40
    takes 3 from the difference, and so does one of the baseline with 40 where low scores are better."""
    difference = paired_difference(shifted(1.0, 2.0, 3.0), BASELINE, worst=worst)
    assert difference is not None
    assert difference.fragile is fragile
    assert difference.undone_by_one is fragile
    assert difference.significant


@pytest.mark.parametrize("by", [0.0, 1.0])
def test_without_variation_there_is_no_interval(by: float) -> None:
    assert paired_difference(shifted(by), BASELINE) == Difference(mean=by, items=12)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(-100, 100), min_size=3, max_size=8))
def test_the_interval_contains_the_mean_and_p_is_a_probability(differences: list[float]) -> None:
    arm = {f"i{n}": value for n, value in enumerate(differences)}
    difference = paired_difference(arm, dict.fromkeys(arm, 0.0))
    assert difference is not None
    assert difference.items == len(differences)
    if difference.low is not None and difference.high is not None and difference.p is not None:
        assert difference.low - 1e-6 <= difference.mean <= difference.high + 1e-6
        assert 0 < difference.p <= 1


@pytest.mark.parametrize(
    ("difference", "finding"),
    [
        (Difference(mean=0.1, items=20, p=0.01), "different"),
        (Difference(mean=0.1, items=20, p=0.01, p_holm=0.06), "undecided"),
        (Difference(mean=0.1, items=20, p=0.01, fragile=True), "undecided"),
        (Difference(mean=0.1, items=20, p=0.01, exploratory=True), "exploratory"),
        (Difference(mean=0.1, items=20, p=0.9), "undecided"),
        (Difference(mean=0.1, items=20, p=0.9, margin=0.2, p_equivalent=0.06), "undecided"),
        (Difference(mean=0.1, items=20, p=0.9, margin=0.2, p_equivalent=0.04), "equivalent"),
        (Difference(mean=0.1, items=20, p=0.9, margin=0.2, p_equivalent=0.04, p_equivalent_holm=0.08), "undecided"),
        (Difference(mean=0.1, items=20, p=0.01, margin=0.2, p_equivalent=0.01), "different"),
        (Difference(mean=0.1, items=20), None),
    ],
)
def test_without_significance_the_finding_is_undecided_unless_equivalence_is_shown(
    difference: Difference, finding: str | None
) -> None:
    assert difference.finding == finding


def test_one_more_failure_moves_the_mean_by_its_share() -> None:
    """Nine items with means of 7 and 4: a tenth one that the arm fails counts 1 - 4, one that the baseline fails
    7 - 1."""
    arms, bases = np.full((1, 9), 7.0), np.full((1, 9), 4.0)
    down, up = failure_shifts(arms, bases, 1.0)
    assert (down[0], up[0]) == pytest.approx((-0.6, 0.3))
    assert [shift[0] for shift in failure_shifts(arms, bases, None)] == [0, 0]
    low_is_good = failure_shifts(arms, bases, 10.0)
    assert [shift[0] for shift in low_is_good] == pytest.approx([-0.6, 0.3])


def test_the_margin_and_the_seed_of_the_resampling_are_those_that_are_given() -> None:
    arm = shifted(0.4, 0.1, -0.3, 0.9)
    found = [paired_difference(arm, BASELINE, seed, margin=0.5) for seed in (0, 0, 1)]
    assert found[0] is not None
    assert found[0] == found[1] == paired_difference(arm, BASELINE, margin=0.5)
    assert found[0] != found[2]
    assert found[0].margin == 0.5
    untested = paired_difference(shifted(1.0), BASELINE, margin=0.5)
    assert untested == Difference(mean=1.0, items=12, margin=0.5)


def test_differences_that_are_equal_but_for_rounding_have_no_interval() -> None:
    arm = {f"i{n}": 0.1 * n + 0.3 for n in range(12)}
    difference = paired_difference(arm, {f"i{n}": 0.1 * n for n in range(12)})
    assert difference == Difference(mean=pytest.approx(0.3), items=12)


def test_a_failure_moves_each_mean_by_its_own_distance_from_the_worst_score() -> None:
    arms, baselines = np.array([[2.0, 4.0], [1.0, 1.0]]), np.array([[5.0, 9.0], [1.0, 1.0]])
    down, up = failure_shifts(arms, baselines, 1.0)
    assert down == pytest.approx([-2 / 3, 0])
    assert up == pytest.approx([6 / 3, 0])
    assert [shift.tolist() for shift in failure_shifts(arms, baselines, None)] == [[0, 0], [0, 0]]
