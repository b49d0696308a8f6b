"""Correction of p-values for the number of arms that are compared with one baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evals.statistics.paired import Difference


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


def correct_family(family: Sequence[Difference]) -> list[Difference]:
    """The differences of a family of arms with `p_holm` and `p_equivalent_holm` set. A difference without a test does
    not count towards the size of the family."""
    corrected = list(family)
    tested = [(i, d.p) for i, d in enumerate(family) if d.p is not None]
    for (i, _), p in zip(tested, holm([p for _, p in tested]), strict=True):
        corrected[i] = replace(corrected[i], p_holm=p)
    bounded = [(i, d.p_equivalent) for i, d in enumerate(family) if d.p_equivalent is not None]
    for (i, _), p in zip(bounded, holm([p for _, p in bounded]), strict=True):
        corrected[i] = replace(corrected[i], p_equivalent_holm=p)
    return corrected
