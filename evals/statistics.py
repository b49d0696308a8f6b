"""Paired comparison of two runs on the same items: the only comparison this project prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RESAMPLES = 2000
ALPHA, POWER = 0.05, 0.8


@dataclass(frozen=True)
class Difference:
    """Mean of arm minus baseline over `items` scored in both, with a 95 % bootstrap interval (None under 3 items or
    without variation) and a two-sided sign-flip permutation p. An item is a query: what was judged several times about
    it is one number, so the interval is clustered by query. `p_holm` is p corrected for the family of arms it was read
    among; `detectable` is the true difference that so many items with this spread would show in four of five tries."""

    mean: float
    low: float | None
    high: float | None
    p: float | None
    items: int
    p_holm: float | None = None
    detectable: float | None = None


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p of each hypothesis such that under `ALPHA` the family errs at most that often."""
    corrected, running = [0.0] * len(ps), 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda at: ps[at])):
        running = max(running, min(1.0, (len(ps) - rank) * ps[at]))
        corrected[at] = running
    return corrected


def detectable(deviation: float, items: int) -> float:
    """The least true mean difference that a two-sided test at `ALPHA` finds with `POWER`, for paired differences of
    this standard deviation (normal approximation)."""
    from scipy import stats

    return float((stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER)) * deviation / math.sqrt(items))


def paired_difference(
    arm: Mapping[str, float | None], baseline: Mapping[str, float | None], seed: int = 0
) -> Difference | None:
    """The difference on the items both have scored; None if there are none."""
    shared = sorted(id for id in arm if arm[id] is not None and baseline.get(id) is not None)
    differences = [arm[id] - baseline[id] for id in shared]  # type: ignore[operator]  # None was left out above
    if not differences:
        return None
    mean = sum(differences) / len(differences)
    if len(differences) < 3 or len(set(differences)) == 1:
        return Difference(mean, None, None, None, len(differences))
    import numpy as np
    from scipy import stats

    sample, random = (np.asarray(differences),), np.random.default_rng(seed)
    spread = stats.bootstrap(sample, np.mean, n_resamples=RESAMPLES, method="percentile", rng=random)
    flips = stats.permutation_test(
        sample, np.mean, permutation_type="samples", n_resamples=RESAMPLES, rng=np.random.default_rng(seed)
    )
    low, high = (float(bound) for bound in spread.confidence_interval)
    shown = detectable(float(np.std(differences, ddof=1)), len(differences))
    return Difference(mean, low, high, float(flips.pvalue), len(differences), detectable=shown)
