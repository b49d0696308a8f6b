"""Holm's correction for a family of arms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.statistics.multiplicity import Z, correct_family, explore, holm, shrink, shrunk
from evals.statistics.paired import Difference


def test_holms_correction_agrees_with_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_correction_rejects_what_his_steps_reject(p_values: list[float]) -> None:
    """Holm (1979): the smallest p-value is tested at α/m, the next at α/(m-1), and so on until one is not rejected."""
    corrected = holm(p_values)
    for alpha in (0.01, 0.05, 0.3):
        rejected = set[int]()
        for step, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if p_values[index] * (len(p_values) - step) > alpha:
                break
            rejected.add(index)
        assert {index for index, p in enumerate(corrected) if p <= alpha} == rejected


def test_both_p_values_are_corrected_and_untested_differences_do_not_count() -> None:
    family = [
        Difference(mean=0.1, items=20, p=0.02, p_equivalent=0.03),
        Difference(mean=0.1, items=20),
        Difference(mean=0.1, items=20, p=0.04),
    ]
    corrected = correct_family(family)
    assert [d.p_holm for d in corrected] == [pytest.approx(0.04), None, pytest.approx(0.04)]
    assert [d.p_equivalent_holm for d in corrected] == [pytest.approx(0.03), None, None]


def test_effects_that_differ_by_no_more_than_their_errors_are_drawn_to_their_mean() -> None:
    shrunk = shrink([0.1, 0.2, 0.3, 0.2], [0.5] * 4)
    assert all(estimate is not None and abs(estimate.mean - 0.2) < 0.05 for estimate in shrunk)
    apart = shrink([0.0, 10.0, 20.0, 30.0], [0.5] * 4)
    assert [estimate.mean for estimate in apart if estimate] == pytest.approx([0.0, 10.0, 20.0, 30.0], abs=0.1)


def test_parts_are_exploratory_and_two_are_too_few_to_be_shrunk() -> None:
    parts = [Difference(mean=mean, items=20, low=mean - 1, high=mean + 1, p=0.01) for mean in (1.5, 2.0, 2.5)]
    explored = explore([*parts, Difference(mean=1.0, items=2)])
    assert [part.finding for part in explored] == ["exploratory"] * 3 + [None]
    assert [part.shrunk is not None for part in explored] == [True, True, True, False]
    assert explored[0].shrunk is not None
    assert 1.5 < explored[0].shrunk.mean < 2.0
    assert all(part.shrunk is None for part in explore(parts[:2]))


def test_effects_are_shrunk_alone_as_among_others() -> None:
    random = np.random.default_rng(2)
    effects, errors = random.normal(0, 1, (20, 7)), random.uniform(0.1, 1, (20, 7))
    centres, reaches = shrunk(effects, errors)
    alone = [shrink(row, error) for row, error in zip(effects.tolist(), errors.tolist(), strict=True)]
    assert centres == pytest.approx(np.asarray([[one.mean for one in row if one] for row in alone]), abs=1e-12)
    ends = np.asarray([[one.high - one.mean for one in row if one] for row in alone])
    assert reaches == pytest.approx(ends, abs=1e-12)


def test_the_coaching_of_eight_schools_is_estimated_as_in_the_textbook() -> None:
    """Gelman et al., Bayesian Data Analysis, 5.5: the means of the simulations, and half their 95 % ranges."""
    effects, errors = [28, 8, -3, 7, -1, 1, 18, 12], [15, 10, 16, 11, 9, 11, 10, 18]
    found = [one for one in shrink(effects, errors) if one]
    assert [one.mean for one in found] == pytest.approx([11.3, 7.9, 6.1, 7.6, 5.1, 6.2, 10.6, 8.4], abs=0.5)
    deviations = [(one.high - one.low) / (2 * 1.96) for one in found]
    assert deviations == pytest.approx([8.2, 6.4, 7.8, 6.5, 6.4, 6.7, 6.8, 7.9], abs=0.6)


def test_each_p_value_is_corrected_within_its_own_family() -> None:
    family = [
        Difference(mean=0.1, items=20, p=0.04),
        Difference(mean=0.1, items=20),
        Difference(mean=0.1, items=20, p=0.01, p_equivalent=0.03),
        Difference(mean=0.1, items=20, p=0.5, p_equivalent=0.02),
    ]
    corrected = correct_family(family)
    assert [d.p_holm for d in corrected] == [pytest.approx(0.08), None, pytest.approx(0.03), pytest.approx(0.5)]
    assert [d.p_equivalent_holm for d in corrected] == [None, None, pytest.approx(0.04), pytest.approx(0.04)]


def test_a_part_is_shrunk_with_the_error_that_its_interval_has() -> None:
    effects, errors = [0.0, 1.0, 3.0], [0.5, 1.0, 0.2]
    parts = [
        Difference(mean=mean, items=9, low=mean - Z * error, high=mean + Z * error)
        for mean, error in zip(effects, errors, strict=True)
    ]
    explored = explore([parts[0], Difference(mean=5.0, items=2), *parts[1:]])
    assert explored[1].shrunk is None
    found = [part.shrunk for part in explored if part.shrunk]
    wanted = [one for one in shrink(effects, errors) if one]
    for one, other in zip(found, wanted, strict=True):
        assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high))
        assert other.mean - other.low == pytest.approx(other.high - other.mean)


def test_shrinkage_is_the_posterior_of_its_model() -> None:
    """By sums over a grid of common means and standard deviations; with six effects the prior's upper end is far
    out."""
    y, errors = np.array([0.0, 0.4, 1.0, 1.2, 2.5, 3.0]), np.array([0.5, 0.3, 0.6, 0.4, 0.5, 0.8])
    largest = 4 * y.std(ddof=1)
    spread, common = np.meshgrid(np.linspace(0.0, largest, 500), np.linspace(-8, 11, 500), indexing="ij")
    total = errors**2 + spread[..., None] ** 2
    logs = (-0.5 * np.log(total) - 0.5 * (y - common[..., None]) ** 2 / total).sum(axis=2)
    weight = (np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum())[..., None]
    own = spread[..., None] ** 2 / total
    centres = own * y + (1 - own) * common[..., None]
    mean = (weight * centres).sum(axis=(0, 1))
    variance = (weight * (own * errors**2 + (centres - mean) ** 2)).sum(axis=(0, 1))
    found, reach = shrunk(y[None, :], errors[None, :])
    assert found[0] == pytest.approx(mean, abs=2e-3)
    assert reach[0] == pytest.approx(Z * np.sqrt(variance), rel=2e-3)
