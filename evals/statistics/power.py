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

    Only the rejection region on the side of the effect is counted; the other one is negligible at this power.
    """
    if items < 2:
        return math.inf
    from scipy.special import nctdtrinc, stdtrit

    freedom = items - 1
    return float(nctdtrinc(freedom, 1 - POWER, stdtrit(freedom, 1 - ALPHA / 2))) / math.sqrt(items)
