"""Measured error rates of the statistics, in simulations with known true differences.

Rates are counted with fixed seeds; the tolerance is three binomial standard errors. The full measurement is
`python -m tests.benchmarks.statistics`.
"""

import numpy as np
import pytest
from scipy import stats

from evals.statistics.bootstrap import means
from tests.benchmarks import statistics as simulation

TRIES = 800


def tolerance(rate: float, tries: int = TRIES) -> float:
    return 3 * (rate * (1 - rate) / tries) ** 0.5


@pytest.mark.parametrize(("kind", "items"), [("normal", 14), ("skewed", 14), ("grades", 40), ("ceiling", 60)])
def test_interval_and_p_of_one_seed_have_their_nominal_rates(kind: str, items: int) -> None:
    """Student's interval covers the mean of 14 skewed differences in 91 %, and would fail here."""
    rates = simulation.one_seed(kind, items, TRIES)
    assert rates["coverage"] == pytest.approx(0.95, abs=0.01 + tolerance(0.05))
    assert rates["rejected"] == pytest.approx(1 - rates["coverage"])
    assert rates["different"] <= rates["rejected"]
    assert rates["equivalent"] <= 0.05
    assert rates["power"] >= 0.8 - tolerance(0.8, TRIES // 2)


@pytest.mark.parametrize("items", [12, 60])
def test_rare_failures_that_so_few_items_cannot_exclude_are_not_called_different_or_equivalent(items: int) -> None:
    """The arm is better on most items and fails on 3 %, with equal means: p alone is below 0.05 in 7 to 10 %."""
    rates = simulation.one_seed("collapse 3 %", items, TRIES)
    assert rates["rejected"] > 0.05
    assert rates["different"] <= 0.05
    assert rates["equivalent"] <= 0.05


@pytest.mark.parametrize("kind", simulation.KINDS)
def test_p_is_below_a_level_exactly_where_the_interval_excludes_zero(kind: str) -> None:
    random = np.random.default_rng(3)
    for items in (5, 14, 60):
        arm, base = simulation.varied(simulation.KINDS[kind](random, (300, items), 0.3))
        found = means(arm - base)
        low, high = found.interval()
        assert ((found.p() < 0.05) == ((low > 0) | (high < 0))).all()


@pytest.mark.parametrize("kind", simulation.KINDS)
def test_a_sample_alone_is_compared_as_among_others(kind: str) -> None:
    """What the simulations measure on many samples at once is what a single comparison computes."""
    arm, base = simulation.varied(simulation.KINDS[kind](np.random.default_rng(5), (40, 30), 0.2))
    together = means(arm - base)
    alone = [means((arm - base)[n : n + 1]) for n in range(len(arm))]
    assert [one.p()[0] for one in alone] == together.p().tolist()
    ends = np.asarray([np.concatenate(one.interval()) for one in alone])
    assert ends == pytest.approx(np.stack(together.interval(), axis=1), abs=1e-12)


@pytest.mark.parametrize("kind", ["normal", "skewed", "ties"])
def test_the_interval_is_on_neither_side_narrower_than_students(kind: str) -> None:
    random = np.random.default_rng(3)
    for items in (3, 5, 14, 60):
        arm, base = simulation.varied(simulation.KINDS[kind](random, (20, items), 0.0))
        low, high = means(arm - base).interval()
        student = stats.ttest_1samp(arm - base, 0, axis=1).confidence_interval()
        assert (low <= student.low + 1e-9).all()
        assert (high >= student.high - 1e-9).all()


@pytest.mark.parametrize(("seeds", "items", "between"), [(2, 500, 0.2), (3, 500, 0.2), (2, 60, 0.0)])
def test_few_seeds_cover_new_seeds_where_an_interval_over_items_does_not(
    seeds: int, items: int, between: float
) -> None:
    rates = simulation.several_seeds(seeds, items, between, TRIES)
    assert rates["coverage"] >= 0.95 - tolerance(0.95)
    assert rates["equivalent"] <= 0.05 + tolerance(0.05)
    if between:
        assert rates["coverage"] <= 0.965 + tolerance(0.95)
        assert rates["items_alone"] < 0.75


def test_a_family_of_arms_and_measures_finds_a_difference_where_none_is_in_five_percent() -> None:
    rates = simulation.families(2, 3, 400)
    assert rates["corrected"] <= 0.05 + tolerance(0.05, 400)
    assert rates["uncorrected"] > 0.1


def test_shrinkage_keeps_coverage_and_finds_less_where_nothing_is() -> None:
    none, some = simulation.parts(0.0, 300), simulation.parts(0.3, 300)
    assert min(none["shrunk_coverage"], some["shrunk_coverage"]) >= 0.93
    assert none["any_shrunk"] < none["any_unshrunk"] / 2


@pytest.mark.parametrize("kind", ["normal", "skewed", "collapse 0.5 %"])
def test_peeking_after_every_fifty_items_raises_false_alarms_in_one_percent(kind: str) -> None:
    rates = simulation.peeking(kind, 1000)
    assert rates["alarms"] <= 0.01 + tolerance(0.01, 1000)
    assert rates["ordinary"] > 0.15
    assert rates["items"] < 500
