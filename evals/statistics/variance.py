"""Where the noise of a comparison comes from, and what to buy for a smaller detectable difference."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from evals.statistics.power import minimum_detectable_effect
from evals.statistics.seeds import MeanError

if TYPE_CHECKING:
    from evals.statistics.bootstrap import Floats

MOST = 1_000_000
"""Of nothing more than this is bought."""


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variances of the paired differences, each in the square of the measure's unit."""

    seeds: float
    """Of the mean difference between trainings."""
    items: float
    """Of the true difference between items."""
    answers: float
    """Of the difference between answers to one item, sampled or by another training. With one answer to an item these
    two cannot be distinguished, and more answers may then help less than this says."""
    judgements: float
    """Of the difference between judgements of the same answers."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """How much is measured: trainings of each arm, items, answers to each item by each training, and judgements of
    each answer."""

    seeds: int = 1
    items: int
    answers: int = 1
    judgements: int = 1


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What one more training costs, one more answer and one more judgement, for both arms together."""

    training: float
    answer: float
    judgement: float

    def of(self, design: Design) -> float:
        """The price of all that a design measures."""
        answers = design.seeds * design.items * design.answers
        return design.seeds * self.training + answers * (self.answer + design.judgements * self.judgement)


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """A design that is enlarged in one respect until it detects the wanted difference. `price` is that of the
    enlargement."""

    respect: str
    design: Design
    price: float


def components(differences: Floats) -> Components:
    """The components of a balanced table of differences with the axes seed, item, answer and judgement, by analysis of
    variance; seeds and items are crossed. A negative estimate is zero, and so is what an axis of length one hides: it
    counts towards the next axis. One seed says nothing about seeds."""
    seeds, items, answers, judgements = differences.shape
    judged, answered = differences.mean(axis=3), differences.mean(axis=(2, 3))
    within = float(differences.var(axis=3, ddof=1).mean()) if judgements > 1 else 0.0
    by_item, by_seed = answered.mean(axis=0), answered.mean(axis=1)
    residual = answered - by_seed[:, None] - by_item[None, :] + answered.mean()
    if seeds > 1:
        cell = float((residual**2).sum()) / ((seeds - 1) * (items - 1))  # an item's difference in one training
    else:
        cell = float(judged.var(axis=2, ddof=1).mean()) / answers if answers > 1 else within / judgements
    return Components(
        seeds=max(0.0, float(by_seed.var(ddof=1)) - cell / items) if seeds > 1 else 0.0,
        items=max(0.0, float(by_item.var(ddof=1)) - cell / seeds),
        answers=max(0.0, cell * answers - within / judgements),
        judgements=within,
    )


def detectable(variances: Components, design: Design, above_worst: float = 0.0) -> float:
    """The true difference that a design finds with 80 % probability. One seed generalises to no other training, so the
    variance between seeds then counts for nothing. `above_worst` is how far the mean score is from the worst possible
    one: a difference that one more failed item would undo is not called different (see `Difference.fragile`)."""
    failure = above_worst / (design.items + 1)
    grown = 1 + 1 / design.items if above_worst else 1.0  # the side that is ahead has more to lose
    return (_tested(variances, design) + failure) * grown


def _tested(variances: Components, design: Design) -> float:
    """The difference that the test of a mean finds with 80 % probability."""
    cell = variances.answers / design.answers + variances.judgements / (design.answers * design.judgements)
    cells = design.seeds * design.items
    if design.seeds == 1:
        return minimum_detectable_effect(design.items) * math.sqrt(variances.items + cell)
    return MeanError(
        seeds=design.seeds,
        items=design.items,
        by_seed=variances.seeds / design.seeds + cell / cells,
        by_item=variances.items / design.items,
        residual=cell / cells,
    ).minimum_detectable()


def purchases(
    variances: Components, design: Design, prices: Prices, wanted: float, above_worst: float = 0.0
) -> list[Purchase]:
    """What to buy so that a difference of `wanted` is detected: the smallest enlargement in each single respect that
    is enough, the cheapest first; none where no single one is. A second seed asks another question, and is not
    bought."""
    respects = [field.name for field in fields(design) if field.name != "seeds" or design.seeds > 1]
    enough = {respect: _enough(variances, design, respect, wanted, above_worst) for respect in respects}
    bought = [
        Purchase(respect=respect, design=larger, price=prices.of(larger) - prices.of(design))
        for respect, larger in enough.items()
        if larger is not None
    ]
    return sorted(bought, key=lambda purchase: purchase.price)


def _enough(variances: Components, design: Design, respect: str, wanted: float, above_worst: float) -> Design | None:
    """The smallest design that is enlarged in one respect and detects the wanted difference."""

    def detects(count: int) -> bool:
        return detectable(variances, replace(design, **{respect: count}), above_worst) <= wanted

    held: int = getattr(design, respect)
    most = held
    while not detects(most):
        if most > MOST:
            return None
        most *= 2
    count = held + bisect_left(range(held, most + 1), True, key=detects)
    return replace(design, **{respect: count})
