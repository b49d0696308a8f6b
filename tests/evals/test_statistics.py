"""Paired comparison on shared items: known cases, gaps, and no number where there is nothing to say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.statistics import Difference, paired_difference

BASE: dict[str, float | None] = {f"i{n}": float(n % 5) for n in range(12)}


def shifted(*by: float) -> dict[str, float | None]:
    return {id: (score or 0.0) + by[n % len(by)] for n, (id, score) in enumerate(BASE.items())}


def test_a_clear_gain_has_an_interval_above_nothing_and_a_small_p() -> None:
    found = paired_difference(shifted(1.0, 2.0, 3.0), BASE)
    assert found is not None
    assert found.mean == pytest.approx(2.0)
    assert found.low is not None
    assert found.high is not None
    assert found.p is not None
    assert 1.0 < found.low < 2.0 < found.high < 3.0
    assert found.p < 0.01


def test_noise_around_nothing_is_not_significant() -> None:
    found = paired_difference(shifted(1.0, -1.0), BASE)
    assert found is not None
    assert found.p is not None
    assert found.mean == 0
    assert found.low < 0 < found.high  # type: ignore[operator]
    assert found.p > 0.5


def test_the_other_way_round_is_the_other_sign() -> None:
    arm = shifted(0.5, -0.25, 1.0, 0.0)
    there, back = paired_difference(arm, BASE), paired_difference(BASE, arm)
    assert there is not None
    assert back is not None
    assert there.mean == -back.mean
    assert there.p == pytest.approx(back.p, abs=0.02)  # type: ignore[arg-type]


def test_the_same_comparison_gives_the_same_numbers() -> None:
    arm = shifted(1.0, -0.5, 0.25)
    backwards = dict(reversed(arm.items()))
    assert paired_difference(arm, BASE) == paired_difference(backwards, BASE)


def test_only_items_scored_in_both_are_compared() -> None:
    arm: dict[str, float | None] = {"a": 3.0, "b": None, "c": 5.0, "only arm": 9.0}
    base: dict[str, float | None] = {"a": 1.0, "b": 1.0, "c": None, "only base": 0.0}
    assert paired_difference(arm, base) == Difference(2.0, None, None, None, 1)


@pytest.mark.parametrize(
    ("arm", "base"), [({}, {}), ({"a": 1.0}, {"b": 1.0}), ({"a": None}, {"a": 1.0}), ({"a": 1.0}, {"a": None})]
)
def test_without_a_shared_item_there_is_no_difference(
    arm: dict[str, float | None], base: dict[str, float | None]
) -> None:
    assert paired_difference(arm, base) is None


@pytest.mark.parametrize("items", [1, 2])
def test_under_three_items_there_is_no_interval(items: int) -> None:
    arm = {f"i{n}": 1.0 + n for n in range(items)}
    assert paired_difference(arm, dict.fromkeys(arm, 0.0)) == Difference(1.0 + (items - 1) / 2, None, None, None, items)


@pytest.mark.parametrize("by", [0.0, 1.0])
def test_without_variation_there_is_no_interval(by: float) -> None:
    assert paired_difference(shifted(by), BASE) == Difference(by, None, None, None, 12)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(-100, 100), min_size=3, max_size=8))
def test_the_interval_holds_the_mean_and_p_is_a_probability(differences: list[float]) -> None:
    arm = {f"i{n}": value for n, value in enumerate(differences)}
    found = paired_difference(arm, dict.fromkeys(arm, 0.0))
    assert found is not None
    assert found.items == len(differences)
    if found.low is not None and found.high is not None and found.p is not None:
        assert found.low - 1e-6 <= found.mean <= found.high + 1e-6
        assert 0 < found.p <= 1
