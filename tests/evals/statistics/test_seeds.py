"""Paired comparison over several seeds: known cases, gaps, and the two-way error of the mean."""

import math

import numpy as np
import pytest
from scipy import stats

from evals.statistics.paired import paired_difference
from evals.statistics.power import minimum_detectable_effect
from evals.statistics.seeds import MeanError, difference_over_seeds, two_way_mean_error
from tests.fakes.scores import BASELINE, shifted

ARMS = {seed: shifted(1.0 + seed, 2.0 + seed, 3.0 + seed) for seed in range(3)}
BASELINES = dict.fromkeys(range(3), BASELINE)


def test_the_difference_over_seeds_is_that_of_the_items_means() -> None:
    over_seeds = difference_over_seeds(ARMS, BASELINES, margin=0.1)
    assert over_seeds is not None
    assert (over_seeds.mean, over_seeds.items, over_seeds.seeds) == (pytest.approx(3.0), 12, 3)
    assert over_seeds.seed_sd == pytest.approx(1.0)
    item_means = {item: 3.0 + (n % 3 - 1) + (BASELINE[item] or 0.0) for n, item in enumerate(BASELINE)}
    over_items = paired_difference(item_means, BASELINE)
    assert over_items is not None
    assert None not in (over_seeds.low, over_seeds.high, over_items.low, over_items.high)
    # Seeds differ, so the interval over seeds is wider.
    assert over_seeds.high - over_seeds.low > over_items.high - over_items.low  # type: ignore[operator]
    assert over_seeds.p_items is not None
    assert over_seeds.p is not None
    assert over_seeds.p_items < 0.01 < over_seeds.p
    assert over_seeds.finding == "different"


def test_only_seeds_and_items_that_both_arms_have_are_compared() -> None:
    with_gap: dict[str, float | None] = {**ARMS[1], "i0": None}
    difference = difference_over_seeds({**ARMS, 1: with_gap, 7: BASELINE}, BASELINES)
    assert difference is not None
    assert (difference.seeds, difference.items) == (3, 11)
    assert difference_over_seeds({0: ARMS[0]}, BASELINES) is None
    assert difference_over_seeds({0: ARMS[0], 1: {"other": 1.0}}, BASELINES) is None
    assert difference_over_seeds({}, {}) is None


def test_a_difference_outside_the_margin_is_not_equivalent() -> None:
    """The mean difference is 3, and between 2 and 4 for the single seeds."""
    ps = []
    for margin in (2.5, 3.0, 3.5, 100.0):
        difference = difference_over_seeds(ARMS, BASELINES, margin=margin)
        assert difference is not None
        assert difference.p_equivalent is not None
        ps.append(difference.p_equivalent)
    assert 1 > ps[0] > 0.6 > ps[1] > 0.4 > ps[2] > 0.05 > ps[3]
    assert ps[1] == pytest.approx(0.5)
    assert ps[0] == pytest.approx(1 - ps[2]), "as far outside one margin as inside the other"


@pytest.mark.parametrize("by", [0.0, 1.0])
def test_without_variation_there_is_no_interval(by: float) -> None:
    difference = difference_over_seeds({seed: shifted(by) for seed in range(2)}, BASELINES)
    assert difference is not None
    assert (difference.mean, difference.low, difference.p, difference.finding) == (by, None, None, None)


def test_the_residual_is_the_lower_bound_of_the_variance_between_seeds() -> None:
    """Both rows of the grid have the same mean, by chance. Without the bound the interval would be too narrow for new
    seeds."""
    grid = np.array([[1.0, -1.0, 2.0, -2.0], [-1.0, 1.0, -2.0, 2.0]])
    error = two_way_mean_error(grid)
    residual = float((grid**2).sum()) / 3
    assert (error.by_seed, error.by_item) == (0, 0)
    t = float(stats.t.ppf(0.975, grid.shape[1] - 1))
    assert error.half_width() == pytest.approx(t * (residual / grid.size) ** 0.5)


