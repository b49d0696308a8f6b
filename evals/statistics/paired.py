"""Paired comparison of two runs on the same items: the only comparison this project prints.

Which methods, and how well they keep what they say, is measured by `python -m tests.benchmarks.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

RESAMPLES = 2000
ALPHA, POWER = 0.05, 0.8
MARGIN_SHARE = 0.025
LEAST_ITEMS = 3

Scores = Mapping[str, float | None]
Finding = Literal["different", "equivalent", "undecided"]


@dataclass(frozen=True)
class Difference:
    """Mean of arm minus baseline over `items` scored in both, with a 95 % studentised bootstrap interval (None under
    `LEAST_ITEMS` or without variation) and a two-sided sign-flip permutation p. An item is a query: what was judged
    several times about it is one number, so the interval is clustered by query. `detectable` is the true difference
    that so many items with this spread would show in four of five tries. `p_equivalent` is that of two one-sided t
    tests against `margin`, in the measure's unit; both are None where the measure's range is unknown. `p_holm` and
    `p_equivalent_holm` are the two corrected for the family of arms they were read among."""

    mean: float
    low: float | None
    high: float | None
    p: float | None
    items: int
    p_holm: float | None = None
    detectable: float | None = None
    margin: float | None = None
    p_equivalent: float | None = None
    p_equivalent_holm: float | None = None

    @property
    def finding(self) -> Finding | None:
        """What may be said: that there is a difference, that there is none larger than `margin`, or neither. A p that
        is not small is no evidence of equality: without a margin, equality is never said. None without a test."""
        if self.p is None:
            return None
        if (self.p if self.p_holm is None else self.p_holm) < ALPHA:
            return "different"
        within = self.p_equivalent if self.p_equivalent_holm is None else self.p_equivalent_holm
        return "equivalent" if within is not None and within < ALPHA else "undecided"


def margin_of(worst: float | None, best: float | None) -> float | None:
    """The largest difference that still counts as none: 2.5 % of the measure's range, 0.225 on grades of 1 to 10, 2.5
    points of 100. None where the range is unknown.

    A convention, set from two sides. It is less than most of what REER's ablations are reported to cost: 13 of 18
    differences in the paper's table are larger, the other five it reads as effects without a test. And it is about the
    least that can be shown: two one-sided tests want a margin of some three standard errors, which is 1.7 points on
    HelloBench's 200 open questions and 3 on its 123 heuristic tasks (spreads of the published judgements).
    """
    return None if worst is None or best is None else MARGIN_SHARE * abs(best - worst)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p of each hypothesis such that under `ALPHA` the family errs at most that often."""
    from statsmodels.stats.multitest import multipletests

    if not ps:
        return []
    found: Any = multipletests(ps, ALPHA, method="holm")
    return [float(p) for p in found[1]]


def corrected(family: Sequence[Difference]) -> list[Difference]:
    """The differences of a family of arms, both their p's corrected for it; one without a test is not counted."""
    tested = [at for at, d in enumerate(family) if d.p is not None]
    bounded = [at for at, d in enumerate(family) if d.p_equivalent is not None]
    found = list(family)
    for at, p in zip(tested, holm([family[at].p or 0.0 for at in tested]), strict=True):
        found[at] = replace(found[at], p_holm=p)
    for at, p in zip(bounded, holm([family[at].p_equivalent or 0.0 for at in bounded]), strict=True):
        found[at] = replace(found[at], p_equivalent_holm=p)
    return found


def detectable(deviation: float, items: float) -> float:
    """The least true mean difference that a two-sided paired t test at `ALPHA` finds with `POWER`, for differences of
    this standard deviation; infinite for fewer than two items, which show nothing."""
    return math.inf if items < 2 else detectable_effect(items) * deviation


