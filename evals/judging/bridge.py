"""A bridge between two judges: the line that puts scores of the old one on the scale of the new one.

The same answers are graded by both. Both judges are noisy, so the line is that of Deming: a least-squares line would be
too flat. The ratio of the two noise variances comes from repeated verdicts, or is taken as one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evals.statistics.agreement import Agreement, Interval, agreement
from reer.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FEWEST_ITEMS = 30
"""With fewer shared items the interval holds the truth too rarely (tests/benchmarks/bridge.py)."""


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """`new = intercept + slope * old` for one benchmark, and how well the two judges agree.

    `correlation` is that of the two judges' scores by item; where it is low, the line places means and nothing else.
    `left_out` are the intercept and slope without each item, from which every interval is computed (the jackknife;
    Linnet 1993, Evaluation of regression procedures for methods comparison studies)."""

    items: int
    slope: Interval
    intercept: Interval
    correlation: float
    agreement: Agreement
    left_out: tuple[tuple[float, float], ...]

    def placed(self, published: float, standard_error: float = 0.0) -> Interval:
        """A published mean of the old judge on the scale of the new one. `standard_error` is that of the published mean
        as an estimate over items; 0 where it is over the very items of the bridge."""
        value = self.intercept.value + self.slope.value * published
        error = math.hypot(
            jackknife_error([a + b * published for a, b in self.left_out]), self.slope.value * standard_error
        )
        return _interval(value, error, self.items)


def bridge(old: Mapping[str, float], new: Mapping[str, float], noise_ratio: float = 1.0) -> Bridge:
    """The bridge of two judges' scores by item. `noise_ratio` is the variance of the new judge's noise over that of the
    old one's. Raises InputError for fewer than `FEWEST_ITEMS` shared items, and for judges without a common spread."""
    import numpy as np

    shared = sorted(old.keys() & new.keys())
    if len(shared) < FEWEST_ITEMS:
        raise InputError(
            f"bridge: want at least {FEWEST_ITEMS} answers that both judges scored, got {len(shared)}; judge the same "
            "answers with both"
        )
    x, y = (np.array([scores[item] for item in shared]) for scores in (old, new))
    (intercept,), (slope,) = deming(x[None], y[None], noise_ratio)
    intercepts, slopes = without_each(x, y, noise_ratio)
    if not np.isfinite([slope, *slopes]).all():
        raise InputError("bridge: the scores of the two judges do not vary together, so no line joins them")
    n = len(shared)
    return Bridge(
        items=n,
        slope=_interval(float(slope), jackknife_error(slopes.tolist()), n),
        intercept=_interval(float(intercept), jackknife_error(intercepts.tolist()), n),
        correlation=float(np.corrcoef(x, y)[0, 1]),
        agreement=agreement(old, new),
        left_out=tuple(zip(intercepts.tolist(), slopes.tolist(), strict=True)),
    )


def deming(x: Array, y: Array, noise_ratio: float) -> tuple[Array, Array]:
    """Intercepts and slopes of Deming's lines through the rows of two arrays (Deming 1943, Statistical Adjustment of
    Data). NaN where a row has no covariance."""
    mean_x, mean_y = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
    dx, dy = x - mean_x, y - mean_y
    slopes = _slopes((dx * dx).mean(axis=1), (dy * dy).mean(axis=1), (dx * dy).mean(axis=1), noise_ratio)
    return mean_y[:, 0] - slopes * mean_x[:, 0], slopes


def without_each(x: Array, y: Array, noise_ratio: float) -> tuple[Array, Array]:
    """Intercepts and slopes of the lines without each of the items in turn."""
    n, dx, dy = len(x), x - x.mean(), y - y.mean()
    mean_x, mean_y = -dx / (n - 1), -dy / (n - 1)  # of the others, from the mean of all
    xx, yy, xy = (
        ((a * b).sum() - a * b) / (n - 1) - mean_a * mean_b
        for a, b, mean_a, mean_b in ((dx, dx, mean_x, mean_x), (dy, dy, mean_y, mean_y), (dx, dy, mean_x, mean_y))
    )
    slopes = _slopes(xx, yy, xy, noise_ratio)
    return y.mean() + mean_y - slopes * (x.mean() + mean_x), slopes


def _slopes(xx: Array, yy: Array, xy: Array, noise_ratio: float) -> Array:
    import numpy as np

    difference = yy - noise_ratio * xx
    with np.errstate(divide="ignore", invalid="ignore"):
        return (difference + np.sqrt(difference**2 + 4 * noise_ratio * xy**2)) / (2 * xy)


def jackknife_error(values: Sequence[float]) -> float:
    """The standard error of an estimate, from the same estimate without each item."""
    mean = math.fsum(values) / len(values)
    return math.sqrt((len(values) - 1) / len(values) * math.fsum((value - mean) ** 2 for value in values))


def noise_ratio(old_sd: float | None, new_sd: float | None) -> float:
    """The ratio of the variances of two judges' noise, each the standard deviation of one repeated verdict; 1 where
    either is unknown or zero."""
    return (new_sd / old_sd) ** 2 if old_sd and new_sd else 1.0


def _interval(value: float, error: float, items: int) -> Interval:
    """The interval of an estimate by Student's t; the line has two parameters."""
    from scipy.special import stdtrit

    half = float(stdtrit(items - 2, 0.975)) * error
    return Interval(value, value - half, value + half)
