"""Holm's correction for a family of arms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.statistics.multiplicity import correct_family, explore, holm, shrink, shrunk
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
