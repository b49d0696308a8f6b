"""The interaction of a difference with groups of items: its error rate, its power, and what shrinking does."""

from itertools import permutations

import numpy as np
import pytest

from evals.statistics.heterogeneity import Heterogeneity, heterogeneity

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


def found_in(**groups: list[float]) -> Heterogeneity:
    """The heterogeneity of differences that are listed by group."""
    of_items = {f"{group}{n}": (group, value) for group, values in groups.items() for n, value in enumerate(values)}
    found = heterogeneity(
        {item: value for item, (_, value) in of_items.items()}, {item: group for item, (group, _) in of_items.items()}
    )
    assert found is not None
    return found


def test_p_is_the_share_of_all_assignments_whose_group_means_vary_as_much() -> None:
    groups = {"a": [3.0, 1.0], "b": [0.0, 1.0], "c": [0.0, -1.0, 0.5, 0.0]}
    values = np.concatenate(list(groups.values()))
    assigned = values[np.array(list(permutations(range(8))))]  # the first row is what was observed
    parts = np.split(assigned, [2, 4], axis=1)
    spread = sum((part.shape[1] * (part.mean(axis=1) - values.mean()) ** 2 for part in parts), np.zeros(1))
    share = float(np.mean(spread >= spread[0] - 1e-9))
    assert found_in(**groups).p == pytest.approx(share, abs=3 * (share * (1 - share) / 5000) ** 0.5)


def test_groups_of_different_sizes_are_weighted_by_their_errors() -> None:
    """By hand: sums of squares within of 2, 2 and 4 with 5 degrees of freedom make a variance of 1.6, and that of the
    means is 4."""
    found = found_in(a=[-3, -1], b=[-1, 1], c=[1, 3, 1, 3])
    errors = np.array([0.8, 0.8, 0.4])
    between, means = 4 - errors.mean(), np.array([-2, 0, 2])
    weights = 1 / (errors + between)
    grand = (weights * means).sum() / weights.sum()
    assert [g.error for g in found.groups] == pytest.approx(np.sqrt(errors))
    assert [g.shrunk for g in found.groups] == pytest.approx(grand + between * weights * (means - grand))
    assert (found.mean, [g.items for g in found.groups]) == (0.5, [2, 2, 4])


def test_groups_without_any_spread_keep_their_means() -> None:
    assert [(g.mean, g.shrunk, g.error) for g in found_in(a=[1, 1], b=[2, 2], c=[3, 3]).groups] == [
        (1, 1, 0),
        (2, 2, 0),
        (3, 3, 0),
    ]


def test_an_item_without_a_group_and_a_group_of_one_item_are_left_out() -> None:
    differences = {"z": 1.0, "y": 3.0, "b": 0.0, "a": 2.0, "single": 9.0, "without": 9.0}
    found = heterogeneity(differences, {"z": "late", "y": "late", "b": "early", "a": "early", "single": "alone"})
    assert found is not None
    assert [(g.group, g.items, g.mean) for g in found.groups] == [("early", 2, 1.0), ("late", 2, 2.0)]
    assert found.mean == 1.5


def test_equal_seeds_make_equal_assignments() -> None:
    differences = drawn(1, {})
    assert heterogeneity(differences, GROUPS) == heterogeneity(differences, GROUPS, seed=0)
    assert heterogeneity(differences, GROUPS) != heterogeneity(differences, GROUPS, seed=1)
