"""The studentised bootstrap of a mean: interval, p-value and one-sided tests from the same resamples.

All of it works on many samples at once, so that the simulations that measure its error rates run the code that a
comparison runs (`python -m tests.benchmarks.statistics`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from evals.statistics.power import ALPHA, POWER

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Floats = NDArray[float64]

RESAMPLES = 4999
"""Bootstrap samples: `ALPHA / 2` of one more is a whole number, so that no level falls between two of them."""
DIGITS = 9
"""Decimals of a t. Of grades many resamples have the very t of the sample: whether they count must not depend on the
last bits, which differ between processors and between a sample alone and among others."""
SAME = 1e-9
"""A resample whose standard deviation is a smaller share of the sample's repeats one value: it has no t."""


@dataclass(frozen=True, kw_only=True)
class Means:
    """The means of samples of equal size, one a row, and what resampling says of their errors.

    The quantiles of t are those of the bootstrap (Efron and Tibshirani 1993, chapter 12), or Student's where these are
    further from zero: the bootstrap's are too near where most values are equal, Student's where the sample is skewed.
    """

    mean: Floats
    standard_error: Floats
    moves: Floats
    """By how many of the sample's standard errors the mean of each resample is off."""
    errors: Floats
    """The standard error of each resample, as a multiple of the sample's."""
    ts: Floats
    """The t of each resample, ascending in each row; NaN, which comes last, where it repeats one value."""
    items: int

    def p_above(self, bound: Floats | float) -> Floats:
        """p-values of "the true mean is at most `bound`"."""
        t = self._t(bound)
        return self._p(t, (self.ts >= t[:, None]).sum(axis=1))

    def p_below(self, bound: Floats | float) -> Floats:
        """p-values of "the true mean is at least `bound`"."""
        t = self._t(bound)
        return self._p(-t, (self.ts <= t[:, None]).sum(axis=1))

    def p(self) -> Floats:
        """Two-sided p-values of "the true mean is zero": the smallest level at which the interval excludes zero."""
        import numpy as np

        return np.minimum(1.0, 2 * np.minimum(self.p_above(0.0), self.p_below(0.0)))

    def critical(self) -> tuple[Floats, Floats]:
        """How many standard errors the interval reaches below and above the mean."""
        import numpy as np
        from scipy.special import stdtrit

        valid = self._valid()
        beyond = np.ceil(ALPHA / 2 * (valid + 1) - 1).astype(int)  # resamples that may lie beyond an end, and one more
        rows, student = np.arange(len(self.mean)), float(stdtrit(self.items - 1, 1 - ALPHA / 2))
        lower = self.ts[rows, np.maximum(valid - beyond, 0)]
        upper = -self.ts[rows, np.maximum(beyond - 1, 0)]
        rounding = 0.5 * 10**-DIGITS  # a t that equals an end is not beyond it
        return np.fmax(lower, student) + rounding, np.fmax(upper, student) + rounding

    def interval(self) -> tuple[Floats, Floats]:
        """The ends of the 95 % intervals."""
        below, above = self.critical()
        return self.mean - below * self.standard_error, self.mean + above * self.standard_error

    def detectable(self) -> tuple[Floats, Floats]:
        """The true differences, as multiples of the standard error, that are found with 80 % probability: positive and
        negative ones, from the share of resamples that would find them. Where values are skewed, the mean and its error
        go together, and one direction needs more than the other."""
        import numpy as np

        below, above = (critical[:, None] * self.errors for critical in self.critical())
        return np.quantile(below - self.moves, POWER, axis=1), np.quantile(above + self.moves, POWER, axis=1)

    def _t(self, bound: Floats | float) -> Floats:
        return ((self.mean - bound) / self.standard_error).round(DIGITS)

    def _valid(self) -> Floats:
        import numpy as np

        return (~np.isnan(self.ts)).sum(axis=1)

    def _p(self, t: Floats, beyond: Floats) -> Floats:
        """The larger of the bootstrap's and Student's one-sided p-value."""
        import numpy as np
        from scipy.special import stdtr

        return np.maximum((beyond + 1) / (self._valid() + 1), stdtr(self.items - 1, -t))


def means(samples: Floats, seed: int = 0) -> Means:
    """The means of samples, one a row, each with at least two different values; `seed` is that of the resampling."""
    import numpy as np

    items = samples.shape[1]
    mean, deviation = samples.mean(axis=1), samples.std(axis=1, ddof=1)
    z = (samples - mean[:, None]) / deviation[:, None]
    counts = resampled(items, seed)
    first, second = z @ counts, (z * z) @ counts
    variance = (second - first * first / items) / (items - 1)
    moves, errors = first / np.sqrt(items), np.sqrt(np.maximum(0.0, variance))
    with np.errstate(divide="ignore", invalid="ignore"):
        ts = np.where(variance > SAME, moves / errors, np.nan)
    ts.round(DIGITS, out=ts).sort(axis=1)
    return Means(mean=mean, standard_error=deviation / np.sqrt(items), moves=moves, errors=errors, ts=ts, items=items)


@lru_cache(maxsize=4)
def resampled(items: int, seed: int) -> Floats:
    """How often each item (rows) is in each resample (columns)."""
    import numpy as np

    drawn = np.random.default_rng(seed).integers(0, items, (RESAMPLES, items))
    drawn += np.arange(RESAMPLES)[:, None] * items
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * items)
    return counts.reshape(RESAMPLES, items).T.astype(np.float64)
