"""Error rates of the statistics, by simulation: `python -m tests.benchmarks.statistics [SHARE_OF_TRIES]`.

True differences are known here, so rates can be counted: false positives, coverage of intervals, power at the minimum
detectable effect, and false findings of equivalence. The figures are in evals/statistics/README.md.
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

from evals.statistics.equivalence import equivalence_margin, equivalence_p
from evals.statistics.multiplicity import correct_family
from evals.statistics.paired import Difference, paired_difference
from evals.statistics.power import ALPHA
from evals.statistics.seeds import difference_over_seeds

Table = dict[str, float | None]
Rates = dict[str, float]
KINDS = ("normal", "skewed", "tied")
TRIES = {14: 600, 60: 250, 120: 150, 500: 60}  # by number of items
MARGIN = 0.225  # equivalence_margin(1, 10)


@dataclass
class Counts:
    """The number of tries in which each named event occurred."""

    true: dict[str, int] = field(default_factory=dict)
    tries: int = 0

    def add(self, **events: bool) -> None:
        self.tries += 1
        for name, occurred in events.items():
            self.true[name] = self.true.get(name, 0) + occurred

    def rates(self) -> Rates:
        return {name: count / self.tries for name, count in self.true.items()}


def scores(kind: str, items: int, effect: float, random: np.random.Generator) -> tuple[Table, Table]:
    """An arm and its baseline on the same items. The true mean difference is `effect`. Tied scores are integer grades
    of 1 to 10, rarely near an end of the scale: their true difference is `effect` except for rounding and clipping."""
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


def covers_zero(difference: Difference) -> bool:
    return difference.low is not None and difference.high is not None and difference.low <= 0 <= difference.high


def differences(arm: Table, base: Table) -> Any:
    return np.array([arm[item] - base[item] for item in arm])  # type: ignore[operator]  # all are scored


def one_seed(kind: str, items: int, tries: int) -> Rates:
    """Without an effect: rejections and coverage of two intervals. At the minimum detectable effect: the power."""
    random, null, alternative = np.random.default_rng(items), Counts(), Counts()
    minimum_detectable = 0.0
    for _ in range(tries):
        arm, base = scores(kind, items, 0.0, random)
        d = paired_difference(arm, base)
        assert d is not None
        assert None not in (d.p, d.low, d.high, d.minimum_detectable)
        minimum_detectable += (d.minimum_detectable or 0.0) / tries
        sample = (differences(arm, base),)
        percentile = stats.bootstrap(sample, np.mean, method="percentile", n_resamples=1000, rng=random)
        low, high = percentile.confidence_interval
        null.add(rejected=(d.p or 0.0) < ALPHA, covered=covers_zero(d), percentile_covered=bool(low <= 0 <= high))
    for _ in range(tries // 2):
        d = paired_difference(*scores(kind, items, minimum_detectable, random))
        alternative.add(power=d is not None and d.p is not None and d.p < ALPHA)
    return null.rates() | alternative.rates()


def equivalence(kind: str, items: int, tries: int) -> Rates:
    """How often two arms are found equivalent that differ by just the margin, and that do not differ at all."""
    random, counts = np.random.default_rng(items + 1), Counts()
    effects = {"false_at_plus_margin": MARGIN, "false_at_minus_margin": -MARGIN, "true": 0.0}
    for _ in range(tries):
        samples = {name: differences(*scores(kind, items, effect, random)) for name, effect in effects.items()}
        counts.add(**{name: equivalence_p(sample, MARGIN) < ALPHA for name, sample in samples.items()})
    return counts.rates()


def family(arms: int, items: int, tries: int) -> Rates:
    """Arms without any effect: how often at least one is found different, with and without the correction."""
    random, counts = np.random.default_rng(arms), Counts()
    for _ in range(tries):
        base = by_item(random.normal(5, 1, items))  # shared, so the arms' differences are dependent
        compared = [paired_difference(by_item(random.normal(5, 1, items)), base) for _ in range(arms)]
        corrected = correct_family([d for d in compared if d is not None])
        counts.add(
            any_p=any((d.p or 1) < ALPHA for d in corrected),
            any_p_holm=any((d.p_holm or 1) < ALPHA for d in corrected),
        )
    return counts.rates()


def seeds_grid(seeds: int, items: int, between: float, random: np.random.Generator) -> Any:
    """Differences by seed and item without any effect. Standard deviations: items 0.5, residual 1, seeds `between`."""
    effects = random.normal(0, between, (seeds, 1)) + random.normal(0, 0.5, (1, items))
    return effects + random.normal(0, 1, (seeds, items))


def several_seeds(seeds: int, items: int, between: float, tries: int) -> Rates:
    """Without an effect: coverage of three intervals, rejections of two tests. At the margin: false equivalence."""
    random, counts = np.random.default_rng(seeds * items), Counts()
    zeros = {s: by_item(np.zeros(items)) for s in range(seeds)}
    for _ in range(tries):
        grid = seeds_grid(seeds, items, between, random)
        d = difference_over_seeds({s: by_item(row) for s, row in enumerate(grid)}, zeros)
        at_margin = difference_over_seeds({s: by_item(row + 0.5) for s, row in enumerate(grid)}, zeros, margin=0.5)
        assert d is not None
        assert at_margin is not None
        items_alone = stats.ttest_1samp(grid.mean(axis=0), 0).confidence_interval()
        low, high = two_level_bootstrap(grid, random)
        counts.add(
            items_alone_covered=bool(items_alone.low <= 0 <= items_alone.high),
            bootstrap_covered=low <= 0 <= high,
            covered=covers_zero(d),
            flip_rejected=(d.p_items or 1) < ALPHA,
            rejected=(d.p or 1) < ALPHA,
            false_equivalent=(at_margin.p_equivalent or 1) < ALPHA,
        )
    return counts.rates()


def two_level_bootstrap(grid: Any, random: np.random.Generator, resamples: int = 500) -> tuple[float, float]:
    """The percentile interval of a bootstrap over seeds and items: measured for comparison, not used."""
    seed_weights, item_weights = (random.multinomial(n, [1 / n] * n, resamples) / n for n in grid.shape)
    means = ((seed_weights @ grid) * item_weights).sum(axis=1)
    return float(np.quantile(means, ALPHA / 2)), float(np.quantile(means, 1 - ALPHA / 2))


Row = tuple[Callable[..., Rates], tuple[Any, ...]]


def computed(row: Row) -> Rates:
    simulate, arguments = row
    return simulate(*arguments)


def rows(share: float) -> dict[str, list[Row]]:
    """The tables by title. Each line is a simulation with its arguments; the last one is the number of tries."""

    def scaled(tries: int) -> int:
        return max(20, round(tries * share))

    return {
        "one seed: kind, items": [(one_seed, (kind, n, scaled(TRIES[n]))) for kind in KINDS for n in TRIES],
        f"equivalence, margin {MARGIN}: kind, items": [
            (equivalence, (kind, n, scaled(2000))) for kind in ("normal", "skewed") for n in (14, 120, 350)
        ],
        "family of arms with one baseline: arms, items": [(family, (5, 40, scaled(400)))],
        "seeds: seeds, items, standard deviation between seeds (residual 1, items 0.5)": [
            (several_seeds, (s, 60, b, scaled(200))) for s in (2, 3, 5) for b in (0.0, 0.1, 0.3)
        ],
    }


def main(arguments: Sequence[str]) -> None:
    """Print every table with the standard error of its rates."""
    assert equivalence_margin(1, 10) == MARGIN
    began = time.monotonic()
    with ProcessPoolExecutor() as pool:
        for title, lines in rows(float(arguments[0]) if arguments else 1.0).items():
            print(f"\n{title}, tries")
            for (_, parameters), rates in zip(lines, pool.map(computed, lines), strict=True):
                error = sqrt(0.05 * 0.95 / parameters[-1])
                shown = "  ".join(f"{name} {rate:.3f}" for name, rate in rates.items())
                print(
                    f"  {' '.join(str(value) for value in parameters):<22} {shown}  (±{error:.3f} at 0.05)", flush=True
                )
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
