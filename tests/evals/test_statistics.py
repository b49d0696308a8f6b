"""Paired comparison on shared items: known cases, gaps, and no number where there is nothing to say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.statistics import Difference, detectable, holm, paired_difference

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


def test_holms_correction_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_what_could_be_detected_shrinks_with_the_root_of_the_items() -> None:
    assert detectable(1.0, 100) == pytest.approx(0.280, abs=1e-3)
    assert detectable(1.0, 400) == pytest.approx(detectable(1.0, 100) / 2)
    found = paired_difference(shifted(1.0, 2.0, 3.0), BASE)
    assert found is not None
    assert found.detectable == pytest.approx(detectable(float(np.std([1.0, 2.0, 3.0] * 4, ddof=1)), 12))


def simulated(effect: float, items: int, tries: int, seed: int = 0) -> list[Difference]:
    """Paired scores of 1 to 10 whose true difference is known, as judges give them: coarse and correlated."""
    random, found = np.random.default_rng(seed), []
    for _ in range(tries):
        hard = random.normal(5.5, 1.2, items)  # rarely near an end of the scale, which would shrink an effect
        base = np.clip(np.round(hard + random.normal(0, 1, items)), 1, 10)
        arm = np.clip(np.round(hard + effect + random.normal(0, 1, items)), 1, 10)
        scores = [{f"i{n}": float(value) for n, value in enumerate(side)} for side in (arm, base)]
        difference = paired_difference(*scores)
        assert difference is not None
        found.append(difference)
    return found


def test_without_an_effect_one_in_twenty_is_called_one_and_intervals_cover_nothing() -> None:
    """1,000 tries: the rates' own standard errors are 0.7 %. Sums of whole grades tie, which makes p a little large."""
    found = simulated(0.0, 40, 1000)
    wrong = sum(d.p is not None and d.p < 0.05 for d in found) / len(found)
    covered = sum(d.low is not None and d.high is not None and d.low <= 0 <= d.high for d in found) / len(found)
    print(f"under the null, 40 items, 1,000 tries: called significant {wrong:.3f}, interval covers 0 {covered:.3f}")
    assert 0.025 <= wrong <= 0.065
    assert 0.925 <= covered <= 0.975


def test_an_effect_as_large_as_is_said_to_be_detectable_is_found_four_times_in_five() -> None:
    told = np.median([d.detectable for d in simulated(0.0, 40, 50)])
    found = simulated(float(told), 40, 300, seed=1)
    power = sum(d.p is not None and d.p < 0.05 for d in found) / len(found)
    print(f"true difference {told:.2f}, 40 items: found in {power:.2f} of 300 tries")
    assert 0.65 <= power <= 0.9  # p is a little large, see above, and the approximation a little hopeful
