"""Power of paired comparisons: how large a true difference has to be to be detected."""

from __future__ import annotations

import math
from functools import cache

ALPHA = 0.05
"""Significance level of every test, and one minus the confidence level of every interval."""
POWER = 0.8
"""Probability of detecting the minimum detectable effect."""


@cache
def minimum_detectable_effect(items: float) -> float:
    """The smallest true mean difference, in standard deviations of the differences, that a two-sided paired t test at
    `ALPHA` detects with probability `POWER`; infinite for fewer than two items.

    Only the rejection region on the side of the effect is counted. The other one is negligible at this power, and with
    both, statsmodels 0.15 finds no root or a negative one for 50 of the item counts below 1,200.
    """
    if items < 2:
        return math.inf
    from statsmodels.stats.power import TTestPower

    return float(TTestPower().solve_power(nobs=items, alpha=ALPHA / 2, power=POWER, alternative="larger"))
