"""Agreement between two lists of scores, and the dependence of scores on length."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.statistics.power import ALPHA
from reer.text import words

MIN_ANSWERS = 5
"""Below this number of answers there is no slope, and no agreement of ranks."""
Z = statistics.NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


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

    @property
    def noise_bound(self) -> float | None:
        """What a single score is off by at most, in 95 of 100 cases. The noise is known from few items, so this is
        Student's t of it: with four of them, twice the standard deviation would be exceeded in one of nine cases."""
        from scipy.special import stdtrit

        return None if self.noise_sd is None else float(stdtrit(self.items, 1 - ALPHA / 2)) * self.noise_sd


@dataclass(frozen=True, kw_only=True)
class LengthSlope:
    """The change of score that goes with a doubling of an answer's words, and its p-value."""

    slope_per_doubling: float | None
    p: float | None
    answers: int


@dataclass(frozen=True, kw_only=True)
class Rank:
    """How well two lists of grades on different scales agree, on the items that both have; None below `MIN_ANSWERS`
    items and where all grades of one list are equal."""

    items: int
    spearman: Interval | None = None
    kendall: Interval | None = None
    """Kendall's tau-b."""
    icc: Interval | None = None
    """The intraclass correlation for consistency, ICC(C,1): grades of one list may all be higher, not further apart."""


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


def rank_agreement(first: Mapping[str, float], second: Mapping[str, float]) -> Rank:
    """The agreement of two lists of grades by item. Intervals: Bonett and Wright 2000 (Sample size requirements for
    estimating Pearson, Kendall and Spearman correlations) for the two rank correlations; McGraw and Wong 1996 (Forming
    inferences about some intraclass correlation coefficients) for ICC(C,1)."""
    from scipy import stats

    shared = sorted(first.keys() & second.keys())
    x, y = ([grades[item] for item in shared] for grades in (first, second))
    if len(shared) < MIN_ANSWERS or len(set(x)) == 1 or len(set(y)) == 1:
        return Rank(items=len(shared))
    tests: list[Any] = [stats.spearmanr(x, y), stats.kendalltau(x, y)]
    spearman, kendall = (float(found.statistic) for found in tests)
    return Rank(
        items=len(shared),
        spearman=_by_fisher(spearman, math.sqrt((1 + spearman**2 / 2) / (len(x) - 3))),
        kendall=_by_fisher(kendall, math.sqrt(0.437 / (len(x) - 4))),
        icc=_consistency(x, y),
    )


def _by_fisher(correlation: float, error: float) -> Interval:
    """The interval of a correlation from the standard error of its Fisher transform; a perfect one has no width."""
    if math.isclose(abs(correlation), 1):
        whole = math.copysign(1.0, correlation)
        return Interval(whole, whole, whole)
    middle = math.atanh(correlation)
    return Interval(correlation, math.tanh(middle - Z * error), math.tanh(middle + Z * error))


def _consistency(x: Sequence[float], y: Sequence[float]) -> Interval:
    """ICC(C,1) of two raters, from the ratio of the variance between items to that within them."""
    from scipy.special import fdtri

    between = statistics.variance([a + b for a, b in zip(x, y, strict=True)]) / 2
    within = statistics.variance([a - b for a, b in zip(x, y, strict=True)]) / 2
    if not within:
        return Interval(1.0, 1.0, 1.0)
    ratio, bound = between / within, float(fdtri(len(x) - 1, len(x) - 1, 0.975))
    return Interval(*((f - 1) / (f + 1) for f in (ratio, ratio / bound, ratio * bound)))


def length_slope(answers: Sequence[tuple[str, float]]) -> LengthSlope:
    """Linear regression of score on log2 of the number of words, from (text, score) pairs. Without a slope below
    `MIN_ANSWERS` answers or where all answers have the same length."""
    lengths = [math.log2(max(1, len(words(text)))) for text, _ in answers]
    if len(answers) < MIN_ANSWERS or len(set(lengths)) == 1:
        return LengthSlope(slope_per_doubling=None, p=None, answers=len(answers))
    from scipy import stats

    fit: Any = stats.linregress(lengths, [score for _, score in answers])
    return LengthSlope(slope_per_doubling=float(fit.slope), p=float(fit.pvalue), answers=len(answers))
