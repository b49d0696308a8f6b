"""The equivalence margin and two one-sided tests against it."""

import numpy as np
import pytest
from scipy import stats

from evals.statistics.equivalence import equivalence_margin
from evals.statistics.paired import paired_difference
from tests.fakes.scores import BASELINE, shifted


def test_the_margin_is_a_share_of_a_known_range() -> None:
    assert equivalence_margin(1.0, 10.0) == pytest.approx(0.225)
    assert equivalence_margin(100.0, 0.0) == pytest.approx(2.5)
    assert equivalence_margin(None, 10.0) is None
    assert equivalence_margin(1.0, None) is None


def test_equivalence_is_two_one_sided_tests_and_needs_a_margin() -> None:
    """Never below Student's p-values."""
    arm = shifted(0.1, -0.1, 0.2)
    values = np.array([arm[item] - (BASELINE[item] or 0.0) for item in BASELINE])  # type: ignore[operator]
    sides = [stats.ttest_1samp(values, -0.3, alternative="greater"), stats.ttest_1samp(values, 0.3, alternative="less")]
    difference = paired_difference(arm, BASELINE, margin=0.3)
    assert difference is not None
    assert difference.p_equivalent is not None
    assert max(side.pvalue for side in sides) <= difference.p_equivalent < 0.01
    assert difference.finding == "equivalent"
    known_worst = paired_difference(arm, BASELINE, margin=0.3, worst=-10.0)
    assert known_worst is not None
    assert known_worst.finding == "undecided", "one failed item would move the mean by 0.9"
    without_margin = paired_difference(arm, BASELINE)
    assert without_margin is not None
    assert (without_margin.p_equivalent, without_margin.finding) == (None, "undecided")
