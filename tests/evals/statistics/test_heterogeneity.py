"""The interaction of a difference with groups of items: its error rate, its power, and what shrinking does."""

import numpy as np
import pytest

from evals.statistics.heterogeneity import heterogeneity

ITEMS = [f"i{n:03d}" for n in range(60)]
GROUPS = {item: "abc"[n % 3] for n, item in enumerate(ITEMS)}


def drawn(seed: int, effects: dict[str, float]) -> dict[str, float]:
    noise = np.random.default_rng(seed).normal(size=len(ITEMS))
    return {item: float(x) + effects.get(GROUPS[item], 0.0) for item, x in zip(ITEMS, noise, strict=True)}


def test_equal_groups_are_found_uneven_as_often_as_stated() -> None:
    tests = [heterogeneity(drawn(seed, {"a": 0.0}), GROUPS) for seed in range(100)]
    rejected = sum(found is not None and found.p < 0.05 for found in tests)
    assert 1 <= rejected <= 11, "5 % of 100, and the ends of its 99.5 % interval"


def test_a_group_that_differs_is_found_and_shrunk_less_than_noise() -> None:
    uneven, even = heterogeneity(drawn(1, {"a": 2.0}), GROUPS), heterogeneity(drawn(1, {}), GROUPS)
    assert uneven is not None
    assert even is not None
    assert uneven.p < 0.01
    assert even.p > 0.05
    for found, kept in ((uneven, 0.8), (even, 0.0)):
        raw = [g.mean - found.mean for g in found.groups]
        shrunk = [g.shrunk - found.mean for g in found.groups]
        assert max(map(abs, shrunk)) <= max(map(abs, raw)) + 1e-9
        assert max(map(abs, shrunk)) >= kept * max(map(abs, raw))
    assert [g.items for g in uneven.groups] == [20, 20, 20]


def test_a_constant_difference_is_even() -> None:
    found = heterogeneity(dict.fromkeys(ITEMS, 1.0), GROUPS)
    assert found is not None
    assert found.p == 1.0
    assert [g.shrunk for g in found.groups] == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize("groups", [{}, dict.fromkeys(ITEMS, "a"), {**dict.fromkeys(ITEMS[1:], "a"), ITEMS[0]: "b"}])
def test_fewer_than_two_groups_have_no_test(groups: dict[str, str]) -> None:
    assert heterogeneity(drawn(0, {}), groups) is None


def test_group_means_are_kept_by_the_share_of_their_spread_that_chance_leaves() -> None:
    """Three groups of two items: the variance between means is 4 and that of an error 1, so three quarters are kept."""
    spread = 1.0
    differences = {
        f"{group}{n}": mean + (2 * n - 1) * spread
        for group, mean in zip("abc", (-2, 0, 2), strict=True)
        for n in (0, 1)
    }
    found = heterogeneity(differences, {item: item[0] for item in differences})
    assert found is not None
    assert [(g.mean, g.error) for g in found.groups] == [(-2, 1), (0, 1), (2, 1)], "pooled variance 2, of two items"
    assert [g.shrunk for g in found.groups] == pytest.approx([-1.5, 0, 1.5])
    assert (found.mean, found.groups[0].group, found.groups[0].items) == (0, "a", 2)
