"""Stopping early, in known cases; the rate of false alarms is in test_error_rates."""

import math

import numpy as np
import pytest

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


def test_the_interval_is_that_of_the_published_formula() -> None:
    """Of Waudby-Smith et al. 2024, for one sample, tuned to be narrowest after 200 items."""
    sample, alpha = np.random.default_rng(2).normal(0.3, 2, 35), 0.01
    low, high = confidence_sequence(sample[None, :], every=10)
    assert low.shape == (1, 3)
    log = -2 * math.log(alpha)
    rho2 = (log + math.log(log) + 1) / 200
    for look, n in enumerate((10, 20, 30)):
        scaled = n * rho2 + 1
        reach = sample[:n].std(ddof=1) * math.sqrt(2 * scaled / (n * n * rho2) * math.log(math.sqrt(scaled) / alpha))
        mean = sample[:n].mean()
        assert (low[0, look], high[0, look]) == pytest.approx((mean - reach, mean + reach))


def test_a_loss_is_decided_as_a_gain_is_at_the_same_look() -> None:
    differences = np.random.default_rng(0).normal(0.6, 1, 400)
    gain, loss = first_decision(list(differences), every=20), first_decision(list(-differences), every=20)
    assert gain is not None
    assert loss is not None
    assert (loss.items, loss.low, loss.high) == (gain.items, -gain.high, -gain.low)
    low, high = confidence_sequence(differences[None, :], every=20)
    at = gain.items // 20 - 1
    assert (gain.low, gain.high) == (low[0, at], high[0, at])
    assert (low[0, :at] <= 0).all()
