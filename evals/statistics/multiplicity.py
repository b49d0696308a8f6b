"""Many comparisons with one baseline: Holm's correction of the tests, and shrinkage of what is only explored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from evals.statistics.paired import Difference, Shrunk

if TYPE_CHECKING:
    from evals.statistics.bootstrap import Floats

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
    """Effects with their standard errors, estimated together: see `shrunk`. None below `MIN_PARTS` effects."""
    if len(effects) < MIN_PARTS:
        return [None] * len(effects)
    import numpy as np

    centres, reaches = shrunk(np.asarray([effects], dtype=float), np.asarray([errors], dtype=float))
    ends = zip(centres[0].tolist(), reaches[0].tolist(), strict=True)
    return [Shrunk(mean=centre, low=centre - reach, high=centre + reach) for centre, reach in ends]


def shrunk(effects: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """Effects with their standard errors, those of each row estimated together, and half the widths of their 95 %
    intervals: their true values are normal around a common mean, and mean and standard deviation are unknown, with flat
    priors (Gelman et al., Bayesian Data Analysis, 5.4). Where the effects differ by no more than their errors, each is
    drawn to the common mean. The axes are rows, values of the standard deviation, and effects."""
    import numpy as np

    y, variance = effects[:, None, :], np.square(errors)[:, None, :]
    largest = 4 * np.maximum(effects.std(axis=1, ddof=1), np.sqrt(variance[:, 0].mean(axis=1)))
    spread = np.linspace(0, largest, 400, axis=1)[:, :, None]
    total = variance + spread**2
    weight = 1 / total.clip(min=np.finfo(float).tiny)
    mean_variance = 1 / weight.sum(axis=2, keepdims=True)
    mean = (weight * y).sum(axis=2, keepdims=True) * mean_variance
    logs = np.log(mean_variance[:, :, 0]) - (np.log(total) + (y - mean) ** 2 * weight).sum(axis=2)
    likelihood = np.exp((logs - logs.max(axis=1, keepdims=True)) / 2)[:, :, None]
    likelihood /= likelihood.sum(axis=1, keepdims=True)
    own = spread**2 * weight
    centres = own * y + (1 - own) * mean
    variances = own * variance + (1 - own) ** 2 * mean_variance
    centre = (likelihood * centres).sum(axis=1)
    deviation = np.sqrt((likelihood * (variances + (centres - centre[:, None]) ** 2)).sum(axis=1))
    return centre, Z * deviation
