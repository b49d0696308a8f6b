"""Fingerprints: equal exactly when the meaning is, and nothing in them that is not identity."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from experiments.store.fingerprint import difference, encode, fingerprint

relaxed = settings(deadline=None, max_examples=150)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@dataclass(frozen=True)
class Part:
    size: int
    path: str = field(default="here", metadata={"identity": False})
    extra: tuple[str, ...] = ()
    knobs: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Other:
    size: int


@dataclass(frozen=True)
class Whole:
    part: Part | Other
    limit: float | None = None


@dataclass(frozen=True)
class Digested:
    path: str

    def identity(self) -> dict[str, Any]:
        return {"digest": self.path.upper()}


def test_a_part_is_its_kind_and_its_fields() -> None:
    assert encode(Whole(Part(3))) == {"kind": "Whole", "part": {"kind": "Part", "size": 3}}


def test_fields_at_their_default_are_left_out_so_a_new_knob_orphans_nothing() -> None:
    assert encode(Part(3, extra=(), knobs={})) == {"kind": "Part", "size": 3}
    assert encode(Part(3, extra=("x",), knobs={"b": 1})) == {
        "kind": "Part",
        "size": 3,
        "extra": ["x"],
        "knobs": {"b": 1},
    }


def test_what_is_not_identity_never_enters() -> None:
    assert encode(Part(3, path="elsewhere")) == encode(Part(3))


def test_a_part_with_an_identity_of_its_own_gives_that() -> None:
    assert encode(Digested("abc")) == {"kind": "Digested", "digest": "ABC"}


def test_two_classes_with_equal_fields_differ() -> None:
    assert fingerprint(encode(Whole(Part(3)))) != fingerprint(encode(Whole(Other(3))))


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        Path("x"),
        {1, 2},
        b"x",
        object(),
        Part,
        {1: "x"},
        {"a": [{None: 1}]},
        1j,
    ],
)
def test_what_has_no_faithful_encoding_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="identity"):
        encode({"value": value})


@relaxed
@given(values)
def test_plain_values_encode_to_themselves(value: Any) -> None:
    assert encode(value) == value
    assert fingerprint(encode(value)) == fingerprint(encode(value))


@relaxed
@given(st.dictionaries(st.text(), values))
def test_the_order_of_keys_changes_nothing(value: dict[str, Any]) -> None:
    assert fingerprint(encode(dict(reversed(value.items())))) == fingerprint(encode(value))


@relaxed
@given(values, values)
@example(1, True)
@example(1, 1.0)
@example(["a", "b"], ["a,b"])
@example({"a": None}, {})
@example({"limit": {"a": None}}, {"limit": {}})
@example({}, [])
@example("", None)
def test_there_is_a_difference_exactly_where_fingerprints_differ(old: Any, new: Any) -> None:
    assert bool(difference(old, new)) == (fingerprint(old) != fingerprint(new))
    assert difference(old, old) == []


def test_a_tuple_is_a_list() -> None:
    assert encode((1, (2,))) == [1, [2]]


def test_a_fingerprint_is_twelve_stable_hex_digits() -> None:
    assert fingerprint({"stage": "draft", "values": {"b": [1.5, None], "a": "é"}}) == "fd5cc1b655f2"


def test_half_a_surrogate_pair_has_a_fingerprint() -> None:
    assert len(fingerprint("\ud83d")) == 12


def test_differences_are_named_by_their_path() -> None:
    old = {"train": {"epochs": 2, "lr": 0.1}, "seed": 0, "names": ["a"]}
    new = {"train": {"epochs": 3, "lr": 0.1}, "seed": 0, "names": ["a", "b"]}
    assert difference(old, new) == ['names: ["a"] -> ["a", "b"]', "train.epochs: 2 -> 3"]


def test_a_field_that_one_side_leaves_out_stands_at_its_default() -> None:
    assert difference({"a": {"x": 1}}, {"a": {"y": None}}) == ["a.x: 1 -> (default)", "a.y: (default) -> null"]


def test_long_values_are_shortened() -> None:
    (line,) = difference({"prompt": "x" * 500}, {"prompt": "y"})
    assert len(line) < 90
    assert "(502 characters)" in line
