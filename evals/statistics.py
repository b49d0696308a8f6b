"""Paired comparison of two runs on the same items: the only comparison this project prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RESAMPLES = 2000


@dataclass(frozen=True)
class Difference:
    """Mean of arm minus baseline over `items` scored in both, with a 95 % bootstrap interval (None under 3 items or
    without variation) and a two-sided sign-flip permutation p."""

    mean: float
    low: float | None
    high: float | None
    p: float | None
    items: int


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
    return Difference(mean, low, high, float(flips.pvalue), len(differences))
