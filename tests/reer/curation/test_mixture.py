"""Mixtures have the given sizes, and do not depend on the order of arrival."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reer.curation.mixture import Mixture, mix
from reer.errors import InputError
from reer.types import Message, Sample

relaxed = settings(deadline=None, max_examples=80)


def samples(kind: str, count: int) -> list[Sample]:
    turns = (Message("user", "q"), Message("assistant", "a"))
    return [
        Sample(id=f"{kind}-{i}", messages=turns, source=kind, category="others", thinking="", answer="a")
        for i in range(count)
    ]


sizes = st.integers(1, 20)


@relaxed
@given(sizes, sizes, sizes, sizes, st.integers(0, 9))
def test_a_mixture_has_its_stated_sizes_or_all_there_is(a: int, b: int, want_a: int, want_b: int, seed: int) -> None:
    rows = mix({"a": samples("a", a), "b": samples("b", b)}, {"a": want_a, "b": want_b}, seed)
    assert [sum(row.source == kind for row in rows) for kind in "ab"] == [min(a, want_a), min(b, want_b)]
    assert len({row.id for row in rows}) == len(rows)


@relaxed
@given(st.permutations(samples("a", 8)), st.permutations(samples("b", 5)))
def test_the_order_of_arrival_changes_nothing(first: list[Sample], second: list[Sample]) -> None:
    shuffled = mix({"b": second, "a": first}, {"a": 4, "b": 3}, seed=1)
    assert shuffled == mix({"a": samples("a", 8), "b": samples("b", 5)}, {"a": 4, "b": 3}, seed=1)


@relaxed
@given(sizes, sizes)
def test_a_larger_mixture_contains_the_smaller(small: int, large: int) -> None:
    few, many = (mix({"a": samples("a", 20)}, {"a": size}, seed=0) for size in sorted((small, large)))
    assert {row.id for row in few} <= {row.id for row in many}


def test_a_parts_rows_do_not_depend_on_the_other_parts() -> None:
    alone = mix({"a": samples("a", 20)}, {"a": 5}, seed=0)
    together = mix({"a": samples("a", 20), "b": samples("b", 20)}, {"a": 5, "b": 9}, seed=0)
    assert [row for row in together if row.source == "a"] == alone


def test_another_seed_changes_members_and_order() -> None:
    mixtures = [[row.id for row in mix({"a": samples("a", 20)}, {"a": 10}, seed)] for seed in range(4)]
    assert len({tuple(ids) for ids in mixtures}) == 4
    assert len({tuple(sorted(ids)) for ids in mixtures}) == 4


def test_a_part_without_rows_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match="the part 'b' has no rows"):
        mix({"a": samples("a", 1), "b": []}, {"a": 1, "b": 1}, seed=0)


def test_a_mixture_without_parts_is_refused() -> None:
    with pytest.raises(InputError, match="needs at least one"):
        Mixture(name="none", synthetic=False, public=False)


@pytest.mark.parametrize(
    ("synthetic", "public", "chosen"), [(True, False, {"synthetic": 1}), (False, True, {"public": 2})]
)
def test_what_a_mixture_does_not_use_is_left_out(synthetic: bool, public: bool, chosen: dict[str, int]) -> None:
    assert Mixture(name="m", synthetic=synthetic, public=public).choose(synthetic=1, public=2) == chosen


def test_shares_give_doses_of_each_part_and_none_leaves_it_out() -> None:
    half = Mixture(name="m", synthetic=True, public=True, synthetic_share=0.5, public_share=0)
    assert half.sizes(9, 4) == (4, 0)
    assert half.choose(synthetic="s", public="p") == {"synthetic": "s"}, "no stage is computed for it"
    assert replace(half, synthetic_share=0.01, public_share=1).sizes(9, 4) == (1, 4)
    with pytest.raises(InputError, match="needs at least one part"):
        replace(half, synthetic_share=0)
