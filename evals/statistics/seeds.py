"""Paired comparison over several seeds, with two sources of variance: items and trainings.

Each seed is a training of its own. An interval over items alone is about these trained models, not about the two
recipes. Seeds and items are crossed random factors: every seed's model answers every item.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evals.statistics.paired import MIN_ITEMS, Difference, Scores, failure_shifts
from evals.statistics.power import ALPHA, minimum_detectable_effect

if TYPE_CHECKING:
    from evals.statistics.bootstrap import Floats


@dataclass(frozen=True, kw_only=True)
class SeedsDifference(Difference):
    """The difference over the seeds that both arms have, on the items scored in all of those runs. Interval, `p` and
    `p_equivalent` are t statements that generalise to new seeds and new items."""

    seeds: int
    seed_sd: float | None = None
    """Standard deviation between seeds of the mean difference."""
    p_items: float | None = None
    """p-value of the items' means (see `paired_difference`). It is about these trained models only; `finding` does not
    use it."""


@dataclass(frozen=True, kw_only=True)
class MeanError:
    """The error of the mean of a table of seeds by items, both random, in parts of its variance."""

    seeds: int
    items: int
    by_seed: float
    """Part of the seeds, with the residual; `seeds - 1` degrees of freedom."""
    by_item: float
    """Part of the items alone, with `items - 1` degrees of freedom."""
    residual: float
    """What the residual alone would make of the part of the seeds, estimated from all cells."""

    def reach(self, errors: Callable[[int], float]) -> float:
        """How far a number of standard errors reaches, which is given for a number of observations (seeds, items).

        Each part is extended by its own number. A joint number from Satterthwaite's degrees of freedom is too small
        exactly where the seeds' means are close together by luck: with two seeds and 500 items such an interval covers
        the true mean in 90 % instead of 95 %. It is at least the reach of an interval over the items alone.
        """
        of_seeds, of_items = errors(self.seeds) ** 2, errors(self.items) ** 2
        return math.sqrt(max(of_seeds * self.by_seed, of_items * self.residual) + of_items * self.by_item)

    def half_width(self, alpha: float = ALPHA) -> float:
        """Half the width of the interval with confidence 1 - `alpha`."""
        from scipy.special import stdtrit

        return self.reach(lambda observations: float(stdtrit(observations - 1, 1 - alpha / 2)))

    def p(self, distance: float) -> float:
        """The smallest `alpha` at which an interval does not reach as far as `distance`."""
        from scipy.optimize import brentq

        smallest = 1e-12
        if self.half_width(smallest) <= distance:
            return smallest
        if distance <= 0:
            return 1.0
        root: Any = brentq(lambda alpha: self.half_width(alpha) - distance, smallest, 1.0)
        return float(root)

    def minimum_detectable(self) -> float:
        """The true difference that is found with 80 % probability."""
        return self.reach(lambda observations: minimum_detectable_effect(observations) * math.sqrt(observations))


def difference_over_seeds(
    arm: Mapping[int, Scores],
    baseline: Mapping[int, Scores],
    seed: int = 0,
    *,
    margin: float | None = None,
    worst: float | None = None,
) -> SeedsDifference | None:
    """The difference over the seeds that both arms have, from scores by seed and item. None if they share fewer than
    two seeds, or no item is scored in all of their runs. The rest is as in `paired_difference`."""
    seeds = sorted(arm.keys() & baseline.keys())
    runs = [run[s] for s in seeds for run in (arm, baseline)]
    shared = sorted(item for item in runs[0] if all(run.get(item) is not None for run in runs)) if runs else []
    if len(seeds) < 2 or not shared:
        return None
    import numpy as np

    sides = np.asarray([[[side[s][item] for item in shared] for s in seeds] for side in (arm, baseline)], dtype=float)
    grid = sides[0] - sides[1]
    untested = SeedsDifference(
        mean=float(grid.mean()),
        items=len(shared),
        margin=margin,
        seeds=len(seeds),
        seed_sd=float(grid.mean(axis=1).std(ddof=1)),
    )
    error = two_way_mean_error(grid) if len(shared) >= MIN_ITEMS else None
    if error is None or error.half_width() <= 1e-12 * float(np.abs(grid).max()):
        return untested
    down, up = failure_shifts(sides[0].mean(axis=0)[None, :], sides[1].mean(axis=0)[None, :], worst)
    return _tested(untested, grid, error, (float(down[0]), float(up[0])), seed)


def _tested(
    untested: SeedsDifference, grid: Floats, error: MeanError, shifts: tuple[float, float], seed: int
) -> SeedsDifference:
    mean, margin, half_width = untested.mean, untested.margin, error.half_width()
    low, high = mean - half_width, mean + half_width
    return SeedsDifference(
        mean=mean,
        items=untested.items,
        standard_error=error.reach(lambda observations: 1.0),
        low=low,
        high=high,
        p=error.p(abs(mean)),
        fragile=low + shifts[0] <= 0 <= high + shifts[1],
        minimum_detectable=error.minimum_detectable() + max(-shifts[0], shifts[1]),
        margin=margin,
        p_equivalent=None if margin is None else _p_equivalent(error, mean, margin, shifts),
        seeds=untested.seeds,
        seed_sd=untested.seed_sd,
        p_items=_p_items(grid.mean(axis=0), seed),
    )


def _p_equivalent(error: MeanError, mean: float, margin: float, shifts: tuple[float, float]) -> float:
    """p-value of two one-sided tests, as if one more item moved the mean by `shifts`."""
    distance = min(margin + mean + shifts[0], margin - mean - shifts[1])
    return error.p(distance) / 2 if distance >= 0 else 1 - error.p(-distance) / 2


def _p_items(item_means: Floats, seed: int) -> float | None:
    """None where the items' means are equal."""
    from evals.statistics.bootstrap import means

    varied = float(item_means.std()) > 1e-12 * float(abs(item_means).max())
    return float(means(item_means[None, :], seed).p()[0]) if varied else None


def two_way_mean_error(grid: Floats) -> MeanError:
    """The error of the mean of a table of seeds (rows) by items (columns), both random, by analysis of variance."""
    seeds, items = grid.shape
    by_seed, by_item, mean = grid.mean(axis=1), grid.mean(axis=0), grid.mean()
    residuals = grid - by_seed[:, None] - by_item[None, :] + mean
    residual = float((residuals**2).sum()) / ((seeds - 1) * (items - 1))
    ms_seeds, ms_items = items * float(by_seed.var(ddof=1)), seeds * float(by_item.var(ddof=1))
    return MeanError(
        seeds=seeds,
        items=items,
        by_seed=ms_seeds / grid.size,
        by_item=max(0.0, ms_items - residual) / grid.size,
        residual=residual / grid.size,
    )