@cache
def detectable_effect(items: float) -> float:
    """`detectable` in standard deviations. Only the tail on the effect's side is reckoned with: the other's share is
    nothing at this power, and with both statsmodels 0.15 finds no root, or a negative one, for 50 of the numbers of
    items under 1,200."""
    from statsmodels.stats.power import TTestPower

    return float(TTestPower().solve_power(nobs=items, alpha=ALPHA / 2, power=POWER, alternative="larger"))


def paired_difference(
    arm: Scores, baseline: Scores, seed: int = 0, *, margin: float | None = None
) -> Difference | None:
    """The difference on the items both have scored; None if there are none. `margin` is the largest difference that
    counts as none, in the scores' unit (see `margin_of`)."""
    shared = sorted(id for id in arm if arm[id] is not None and baseline.get(id) is not None)
    differences = [arm[id] - baseline[id] for id in shared]  # type: ignore[operator]  # None was left out above
    if not differences:
        return None
    mean, items = math.fsum(differences) / len(differences), len(differences)
    if items < LEAST_ITEMS or len(set(differences)) == 1:
        return Difference(mean, None, None, None, items, margin=margin)
    import numpy as np

    sample = np.asarray(differences)
    deviation = float(sample.std(ddof=1))
    if deviation <= 1e-12 * float(np.abs(sample).max()):  # all alike but for rounding
        return Difference(mean, None, None, None, items, margin=margin)
    low, high = studentised_interval(sample, seed)
    shown = detectable(deviation, items)
    within = equivalence_p(sample, margin) if margin is not None else None
    return Difference(
        mean, low, high, sign_flip_p(sample, seed), items, detectable=shown, margin=margin, p_equivalent=within
    )


def sign_flip_p(sample: Any, seed: int) -> float:
    """Two-sided p of a mean of nothing: how often the signs of so many differences, flipped at random, make one as far
    from it; exact where there are no more flips than `RESAMPLES`. It reckons that arm and baseline could change places,
    which makes differences symmetric. Ties make it a little large; where differences are skewed around a mean of
    nothing it is too small: 8 to 9 % under 0.05 with 14 exponential ones, 6 % with 120."""
    import numpy as np
    from scipy import stats

    random = np.random.default_rng(seed)
    flips = stats.permutation_test(
        (sample,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, vectorized=True, rng=random
    )
    return float(flips.pvalue)


def equivalence_p(sample: Any, margin: float) -> float:
    """p of two one-sided t tests: small if the mean lies within -margin and +margin. At the margin itself it is
    under 0.05 in 3 to 5 % of normal samples, in up to 7 % of exponential ones, on the side of their long tail."""
    from statsmodels.stats.weightstats import DescrStatsW

    return float(DescrStatsW(sample).ttost_mean(-margin, margin)[0])


def studentised_interval(sample: Any, seed: int) -> tuple[float, float]:
    """A 95 % bootstrap-t interval of the mean (Efron and Tibshirani 1993, chapter 12), on neither side narrower than
    Student's. Of samples of 14, normal and exponential ones, scipy's percentile and BCa intervals hold the true mean in
    88 to 91 %, Student's in 95 and 91 %, this one in 96 and 95 %. Without Student's as the least, it would be too
    narrow where most differences are equal."""
    import numpy as np
    from scipy import stats

    items, mean = len(sample), float(sample.mean())
    drawn = sample[np.random.default_rng(seed).integers(0, items, (RESAMPLES, items))]
    means, deviations = drawn.mean(axis=1), drawn.std(axis=1, ddof=1)
    varied = deviations > 1e-9 * float(sample.std())  # draws of one repeated value have no t
    ts = (means[varied] - mean) / deviations[varied]
    student = float(stats.t.ppf(1 - ALPHA / 2, items - 1)) / math.sqrt(items)
    least, most = (float(q) for q in np.quantile(ts, (ALPHA / 2, 1 - ALPHA / 2)))
    deviation = float(sample.std(ddof=1))
    return mean - max(most, student) * deviation, mean - min(least, -student) * deviation
