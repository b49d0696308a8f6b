"""Agreement between two lists of scores, and the dependence of scores on length."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reer.text import words

MIN_ANSWERS = 5
"""Below this number of answers there is no slope."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well two lists of scores agree on the items that both have; None where there is no such item."""

    items: int
    alpha: float | None
    """Krippendorff's alpha for interval data; None where all scores are equal or fewer than two items are shared."""
    exact_agreement: float | None
    """The share of items with equal scores."""
    mean_difference: float | None
    """The mean of second minus first."""
    noise_sd: float | None
    """The standard deviation of a single score around its item's mean, from the differences."""


@dataclass(frozen=True, kw_only=True)
class LengthSlope:
    """The change of score that goes with a doubling of an answer's words, and its p-value."""

    slope_per_doubling: float | None
    p: float | None
    answers: int


def agreement(first: Mapping[str, float], second: Mapping[str, float]) -> Agreement:
    """The agreement of two lists of scores by item."""
    pairs = [(first[item], second[item]) for item in sorted(first.keys() & second.keys())]
    differences = [b - a for a, b in pairs]
    return Agreement(
        items=len(pairs),
        alpha=_alpha(pairs),
        exact_agreement=statistics.fmean(a == b for a, b in pairs) if pairs else None,
        mean_difference=statistics.fmean(differences) if pairs else None,
        noise_sd=math.sqrt(statistics.fmean(d * d for d in differences) / 2) if pairs else None,
    )


def _alpha(pairs: Sequence[tuple[float, float]]) -> float | None:
    """One minus the observed over the expected disagreement, which for interval data, two raters and no missing score
    are the mean squared difference within items and twice the variance of all scores (Krippendorff 2011, Computing
    Krippendorff's alpha-reliability)."""
    scores = [score for pair in pairs for score in pair]
    if len(pairs) < 2 or len(set(scores)) < 2:
        return None
    return 1 - statistics.fmean((b - a) ** 2 for a, b in pairs) / (2 * statistics.variance(scores))


def length_slope(answers: Sequence[tuple[str, float]]) -> LengthSlope:
    """Linear regression of score on log2 of the number of words, from (text, score) pairs. Without a slope below
    `MIN_ANSWERS` answers or where all answers have the same length."""
    lengths = [math.log2(max(1, len(words(text)))) for text, _ in answers]
    if len(answers) < MIN_ANSWERS or len(set(lengths)) == 1:
        return LengthSlope(slope_per_doubling=None, p=None, answers=len(answers))
    from scipy import stats

    fit: Any = stats.linregress(lengths, [score for _, score in answers])
    return LengthSlope(slope_per_doubling=float(fit.slope), p=float(fit.pvalue), answers=len(answers))
