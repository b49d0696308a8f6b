"""Rows matched to another arm: the stated quantity is equal, and no row is invented."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer.errors import InputError
from reer.training.chat_format import MASKED, Rendered
from reer.training.matching import Match, matched, trained_tokens


def rows(sizes: list[int], name: str = "r") -> list[Rendered]:
    return [Rendered(f"{name}{i}", "t", (1, *[5] * n), (MASKED, *[5] * n)) for i, n in enumerate(sizes)]


sizes = st.lists(st.integers(1, 50), min_size=1, max_size=30)


@given(sizes, sizes, st.integers(1, 8), st.integers(0, 3))
def test_steps_are_those_of_the_other_arm(own: list[int], other: list[int], batch: int, seed: int) -> None:
    chosen = matched(rows(own), rows(other, "o"), Match("steps", seed=seed), batch)
    assert -(-len(chosen) // batch) == -(-len(other) // batch)
    times = Counter(row.id for row in chosen)
    assert max(times.values()) - min(times.get(row.id, 0) for row in rows(own)) <= 1  # no row is preferred


@given(sizes, sizes, st.integers(0, 3))
def test_trained_tokens_are_as_near_as_whole_rows_allow(own: list[int], other: list[int], seed: int) -> None:
    chosen = matched(rows(own), rows(other, "o"), Match("tokens", seed=seed), 2)
    assert abs(sum(map(trained_tokens, chosen)) - sum(other)) <= max(own) / 2 or len(chosen) == 0


@given(sizes, sizes)
def test_rows_are_left_out_and_never_repeated(own: list[int], other: list[int]) -> None:
    if len(own) < len(other):
        with pytest.raises(InputError, match=r"match=rows: this arm has .* Match the larger to the smaller"):
            matched(rows(own), rows(other, "o"), Match("rows"), 2)
        return
    chosen = [row.id for row in matched(rows(own), rows(other, "o"), Match("rows"), 2)]
    assert len(chosen) == len(set(chosen)) == len(other)


def test_another_seed_draws_other_rows_and_the_same_seed_the_same_rows() -> None:
    own, other = rows([3] * 20), rows([3] * 7, "o")
    first, again, second = (matched(own, other, Match("rows", seed=seed), 2) for seed in (0, 0, 1))
    assert first == again != second


def test_an_arm_with_the_wanted_steps_keeps_its_rows() -> None:
    own = rows([1, 2, 3])
    assert matched(own, rows([1, 1, 1, 1], "o"), Match("steps"), 2) == own
