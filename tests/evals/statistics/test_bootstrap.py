"""The studentised bootstrap against its definition, one resample at a time."""

import warnings

import numpy as np
import pytest
from scipy import stats

from evals.statistics.bootstrap import RESAMPLES, means, resampled

SKEWED = [0.1, 0.2, 0.3, 0.9, 2.5, 0.4, -0.3, 0.0]
TIED = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, -1.0, 0.0]
SAMPLES = pytest.mark.parametrize("sample", [SKEWED, [-x for x in SKEWED], TIED], ids=["right", "left", "tied"])


def by_definition(sample: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """How many standard errors the mean of each resample is off, and its standard error as a multiple of the
    sample's."""
    values = np.asarray(sample)
    drawn = values[np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))]
    error = values.std(ddof=1) / len(values) ** 0.5
    return (drawn.mean(axis=1) - values.mean()) / error, drawn.std(axis=1, ddof=1) / values.std(ddof=1)


@SAMPLES
def test_the_errors_of_resamples_are_those_of_drawing_with_replacement(sample: list[float]) -> None:
    found = means(np.asarray([sample]))
    moves, errors = by_definition(sample)
    assert found.moves[0] == pytest.approx(moves)
    assert found.errors[0] == pytest.approx(errors, abs=1e-7)
    assert (found.mean[0], found.standard_error[0]) == pytest.approx((np.mean(sample), stats.sem(sample)))
    valid = errors > 1e-6
    assert found.ts[0][: valid.sum()] == pytest.approx(np.sort(moves[valid] / errors[valid]), abs=1e-6)
    assert np.isnan(found.ts[0][valid.sum() :]).all(), "a resample of one value has no t"


@SAMPLES
def test_p_is_the_share_of_resamples_with_so_large_a_t_and_no_smaller_than_students(sample: list[float]) -> None:
    found = means(np.asarray([sample]))
    moves, errors = by_definition(sample)
    ts = (moves[errors > 1e-6] / errors[errors > 1e-6]).round(9)
    for bound in (-0.4, 0.0, 0.2):
        t = round((np.mean(sample) - bound) / stats.sem(sample), 9)
        above = max((np.sum(ts >= t) + 1) / (len(ts) + 1), stats.t.sf(t, len(sample) - 1))
        below = max((np.sum(ts <= t) + 1) / (len(ts) + 1), stats.t.cdf(t, len(sample) - 1))
        assert (found.p_above(bound)[0], found.p_below(bound)[0]) == pytest.approx((above, below))
        if bound == 0:
            assert found.p()[0] == pytest.approx(min(1, 2 * min(above, below)))


@SAMPLES
def test_the_interval_ends_where_a_one_sided_p_falls_below_half_the_level(sample: list[float]) -> None:
    found = means(np.asarray([sample]))
    (low,), (high,) = found.interval()
    assert found.p_above(low - 1e-6)[0] < 0.025 <= found.p_above(low + 1e-6)[0]
    assert found.p_below(high + 1e-6)[0] < 0.025 <= found.p_below(high - 1e-6)[0]


def test_each_end_is_at_least_as_far_as_students() -> None:
    found = means(np.asarray([SKEWED, TIED]))
    student = float(stats.t.ppf(0.975, 7))
    below, above = found.critical()
    assert (below >= student).all()
    assert (above >= student).all()
    assert above[0] > student + 1, "the mean of a sample that is skewed to the right may be far too small"
    assert (below[0], below[1], above[1]) == pytest.approx((student, student, student))


def test_four_of_five_resamples_would_find_a_detectable_difference() -> None:
    samples = np.asarray([SKEWED, [-x for x in SKEWED], TIED])
    found = means(samples)
    for sign, (effects, reaches) in zip((1, -1), zip(found.detectable(), found.critical(), strict=True), strict=True):
        for effect, reach, sample in zip(effects, reaches, samples.tolist(), strict=True):
            moves, errors = by_definition(sample)
            assert np.mean(effect + 1e-6 + sign * moves > reach * errors) >= 0.799
            assert np.mean(effect - 1e-3 + sign * moves > reach * errors) <= 0.801


def test_every_resample_draws_as_many_items_as_there_are() -> None:
    counts = resampled(7, 3)
    assert counts.shape == (7, RESAMPLES)
    assert (counts.sum(axis=0) == 7).all()
    assert counts.mean(axis=1) == pytest.approx(np.ones(7), abs=0.06)
    assert not np.array_equal(counts, resampled(7, 4))


def test_resamples_without_a_t_make_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = means(np.asarray([[-1.0, 0.0, 1.0]]))
    assert np.isnan(found.ts).any(), "resamples of one value alone, which may be the mean"
