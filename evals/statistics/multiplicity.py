"""Many comparisons with one baseline: Holm's correction of the tests, and shrinkage of what is only explored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from evals.statistics.paired import Difference, Shrunk

AnyDifference = TypeVar("AnyDifference", bound=Difference)

MIN_PARTS = 3
"""Below this number of effects their spread cannot be estimated."""
Z = 1.959964
"""Half the width of a normal 95 % interval in standard deviations."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979): rejecting those below `ALPHA` keeps the family-wise error rate at
    `ALPHA`. The smallest is multiplied by the number of tests, the next by one less, and none is below the one
    before."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def correct_family(family: Sequence[AnyDifference]) -> list[AnyDifference]:
    """The differences of a family of tests with `p_holm` and `p_equivalent_holm` set. A difference without a test does
    not count towards the size of the family."""
    corrected = list(family)
    tested = [(i, d.p) for i, d in enumerate(family) if d.p is not None]
    for (i, _), p in zip(tested, holm([p for _, p in tested]), strict=True):
        corrected[i] = replace(corrected[i], p_holm=p)
    bounded = [(i, d.p_equivalent) for i, d in enumerate(family) if d.p_equivalent is not None]
    for (i, _), p in zip(bounded, holm([p for _, p in bounded]), strict=True):
        corrected[i] = replace(corrected[i], p_equivalent_holm=p)
    return corrected


def explore(parts: Sequence[AnyDifference]) -> list[AnyDifference]:
    """The differences of one arm on the parts of one benchmark, marked as exploratory and with `shrunk` set. A part
    without an interval is not estimated."""
    marked = [replace(part, exploratory=True) for part in parts]
    known = [(i, d.mean, d.high - d.low) for i, d in enumerate(parts) if d.low is not None and d.high is not None]
    errors = [width / (2 * Z) for _, _, width in known]
    for (i, _, _), estimate in zip(known, shrink([mean for _, mean, _ in known], errors), strict=True):
        marked[i] = replace(marked[i], shrunk=estimate)
    return marked


def shrink(effects: Sequence[float], errors: Sequence[float]) -> Sequence[Shrunk | None]:
    """Effects with their standard errors, estimated together: their true values are normal around a common mean, and
    mean and standard deviation are unknown, with flat priors (Gelman et al., Bayesian Data Analysis, 5.4). Where the
    effects differ by no more than their errors, each is drawn to the common mean. None below `MIN_PARTS` effects."""
    if len(effects) < MIN_PARTS:
        return [None] * len(effects)
    import numpy as np

    y, variance = np.asarray(effects), np.square(errors)
    spread = np.linspace(0, 4 * max(float(y.std(ddof=1)), float(np.sqrt(variance.mean()))), 400)[:, None]
    total = variance + spread**2
    weight = 1 / total.clip(min=np.finfo(float).tiny)
    mean_variance = 1 / weight.sum(axis=1, keepdims=True)
    mean = (weight * y).sum(axis=1, keepdims=True) * mean_variance
    logs = np.log(mean_variance[:, 0]) - (np.log(total) + (y - mean) ** 2 * weight).sum(axis=1)
    likelihood = np.exp((logs - logs.max()) / 2)[:, None] / np.exp((logs - logs.max()) / 2).sum()
    own = spread**2 * weight
    centres = own * y + (1 - own) * mean
    variances = own * variance + (1 - own) ** 2 * mean_variance
    centre = (likelihood * centres).sum(axis=0)
    deviation = np.sqrt((likelihood * (variances + (centres - centre) ** 2)).sum(axis=0))
    ends = zip(centre.tolist(), (Z * deviation).tolist(), strict=True)
    return [Shrunk(mean=c, low=c - half_width, high=c + half_width) for c, half_width in ends]
