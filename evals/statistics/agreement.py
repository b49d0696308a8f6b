"""Agreement of two lists of scores, and what scores owe to length."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from reer.text import words

FEWEST = 5  # answers, for a slope that says anything


def agreement(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, Any]:
    """Krippendorff's alpha (interval; None where all scores are equal or under two are shared), the share of equal
    scores, the mean difference, and the noise: the standard deviation of one score, by the differences."""
    shared = sorted(first.keys() & second.keys())
    pairs = [(first[id], second[id]) for id in shared]
    differences = [b - a for a, b in pairs]
    return {
        "items": len(pairs),
        "alpha": _alpha(pairs),
        "same": statistics.fmean(a == b for a, b in pairs) if pairs else None,
        "mean_difference": statistics.fmean(differences) if pairs else None,
        "noise": math.sqrt(statistics.fmean(d * d for d in differences) / 2) if pairs else None,
    }


def _alpha(pairs: Sequence[tuple[float, float]]) -> float | None:
    if len(pairs) < 2 or len({score for pair in pairs for score in pair}) < 2:
        return None
    import krippendorff
    import numpy as np

    return float(krippendorff.alpha(reliability_data=np.array(pairs).T, level_of_measurement="interval"))


def slope_per_doubling(answers: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """The slope of score on the logarithm (base 2) of an answer's words, with its p; None under five answers or where
    all are equally long."""
    lengths = [math.log2(max(1, len(words(text)))) for text, _ in answers]
    if len(answers) < FEWEST or len(set(lengths)) == 1:
        return {"slope_per_doubling": None, "p": None, "answers": len(answers)}
    from scipy import stats

    fit: Any = stats.linregress(lengths, [score for _, score in answers])
    return {"slope_per_doubling": float(fit.slope), "p": float(fit.pvalue), "answers": len(answers)}
