"""Stopping early, in known cases; the rate of false alarms is in test_error_rates."""

import numpy as np

from evals.statistics.sequential import confidence_sequence, first_decision


def test_a_clear_difference_is_decided_before_all_items_are_judged() -> None:
    differences = np.random.default_rng(0).normal(0.6, 1, 1000)
    look = first_decision(list(differences))
    assert look is not None
    assert (look.items % 50, look.items < 300) == (0, True)
    assert 0 < look.low < 0.6 < look.high


def test_without_a_difference_or_before_the_first_look_nothing_is_decided() -> None:
    assert first_decision([1.0, -1.0] * 200) is None
    assert first_decision([5.0, 6.0]) is None


def test_the_interval_becomes_narrower_with_each_look() -> None:
    low, high = confidence_sequence(np.tile([1.0, -1.0], (1, 300)), every=100)
    assert (np.diff(high - low) < 0).all()
    assert low.shape == (1, 6)
