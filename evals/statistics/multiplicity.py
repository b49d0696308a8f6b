"""Correction of p-values for the number of arms that are compared with one baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evals.statistics.paired import Difference
from evals.statistics.power import ALPHA


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values: rejecting those below `ALPHA` keeps the family-wise error rate at `ALPHA`."""
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return []
    results: Any = multipletests(p_values, ALPHA, method="holm")
    return [float(p) for p in results[1]]


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
