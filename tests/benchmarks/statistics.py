"""Error rates of the statistics by simulation: `python -m tests.benchmarks.statistics [SHARE_OF_TRIES]`.

True differences are known here, so rates can be counted: false positives, coverage of intervals, power at the
detectable difference, and false equivalence.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
from scipy import stats

from evals.statistics.paired import ALPHA, Difference, corrected, equivalence_p, margin_of, paired_difference
from evals.statistics.seeds import difference_over_seeds

Table = dict[str, float | None]
Rates = dict[str, float]
KINDS = ("normal", "skewed", "tied")
TRIES = {14: 600, 60: 250, 120: 150, 500: 60}  # by items
MARGIN = 0.225  # margin_of(1, 10)


@dataclass
class Counts:
    """Counts of true outcomes by name."""

    true: dict[str, int] = field(default_factory=dict)
    tries: int = 0

    def add(self, **found: bool) -> None:
        self.tries += 1
        for name, value in found.items():
            self.true[name] = self.true.get(name, 0) + value

    def rates(self) -> Rates:
        return {name: count / self.tries for name, count in self.true.items()}


def scores(kind: str, items: int, effect: float, random: np.random.Generator) -> tuple[Table, Table]:
    """An arm and its baseline on the same items. The true mean difference is `effect`: tied scores are
    whole grades of 1 to 10, whose rounding and clipping change it slightly."""
    base = random.normal(5.5, 1.2, items)
    if kind == "tied":
        arm = np.clip(np.round(base + effect + random.normal(0, 1, items)), 1, 10)
        base = np.clip(np.round(base + random.normal(0, 1, items)), 1, 10)
    elif kind == "skewed":
        arm = base + effect + random.exponential(1, items) - 1
    else:
        arm = base + effect + random.normal(0, 1, items)
    return by_item(arm), by_item(base)


def by_item(values: Any) -> Table:
    return {f"i{n:04d}": float(value) for n, value in enumerate(values)}


def holds_nothing(d: Difference) -> bool:
    return d.low is not None and d.high is not None and d.low <= 0 <= d.high


def differences(arm: Table, base: Table) -> Any:
    return np.array([arm[id] - base[id] for id in arm])  # type: ignore[operator]  # all are scored


def one_seed(kind: str, items: int, tries: int) -> Rates:
    """Under no effect: the rate of rejections and the coverage of intervals; at the detectable effect: the power."""
    random, null, found = np.random.default_rng(items), Counts(), Counts()
    detectable = 0.0
    for _ in range(tries):
        arm, base = scores(kind, items, 0.0, random)
        d = paired_difference(arm, base)
        assert d is not None
        assert None not in (d.p, d.low, d.high, d.detectable)
        detectable += (d.detectable or 0.0) / tries
        sample = (differences(arm, base),)
        spread = stats.bootstrap(sample, np.mean, method="percentile", n_resamples=1000, rng=random)
        low, high = spread.confidence_interval
        null.add(rejected=(d.p or 0.0) < ALPHA, held=holds_nothing(d), percentile_held=bool(low <= 0 <= high))
    for _ in range(tries // 2):
        d = paired_difference(*scores(kind, items, detectable, random))
        found.add(power=d is not None and d.p is not None and d.p < ALPHA)
    return null.rates() | found.rates()


def equivalence(kind: str, items: int, tries: int) -> Rates:
    """How often two arms are called equivalent that differ by exactly the margin, and that do not differ."""
    random, counts = np.random.default_rng(items + 1), Counts()
    for _ in range(tries):
        found = {}
        for name, effect in (("wrong_above", MARGIN), ("wrong_below", -MARGIN), ("right", 0.0)):
            found[name] = equivalence_p(differences(*scores(kind, items, effect, random)), MARGIN) < ALPHA
        counts.add(**found)
    return counts.rates()


def family(arms: int, items: int, tries: int) -> Rates:
    """Arms equal to the baseline: how often any is called different, with and without the correction."""
    random, counts = np.random.default_rng(arms), Counts()
    for _ in range(tries):
        base = by_item(random.normal(5, 1, items))  # shared, so the arms' differences are dependent
        tests = [paired_difference(by_item(random.normal(5, 1, items)), base) for _ in range(arms)]
        ds = corrected([d for d in tests if d is not None])
        counts.add(any_p=any((d.p or 1) < ALPHA for d in ds), any_p_holm=any((d.p_holm or 1) < ALPHA for d in ds))
    return counts.rates()


def seeds_grid(seeds: int, items: int, between: float, random: np.random.Generator) -> Any:
    """Differences by seed and item without any effect: item standard deviation 0.5, residual 1, seeds `between`."""
    effects = random.normal(0, between, (seeds, 1)) + random.normal(0, 0.5, (1, items))
    return effects + random.normal(0, 1, (seeds, items))


def several_seeds(seeds: int, items: int, between: float, tries: int) -> Rates:
    """Under no effect: coverage of three intervals, rejections by two p-values; at the margin: false equivalence."""
    random, counts = np.random.default_rng(seeds * items), Counts()
    nothing = {s: by_item(np.zeros(items)) for s in range(seeds)}
    for _ in range(tries):
        grid = seeds_grid(seeds, items, between, random)
        d = difference_over_seeds({s: by_item(row) for s, row in enumerate(grid)}, nothing)
        far = difference_over_seeds({s: by_item(row + 0.5) for s, row in enumerate(grid)}, nothing, margin=0.5)
        assert d is not None
        assert far is not None
        alone = stats.ttest_1samp(grid.mean(axis=0), 0).confidence_interval()
        low, high = two_level_bootstrap(grid, random)
        counts.add(
            items_alone_held=bool(alone.low <= 0 <= alone.high),
            bootstrap_held=low <= 0 <= high,
            held=holds_nothing(d),
            flip_rejected=(d.p_items or 1) < ALPHA,
            rejected=(d.p or 1) < ALPHA,
            wrongly_equal=(far.p_equivalent or 1) < ALPHA,
        )
    return counts.rates()


def two_level_bootstrap(grid: Any, random: np.random.Generator, resamples: int = 500) -> tuple[float, float]:
    """The percentile interval from resampling both seeds and items; tried, and not used by the project."""
    of_seeds, of_items = (random.multinomial(n, [1 / n] * n, resamples) / n for n in grid.shape)
    means = ((of_seeds @ grid) * of_items).sum(axis=1)
    return float(np.quantile(means, ALPHA / 2)), float(np.quantile(means, 1 - ALPHA / 2))


Row = tuple[Callable[..., Rates], tuple[Any, ...]]


def computed(row: Row) -> Rates:
    work, arguments = row
    return work(*arguments)


def rows(share: float) -> dict[str, list[Row]]:
    """The tables by title, each line a simulation and its arguments, the number of tries last."""

    def of(tries: int) -> int:
        return max(20, round(tries * share))

    return {
        "one seed: kind, items": [(one_seed, (kind, n, of(TRIES[n]))) for kind in KINDS for n in TRIES],
        f"equivalence, margin {MARGIN}: kind, items": [
            (equivalence, (kind, n, of(2000))) for kind in ("normal", "skewed") for n in (14, 120, 350)
        ],
        "family of arms with one baseline: arms, items": [(family, (5, 40, of(400)))],
        "seeds: seeds, items, deviation between seeds (residual 1, items 0.5)": [
            (several_seeds, (s, 60, b, of(200))) for s in (2, 3, 5) for b in (0.0, 0.1, 0.3)
        ],
    }


def main(arguments: Sequence[str]) -> None:
    """Print every table with the standard error of its rates."""
    assert margin_of(1, 10) == MARGIN
    began = time.monotonic()
    with ProcessPoolExecutor() as pool:
        for title, lines in rows(float(arguments[0]) if arguments else 1.0).items():
            print(f"\n{title}, tries")
            for (_, given), rates in zip(lines, pool.map(computed, lines), strict=True):
                error = sqrt(0.05 * 0.95 / given[-1])
                shown = "  ".join(f"{name} {rate:.3f}" for name, rate in rates.items())
                print(f"  {' '.join(str(value) for value in given):<22} {shown}  (±{error:.3f} at 0.05)", flush=True)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
