"""How often a bridge's interval holds the truth: `python -m tests.benchmarks.bridge [TRIES]`.

Answers have a true quality; two judges see it with their own noise, and the new one on another scale. A published mean
is that of another model under the old judge, and the truth is its mean under the new one.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from evals.judging.bridge import bridge


@dataclass(frozen=True)
class World:
    """A pair of judges: the new one gives `intercept + slope * quality`; the noise of both on their own scales."""

    items: int
    slope: float
    old_noise: float
    new_noise: float
    published: float
    whole_grades: bool = False


WORLDS = tuple(
    World(items, slope, old, new, published, whole)
    for items in (30, 120, 500)
    for slope, old, new in ((0.8, 0.5, 0.5), (1.0, 1.0, 0.7), (1.2, 0.7, 1.0))
    for published in (5.0, 7.5)
    for whole in (False, True)
)


def coverage(world: World, tries: int, seed: int = 0) -> float:
    """The share of simulated bridges whose 95 % interval for the published mean holds the truth."""
    draw = np.random.default_rng(seed)
    quality = draw.normal(6.0, 1.5, (tries, world.items))
    old = quality + draw.normal(0.0, world.old_noise, quality.shape)
    new = 0.5 + world.slope * quality + draw.normal(0.0, world.new_noise, quality.shape)
    if world.whole_grades:
        old, new = np.rint(old), np.rint(new)
    ratio = (world.new_noise / world.old_noise) ** 2
    truth = 0.5 + world.slope * world.published
    return float(np.mean([_holds(x, y, ratio, world.published, truth) for x, y in zip(old, new, strict=True)]))


def _holds(old: np.ndarray, new: np.ndarray, ratio: float, published: float, truth: float) -> bool:
    before, after = ({str(n): float(value) for n, value in enumerate(of_judge)} for of_judge in (old, new))
    placed = bridge(before, after, ratio).placed(published)
    return placed.low <= truth <= placed.high


def main() -> None:
    """Print the coverage of every world."""
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print("items  slope  noise     published  grades  coverage")
    for world in WORLDS:
        grades = "whole" if world.whole_grades else "any"
        print(
            f"{world.items:5}  {world.slope:5}  {world.old_noise}, {world.new_noise}  {world.published:9}  {grades:6}  "
            f"{100 * coverage(world, tries):.1f} %"
        )


if __name__ == "__main__":
    main()
