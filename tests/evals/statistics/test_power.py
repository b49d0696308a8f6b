"""The minimum detectable effect is what a t test detects with 80 % power."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import optimize, stats

from evals.statistics.bootstrap import means
from evals.statistics.paired import failure_shifts, minimum_detectable, paired_difference
from evals.statistics.power import minimum_detectable_effect
from tests.fakes.scores import BASELINE, shifted


def test_the_minimum_detectable_effect_is_detected_by_a_t_test_with_80_percent_power() -> None:
    assert minimum_detectable_effect(100) == pytest.approx(0.2829, abs=1e-4)
    effects = [minimum_detectable_effect(items) for items in range(2, 130)]
    assert all(effect_of_fewer > effect > 0 for effect_of_fewer, effect in pairwise(effects))
    for items, effect in enumerate(effects, start=2):
        power = stats.nct.sf(stats.t.ppf(0.975, items - 1), items - 1, effect * items**0.5)
        assert power == pytest.approx(0.8, abs=1e-3), items


def test_fewer_than_two_items_detect_nothing() -> None:
    assert minimum_detectable_effect(1) == math.inf


def test_the_minimum_detectable_difference_is_in_the_unit_of_the_scores() -> None:
    difference = paired_difference(shifted(1.0, 2.0, 3.0), BASELINE)
    assert difference is not None
    assert difference.minimum_detectable is not None
    deviation = float(np.std([1.0, 2.0, 3.0] * 4, ddof=1))
    assert 0.9 < difference.minimum_detectable / (deviation * minimum_detectable_effect(12)) < 1.2


def test_tied_items_and_a_known_worst_score_raise_the_minimum_detectable_difference() -> None:
    """An effect of less than one step moves some of the tied items by a whole one; and one failure has to leave it."""
    tied = [1.0, -1.0, 1.0, -1.0] + [0.0] * 36
    arm = {f"i{n}": 5.0 + by for n, by in enumerate(tied)}
    base = dict.fromkeys(arm, 5.0)
    loose, strict = paired_difference(arm, base), paired_difference(arm, base, worst=1.0)
    assert loose is not None
    assert strict is not None
    assert loose.minimum_detectable is not None
    assert strict.minimum_detectable is not None
    assert loose.minimum_detectable > 1.3 * float(np.std(tied, ddof=1)) * minimum_detectable_effect(40)
    assert strict.minimum_detectable > loose.minimum_detectable + 4 / 41


@pytest.mark.parametrize("worst", [None, 1.0, 12.0])
@pytest.mark.parametrize(
    ("differences", "tied", "step"),
    [([0.5, -1.0, 2.0, 0.5] + [0.0] * 16, 0.8, 0.5), ([0.3, 0.7, -0.4, 1.1] * 5, 0.0, 0.3)],
    ids=["tied", "untied"],
)
def test_the_minimum_detectable_difference_solves_its_equation(
    differences: list[float], tied: float, step: float, worst: float | None
) -> None:
    """Of 20 items, an effect moves so many tied ones by a whole step that the variance of the mean grows by
    share * effect * (step - effect) / 20; and it has to leave room for one more failure, which it makes more costly."""
    sample, baselines = np.array([differences]), np.tile([3.0, 5.0], (1, 10))
    found, (down, up) = means(sample), failure_shifts(baselines + sample, baselines, worst)

    def lacking(effect: float, multiple: float, shift: float) -> float:
        extra = tied * effect * max(0.0, step - effect) / 20
        spread = math.sqrt(float(found.standard_error[0]) ** 2 + extra)
        return (multiple * spread + shift) * (1 + 1 / 20 if shift else 1) - effect

    sides = zip(found.detectable(), (-float(down[0]), float(up[0])), strict=True)
    effects = [optimize.brentq(lacking, 0, 50, args=(float(multiple[0]), shift)) for multiple, shift in sides]
    assert minimum_detectable(sample, found, (down, up))[0] == pytest.approx(max(effects))


def test_the_minimum_detectable_difference_of_a_sample_is_its_own_among_others() -> None:
    samples = np.array([[0.5, -1.0, 2.0, 0.5] + [0.0] * 16, [3.0, -2.0] * 2 + [0.0] * 16])
    none = np.zeros(2), np.zeros(2)
    together = minimum_detectable(samples, means(samples), none)
    alone = [minimum_detectable(row, means(row), (none[0][:1], none[1][:1]))[0] for row in samples[:, None]]
    assert together == pytest.approx(alone)
