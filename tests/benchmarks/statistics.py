"""Error rates of the statistics, by simulation: `python -m tests.benchmarks.statistics [SHARE_OF_TRIES] [--only WORD]`.

True differences are known here, so rates can be counted: coverage of intervals, false findings, and power at the
minimum detectable difference, on all items, seeds, families and looks that README.md of evals/statistics lists. Peers
are measured on the same draws: Student's and Wilcoxon's tests of scipy, and errorbars where it is installed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evals.statistics.bootstrap import Means, means
from evals.statistics.equivalence import equivalence_margin
from evals.statistics.multiplicity import Z, holm, shrunk
from evals.statistics.paired import (
    failure_shifts,
    fragile,
    minimum_detectable,
    p_equivalent,
    paired_difference,
)
from evals.statistics.power import ALPHA
from evals.statistics.seeds import two_way_mean_error
from evals.statistics.sequential import FALSE_ALARMS, confidence_sequence

Floats = NDArray[np.float64]
Random = np.random.Generator
Rates = dict[str, float]
WORST, BEST = 1.0, 10.0
BLOCK = 200  # samples at once
SIZES = (12, 14, 40, 60, 123, 500)
ERRORBARS_TRIES = 400  # one comparison takes it milliseconds


Draw = Callable[[Random, tuple[int, int], float], tuple[Floats, Floats]]  # arm and baseline, rows are samples


def normal(random: Random, shape: tuple[int, int], effect: float) -> tuple[Floats, Floats]:
    base = random.normal(5.5, 1.2, shape)
    return base + effect + random.normal(0, 1, shape), base


def skewed(random: Random, shape: tuple[int, int], effect: float) -> tuple[Floats, Floats]:
    base = random.normal(5.5, 1.2, shape)
    return base + effect + random.exponential(1, shape) - 1, base


def rounded(values: Floats) -> Floats:
    """Integer grades of 1 to 10."""
    return np.clip(np.round(values), WORST, BEST)


@dataclass(frozen=True)
class Graded:
    """One grade of each answer: a latent quality of the item and a deviation of the answer, rounded. An effect lowers
    the latent quality of one side, by as much as moves the mean grade by the effect."""

    mean: float
    item_sd: float
    noise: float

    def __call__(self, random: Random, shape: tuple[int, int], effect: float) -> tuple[Floats, Floats]:
        item = random.normal(self.mean, self.item_sd, shape)
        lowered, other = latent_of(self, abs(effect)), item + random.normal(0, self.noise, shape)
        own = rounded(item + random.normal(0, self.noise, shape) - lowered)
        return (rounded(other), own) if effect > 0 else (own, rounded(other))


@cache
def latent_of(kind: Graded, effect: float) -> float:
    values = np.random.default_rng(0).normal(kind.mean, (kind.item_sd**2 + kind.noise**2) ** 0.5, 200_000)
    low, high, mean = 0.0, 10.0, rounded(values).mean()
    for _ in range(30 if effect else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if mean - rounded(values - middle).mean() < effect else (low, middle)
    return low


def ties(random: Random, shape: tuple[int, int], effect: float) -> tuple[Floats, Floats]:
    """85 % of the items have equal grades in both without an effect, which moves some items by one grade."""
    base, moved = np.full(shape, 6.0), (random.random(shape) < abs(effect)) * np.sign(effect)
    return base + (random.random(shape) < 0.075) - (random.random(shape) < 0.075) + moved, base


def criteria(random: Random, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """The mean of five grades of each answer."""
    item = random.normal(6.5, 0.8, (*shape, 1))
    return tuple(rounded(item + random.normal(0, 1.1, (*shape, 5))).mean(axis=2) for _ in range(2))  # pyright: ignore[reportReturnType]


@cache
def mean_of_criteria() -> float:
    return float(criteria(np.random.default_rng(0), (1000, 500))[0].mean())


@dataclass(frozen=True)
class Failing:
    """The arm fails, with the worst grade, on a share of the items, and is a little better on all others."""

    rate: float

    def __call__(self, random: Random, shape: tuple[int, int], effect: float) -> tuple[Floats, Floats]:
        arm, base = criteria(random, shape)
        better = self.rate * (mean_of_criteria() - WORST) / (1 - self.rate)
        return np.where(random.random(shape) < self.rate, WORST, arm + better) + effect, base


KINDS: Mapping[str, Draw] = {
    "normal": normal,
    "skewed": skewed,
    "grades": Graded(5.5, 1.2, 1.0),
    "ceiling": Graded(9.0, 1.0, 0.7),
    "ties": ties,
    "collapse 3 %": Failing(0.03),
    "collapse 0.5 %": Failing(0.005),
}


def varied(pair: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """The samples whose differences are not all equal: the others have no test."""
    kept = (pair[0] - pair[1]).std(axis=1) > 1e-9
    return pair[0][kept], pair[1][kept]


@dataclass(frozen=True)
class Block:
    """Some samples with what a comparison makes of them."""

    pair: tuple[Floats, Floats]
    found: Means
    shifts: tuple[Floats, Floats]

    @classmethod
    def of(cls, pair: tuple[Floats, Floats], seed: int) -> Block:
        arm, base = varied(pair)
        return cls((arm, base), means(arm - base, seed), failure_shifts(arm, base, WORST))

    def different(self) -> NDArray[np.bool_]:
        return (self.found.p() < ALPHA) & ~fragile(self.found.interval(), self.shifts).astype(bool)

    def detectable(self) -> Floats:
        return minimum_detectable(self.pair[0] - self.pair[1], self.found, self.shifts)

    def equivalent_at(self, margin: float) -> NDArray[np.bool_]:
        """Whether the arms would be found equivalent if they differed by just the margin."""
        return p_equivalent(replace(self.found, mean=self.found.mean + margin), abs(margin), self.shifts) < ALPHA


def one_seed(name: str, items: int, tries: int) -> Rates:
    """Without an effect: coverage, rejections and findings; at the margin: false equivalence; at the minimum
    detectable difference: power, in the less favourable direction."""
    draw, random = KINDS[name], np.random.default_rng([items, len(name)])
    count = max(1, round(tries / BLOCK))
    blocks = [Block.of(draw(random, (BLOCK, items), 0.0), seed) for seed in range(count)]
    total = count * BLOCK
    deviation = float(np.concatenate([b.found.standard_error for b in blocks]).mean())
    margin = max(equivalence_margin(WORST, BEST) or 0.0, 4 * deviation)
    effect = float(np.concatenate([b.detectable() for b in blocks]).mean())
    tested = sum(len(b.found.mean) for b in blocks)
    rejected = sum(int((b.found.p() < ALPHA).sum()) for b in blocks)
    return {
        "tested": tested / total,
        "coverage": sum(int(_covers(b.found).sum()) for b in blocks) / tested,
        "rejected": rejected / total,
        "different": sum(int(b.different().sum()) for b in blocks) / total,
        "equivalent": max(sum(int(b.equivalent_at(m).sum()) for b in blocks) / total for m in (margin, -margin)),
        "power": min(_power(draw, items, sign * effect, max(1, count // 2), random) for sign in (1, -1)),
        "detectable": effect,
        **_peers([b.pair[0] - b.pair[1] for b in blocks], total),
    }


def _covers(found: Means) -> NDArray[np.bool_]:
    low, high = found.interval()
    return (low <= 0) & (high >= 0)


def _power(draw: Draw, items: int, effect: float, count: int, random: Random) -> float:
    pairs = (draw(random, (BLOCK, items), effect) for _ in range(count))
    return sum(int(Block.of(pair, seed).different().sum()) for seed, pair in enumerate(pairs)) / (count * BLOCK)


def _peers(samples: Sequence[Floats], total: int) -> Rates:
    """How often other tests reject, on the same samples."""
    tests: dict[str, Callable[[Floats], Any]] = {
        "t": partial(stats.ttest_1samp, popmean=0, axis=1),
        "wilcoxon": partial(stats.wilcoxon, axis=1, method="asymptotic"),
    }
    rates = {
        name: sum(int((np.asarray(test(sample).pvalue) < ALPHA).sum()) for sample in samples) / total
        for name, test in tests.items()
    }
    if find_spec("errorbars") is None:
        return rates
    rows = np.concatenate(samples)[:ERRORBARS_TRIES]
    return {**rates, "errorbars": float(np.mean([_errorbars(row) < ALPHA for row in rows]))}


def _errorbars(row: Floats) -> float:
    from errorbars.compare import paired_compare  # pyright: ignore[reportMissingImports]

    return float(paired_compare(list(row), [0.0] * len(row)).p_value)


def several_seeds(seeds: int, items: int, between: float, tries: int) -> Rates:
    """Without an effect: coverage for new seeds and items. Standard deviations: items 0.5, residual 1, seeds `between`.
    At a margin of four standard errors: false equivalence. `items_alone` is an interval that leaves the seeds out."""
    random, counts = np.random.default_rng([seeds, items]), np.zeros(3)
    ends, margin = stats.t.ppf(1 - ALPHA / 2, items - 1), 4 * (between**2 / seeds + 1.25 / items) ** 0.5
    for _ in range(tries):
        effects = random.normal(0, between, (seeds, 1)) + random.normal(0, 0.5, (1, items))
        grid = effects + random.normal(0, 1, (seeds, items))
        error, mean, by_item = two_way_mean_error(grid), float(grid.mean()), grid.mean(axis=0)
        counts += (
            abs(mean) <= error.half_width(),
            error.half_width(2 * ALPHA) < min(2 * margin + mean, -mean),
            abs(mean) <= ends * by_item.std(ddof=1) / items**0.5,
        )
    return dict(zip(("coverage", "equivalent", "items_alone"), (counts / tries).tolist(), strict=True))


def families(arms: int, measures: int, tries: int) -> Rates:
    """Arms without any effect on measures that correlate, 40 items: how often any test finds a difference."""
    random, items = np.random.default_rng(arms), 40
    scores = random.normal(0, 0.7, (tries, arms + 1, items, 1)) + random.normal(
        0, 0.7, (tries, arms + 1, items, measures)
    )
    differences = (scores[:, 1:] - scores[:, :1]).transpose(0, 3, 1, 2).reshape(-1, items)  # try, measure, arm
    blocks = np.array_split(differences, -(-len(differences) // BLOCK))
    p = np.concatenate([means(block, seed).p() for seed, block in enumerate(blocks)]).reshape(tries, measures, arms)
    return {
        "uncorrected": float((p < ALPHA).any(axis=(1, 2)).mean()),
        "by_measure": float(np.mean([min(min(holm(row)) for row in table) < ALPHA for table in p.tolist()])),
        "corrected": float(np.mean([min(holm(row)) < ALPHA for row in p.reshape(tries, -1).tolist()])),
    }


def enumerate_items(values: Floats) -> list[tuple[str, float]]:
    return [(f"i{n:04d}", float(value)) for n, value in enumerate(values)]


def parts(true_sd: float, tries: int) -> Rates:
    """Six parts of a benchmark, 20 items each: how often an estimate's interval contains its true value, and how often
    any of the six excludes zero, with and without shrinkage. True effects vary around zero with `true_sd`."""
    random, rates = np.random.default_rng(6), np.zeros(3)
    for block in range(count := -(-tries // BLOCK)):
        truth = random.normal(0, true_sd, (BLOCK, 6))
        found = means((truth[:, :, None] + random.normal(0, 1, (BLOCK, 6, 20))).reshape(-1, 20), block)
        low, high = (end.reshape(BLOCK, 6) for end in found.interval())
        centre, reach = shrunk(found.mean.reshape(BLOCK, 6), (high - low) / (2 * Z))
        rates += (
            (abs(centre - truth) <= reach).mean(),
            (abs(centre) > reach).any(axis=1).mean(),
            ((low > 0) | (high < 0)).any(axis=1).mean(),
        )
    return dict(zip(("shrunk_coverage", "any_shrunk", "any_unshrunk"), (rates / count).tolist(), strict=True))


def peeking(name: str, tries: int) -> Rates:
    """No effect, 1,000 items, a look after every 50: how often any look excludes zero. An effect of 0.3 standard
    deviations: how many items are needed in half of the samples."""
    random, alarms, ordinary, needed = np.random.default_rng(50), 0, 0, []
    counts = np.arange(50, 1001, 50)
    for _ in range(max(1, tries // BLOCK)):
        sample = np.subtract(*KINDS[name](random, (BLOCK, 1000), 0.0))
        low, high = confidence_sequence(sample)
        alarms += int(((low > 0) | (high < 0)).any(axis=1).sum())
        mean, spread = sample.cumsum(axis=1)[:, counts - 1] / counts, sample.std()
        ordinary += int((abs(mean) > Z * spread / counts**0.5).any(axis=1).sum())
        decided = confidence_sequence(sample + 0.3 * spread)[0] > 0
        needed += [*np.where(decided.any(axis=1), counts[decided.argmax(axis=1)], 1000)]
    total = max(1, tries // BLOCK) * BLOCK
    return {"alarms": alarms / total, "ordinary": ordinary / total, "items": float(np.median(needed))}


def seconds(items: int) -> Rates:
    """Milliseconds of processor time of one comparison: the first of its number of items, which draws the resamples,
    and the next."""
    arm, base = (dict(enumerate_items(side[0])) for side in normal(np.random.default_rng(0), (1, items), 0.0))
    took = []
    paired_difference(dict(list(arm.items())[:9]), base, margin=0.2, worst=1.0)  # imports
    for _ in range(20):
        began = time.process_time()
        paired_difference(arm, base, margin=0.2, worst=1.0)
        took.append(1000 * (time.process_time() - began))
    return {"first": took[0], "next": float(np.median(took[1:]))}


@dataclass(frozen=True)
class Table:
    """A table of simulations: a row for each tuple of parameters, whose last one is the number of tries. `wanted` are
    the bounds of a rate, in which a row is not marked."""

    title: str
    heads: tuple[str, ...]
    simulate: Callable[..., Rates]
    rows: Sequence[tuple[Any, ...]]
    wanted: Mapping[str, tuple[float, float]]


def tables(share: float) -> list[Table]:
    def scaled(tries: int) -> int:
        return max(BLOCK, round(tries * share))

    near = {"coverage": (0.94, 0.96), "rejected": (0.04, 0.06), "different": (0, 0.06), "equivalent": (0, 0.05)}
    return [
        Table(
            "One seed",
            ("differences", "items"),
            one_seed,
            [(kind, n, scaled(4000)) for kind in KINDS for n in SIZES],
            {**near, "power": (0.78, 1)},
        ),
        Table(
            "Several seeds",
            ("seeds", "items", "SD between seeds"),
            several_seeds,
            [(s, n, sd, scaled(5000)) for s in (2, 3, 5) for n in (60, 500, 1000) for sd in (0.0, 0.1, 0.2, 0.3)],
            {"coverage": (0.935, 0.965), "equivalent": (0, 0.05)},
        ),
        Table(
            "Families: any difference found, without one",
            ("arms", "measures"),
            families,
            [(5, 1, scaled(2000)), (1, 7, scaled(2000)), (5, 2, scaled(2000))],
            {"corrected": (0, 0.06)},
        ),
        Table(
            "Six exploratory parts, residual 1",
            ("SD of true effects",),
            parts,
            [(sd, scaled(4000)) for sd in (0.0, 0.1, 0.3)],
            {"shrunk_coverage": (0.94, 1)},
        ),
        Table(
            "A look after every 50 of 1,000 items",
            ("differences",),
            peeking,
            [(kind, scaled(8000)) for kind in KINDS],
            {"alarms": (0, FALSE_ALARMS)},
        ),
        Table("Milliseconds of one comparison", ("items",), seconds, [(14,), (123,), (500,), (1000,)], {}),
    ]


Job = tuple[Callable[..., Rates], tuple[Any, ...]]


def computed(job: Job) -> Rates:
    simulate, arguments = job
    return simulate(*arguments)


def text(name: str, rate: float, wanted: Mapping[str, tuple[float, float]]) -> str:
    """A rate in percent, in bold where it is out of its bounds; other numbers as they are."""
    if name in ("detectable", "first", "next", "items"):
        return f"{rate:.3g}"
    low, high = wanted.get(name, (0.0, 1.0))
    shown = f"{100 * rate:.1f}"
    return shown if low <= rate <= high else f"**{shown}**"


def main(arguments: Sequence[str]) -> None:
    """Print the tables in Markdown; rates are in percent, and those out of their bounds in bold."""
    parser = argparse.ArgumentParser(description="Error rates of the statistics, by simulation, as tables in Markdown.")
    parser.add_argument("share", nargs="?", type=float, default=1.0, help="the share of the tries; 1 is all of them")
    parser.add_argument("--only", default="", metavar="WORD", help="the tables with this word in their title")
    given = parser.parse_args(arguments)
    began, chosen = time.monotonic(), [table for table in tables(given.share) if given.only in table.title]
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of the processes that are started here
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for table in chosen:
            jobs: list[Job] = [(table.simulate, row) for row in table.rows]
            for n, (row, rates) in enumerate(zip(table.rows, pool.map(computed, jobs), strict=True)):
                if n == 0:
                    heads = (*table.heads, *(name.replace("_", " ") for name in rates))
                    print(f"\n### {table.title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
                cells = [*map(str, row[: len(table.heads)]), *(text(k, v, table.wanted) for k, v in rates.items())]
                print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