def test_each_part_of_the_error_has_its_own_degrees_of_freedom() -> None:
    seeds_alone = MeanError(seeds=2, items=100, by_seed=1.0, by_item=0.0, residual=0.0)
    items_alone = MeanError(seeds=2, items=100, by_seed=0.0, by_item=1.0, residual=0.0)
    assert seeds_alone.half_width() == pytest.approx(stats.t.ppf(0.975, 1))
    assert items_alone.half_width() == pytest.approx(stats.t.ppf(0.975, 99))
    assert items_alone.minimum_detectable() == pytest.approx(minimum_detectable_effect(100) * 10), "in standard errors"


@pytest.mark.parametrize("alpha", [1e-6, 0.01, 0.05, 0.5])
def test_p_is_the_level_at_which_the_interval_reaches_zero(alpha: float) -> None:
    error = MeanError(seeds=3, items=40, by_seed=0.2, by_item=0.1, residual=0.05)
    assert error.p(error.half_width(alpha)) == pytest.approx(alpha, rel=1e-3)
    assert error.p(0.0) == 1.0


def test_interval_and_tests_are_those_of_the_error_of_the_mean() -> None:
    grid = np.array([[1.0, 2, 3, 4], [2, 3, 5, 4], [1, 4, 3, 6]])
    arm = {seed: {f"i{n}": float(value) for n, value in enumerate(row)} for seed, row in enumerate(grid)}
    baseline = {seed: dict.fromkeys(row, 0.0) for seed, row in arm.items()}
    error, found = two_way_mean_error(grid), difference_over_seeds(arm, baseline, margin=5.0)
    assert found is not None
    mean, reach = grid.mean(), error.half_width()
    assert (found.mean, found.low, found.high) == pytest.approx((mean, mean - reach, mean + reach))
    part = max(error.by_seed, error.residual) + error.by_item
    assert (found.standard_error, found.p) == pytest.approx((math.sqrt(part), error.p(mean)))
    assert found.minimum_detectable == pytest.approx(error.minimum_detectable())
    assert found.p_equivalent == pytest.approx(error.p(5.0 - mean) / 2)
    assert (found.margin, found.fragile, found.seed_sd) == (5.0, False, pytest.approx(grid.mean(axis=1).std(ddof=1)))
    means = {f"i{n}": value for n, value in enumerate(grid.mean(axis=0))}
    drawn = [paired_difference(means, baseline[0]), paired_difference(means, baseline[0], seed=3)]
    again = [found, difference_over_seeds(arm, baseline, 3)]
    assert [one and one.p_items for one in again] == [pytest.approx(one and one.p) for one in drawn]


def test_the_error_of_the_mean_is_that_of_the_analysis_of_variance_by_hand() -> None:
    """Mean squares: seeds 3 * 2, items 2 * 12, residual 4 / 2; each is divided by the six cells."""
    error = two_way_mean_error(np.array([[1.0, 2, 6], [3, 2, 10]]))
    assert (error.seeds, error.items) == (2, 3)
    assert (error.by_seed, error.by_item, error.residual) == pytest.approx((6 / 6, (24 - 2) / 6, 2 / 6))


def test_one_more_failure_can_undo_a_difference_over_seeds() -> None:
    arms = {seed: shifted(2.0 + 0.1 * seed, 2.2, 1.9) for seed in range(4)}
    baselines = dict.fromkeys(range(4), BASELINE)
    without, above = (
        difference_over_seeds(arms, baselines),
        difference_over_seeds(arms, baselines, worst=-40.0, margin=9.0),
    )
    assert without is not None
    assert above is not None
    assert (without.fragile, above.fragile) == (False, True)
    assert without.minimum_detectable is not None
    assert above.minimum_detectable is not None
    scores = [score or 0.0 for score in BASELINE.values()]
    highest = max(sum(scores) / 12, sum(scores) / 12 + above.mean)
    assert above.minimum_detectable - without.minimum_detectable == pytest.approx((highest + 40) / 13)
    assert above.p_equivalent is not None
    within = difference_over_seeds(arms, baselines, margin=9.0)
    assert within is not None
    assert within.p_equivalent is not None
    assert above.p_equivalent > within.p_equivalent


def test_p_is_a_probability_at_any_distance() -> None:
    error = MeanError(seeds=3, items=40, by_seed=0.2, by_item=0.1, residual=0.05)
    assert error.p(1e9) == 1e-12
    assert error.p(-1.0) == 1.0
