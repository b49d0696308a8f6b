"""Holm's correction for a family of arms."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from evals.statistics.multiplicity import correct_family, holm
from evals.statistics.paired import Difference


def test_holms_correction_agrees_with_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_correction_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


def test_both_p_values_are_corrected_and_untested_differences_do_not_count() -> None:
    family = [
        Difference(mean=0.1, items=20, p=0.02, p_equivalent=0.03),
        Difference(mean=0.1, items=20),
        Difference(mean=0.1, items=20, p=0.04),
    ]
    corrected = correct_family(family)
    assert [d.p_holm for d in corrected] == [pytest.approx(0.04), None, pytest.approx(0.04)]
    assert [d.p_equivalent_holm for d in corrected] == [pytest.approx(0.03), None, None]
