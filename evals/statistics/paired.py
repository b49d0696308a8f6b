"""Paired comparison of two runs on the same items, with one seed each.

The error rates of these methods are measured by `python -m tests.benchmarks.statistics`; README.md has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from evals.statistics.power import ALPHA

if TYPE_CHECKING:
    from numpy import bool_
    from numpy.typing import NDArray

    from evals.statistics.bootstrap import Floats, Means

MIN_ITEMS = 3
"""Below this number of shared items there is no interval and no test."""

ITERATIONS = 30
"""Of a sequence that halves its error at least."""

Scores = Mapping[str, float | None]
Finding = Literal["different", "equivalent", "undecided", "exploratory"]


@dataclass(frozen=True, kw_only=True)
class Shrunk:
    """An effect on one part of a benchmark, estimated together with those on its other parts: see `shrink`."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean of arm minus baseline over the items that are scored in both, with its interval and tests.

    An item is a query. Several judgements of one query are averaged first, so the interval is clustered by query.
    Interval and tests are None below `MIN_ITEMS` items or where all differences are equal.
    """

    mean: float
    items: int
    standard_error: float | None = None
    """Of the mean."""
    low: float | None = None
    """Lower end of the 95 % interval: a studentised bootstrap for one seed."""
    high: float | None = None
    """Upper end of the 95 % interval."""
    p: float | None = None
    """Two-sided p-value under a zero-mean null: the smallest level at which the interval excludes zero."""
    fragile: bool = False
    """Whether one more item, answered with the worst score by the side that is ahead and as on average by the other,
    would take zero into the interval. So few items cannot exclude rare failures; False where the worst score is
    unknown."""
    p_holm: float | None = None
    """`p` corrected for the family of tests: all arms and all headline measures that are compared with one baseline."""
    minimum_detectable: float | None = None
    """The true difference that this number of items, with this spread, finds different with 80 % probability."""
    margin: float | None = None
    """The equivalence margin in the measure's unit; None where the measure's range is unknown."""
    p_equivalent: float | None = None
    """p-value of two one-sided tests against `margin`, as if one more item was answered with the worst score by the
    side for which that is worse; None without a margin."""
    p_equivalent_holm: float | None = None
    """`p_equivalent` corrected for the family of tests."""
    exploratory: bool = False
    """Whether the measure covers a part of the items of another one: no conclusion is drawn from it."""
    shrunk: Shrunk | None = None
    """The estimate of an exploratory difference; None where there are too few to estimate them together."""

    @property
    def finding(self) -> Finding | None:
        """What the tests support: a difference, equivalence within `margin`, or neither; None without a test. A large
        p-value is no evidence of equality: without a margin the finding is never `equivalent`."""
        if self.p is None:
            return None
        if self.exploratory:
            return "exploratory"
        if self.significant and not self.fragile:
            return "different"
        p_equivalent = self.p_equivalent if self.p_equivalent_holm is None else self.p_equivalent_holm
        return "equivalent" if p_equivalent is not None and p_equivalent < ALPHA else "undecided"

    @property
    def undone_by_one(self) -> bool:
        """Whether a small p-value is not called different because of `fragile` alone."""
        return self.finding == "undecided" and self.significant

    @property
    def significant(self) -> bool:
        """Whether the p-value, corrected where it belongs to a family, is below `ALPHA`."""
        p = self.p if self.p_holm is None else self.p_holm
        return p is not None and p < ALPHA


def paired_difference(
    arm: Scores, baseline: Scores, seed: int = 0, *, margin: float | None = None, worst: float | None = None
) -> Difference | None:
    """The difference over the items that both runs have scored; None if there are none. `seed` is that of the
    resampling; `margin` is the equivalence margin in the scores' unit (see `equivalence_margin`), and `worst` the worst
    possible score."""
    shared = sorted(item for item in arm if arm[item] is not None and baseline.get(item) is not None)
    if not shared:
        return None
    pairs = [(arm[item], baseline[item]) for item in shared]
    differences = [a - b for a, b in pairs]  # type: ignore[operator]  # None was left out above
    untested = Difference(mean=math.fsum(differences) / len(shared), items=len(shared), margin=margin)
    if len(shared) < MIN_ITEMS or len(set(differences)) == 1:
        return untested
    import numpy as np

    from evals.statistics.bootstrap import means

    sides, sample = np.asarray(pairs).T, np.asarray(differences)[None, :]
    if float(sample.std()) <= 1e-12 * float(np.abs(sample).max()):  # equal except for rounding errors
        return untested
    shifts = failure_shifts(sides[:1], sides[1:], worst)
    return _tested(untested, sample, means(sample, seed), shifts)


Shifts = tuple["Floats", "Floats"]


def failure_shifts(arms: Floats, baselines: Floats, worst: float | None) -> Shifts:
    """How far down and how far up one more item would move the mean differences of samples (rows of scores), if one
    side answered it with the worst score and the other as on average. Zero where `worst` is unknown.

    This adds one failure to those that were seen, as Laplace's rule of succession does. A sample without any failure
    says little about their rate: one in 33 is not seen in 16 % of samples of 60 items.
    """
    import numpy as np

    items = arms.shape[1]
    if worst is None:
        return np.zeros(len(arms)), np.zeros(len(arms))
    moves = (worst - arms.mean(axis=1)) / (items + 1), (baselines.mean(axis=1) - worst) / (items + 1)
    return np.minimum(0.0, np.minimum(*moves)), np.maximum(0.0, np.maximum(*moves))


def fragile(ends: tuple[Floats, Floats], shifts: Shifts) -> NDArray[bool_]:
    """Whether intervals would contain zero after one more item: see `Difference.fragile`."""
    return (ends[0] + shifts[0] <= 0) & (ends[1] + shifts[1] >= 0)


def p_equivalent(found: Means, margin: float, shifts: Shifts) -> Floats:
    """p-values of two one-sided tests (TOST): small if a mean lies within -margin and +margin, also after one more
    item that moves it by `shifts`."""
    import numpy as np

    return np.maximum(found.p_above(-margin - shifts[0]), found.p_below(margin - shifts[1]))


def minimum_detectable(samples: Floats, found: Means, shifts: Shifts) -> Floats:
    """The true differences, in the less favourable direction, that are found different with 80 % probability.

    Two things grow with a difference: the scores of the side that is ahead, and so what one more failure takes away;
    and the spread where many items are tied, because an effect then moves some of them by a whole step.
    """
    import numpy as np

    steps = np.where(samples == 0, np.inf, np.abs(samples)).min(axis=1)
    tied, variance = (samples == 0).mean(axis=1), found.standard_error**2
    least = np.zeros(len(samples))
    for multiple, shift in zip(found.detectable(), (-shifts[0], shifts[1]), strict=True):
        grown, effect = 1 + (shift > 0) / found.items, multiple * found.standard_error
        for _ in range(ITERATIONS):
            extra = tied * effect * np.maximum(0.0, steps - effect) / found.items
            effect = (multiple * np.sqrt(variance + extra) + shift) * grown
        least = np.maximum(least, effect)
    return least


def _tested(untested: Difference, sample: Floats, found: Means, shifts: Shifts) -> Difference:
    """A difference with its interval and tests, from one sample."""
    low, high = found.interval()
    margin = untested.margin
    return Difference(
        mean=untested.mean,
        items=untested.items,
        standard_error=float(found.standard_error[0]),
        low=float(low[0]),
        high=float(high[0]),
        p=float(found.p()[0]),
        fragile=bool(fragile((low, high), shifts)[0]),
        minimum_detectable=float(minimum_detectable(sample, found, shifts)[0]),
        margin=margin,
        p_equivalent=None if margin is None else float(p_equivalent(found, margin, shifts)[0]),
    )
