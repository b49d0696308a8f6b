"""Equivalence of two arms: a margin below which a difference is negligible."""

from __future__ import annotations

MARGIN_SHARE = 0.025
"""The equivalence margin as a share of a measure's range."""


def equivalence_margin(worst: float | None, best: float | None) -> float | None:
    """The largest difference that counts as negligible, in the measure's unit: 2.5 % of its range, which is 0.225 on
    grades of 1 to 10 and 2.5 points of 100. None where the range is unknown.

    The margin is a convention with an upper and a lower bound. It is smaller than most effects reported for REER's
    ablations: 13 of the 18 differences in the paper's table are larger, and the other five are read as effects there
    without a test. It is close to the smallest margin that can be tested: two one-sided tests need a margin of about
    three standard errors, which is 1.7 points on HelloBench's 200 open questions and 3 points on its 123 heuristic
    tasks (with the standard deviations of the published judgements).
    """
    return None if worst is None or best is None else MARGIN_SHARE * abs(best - worst)
