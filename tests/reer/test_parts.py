"""Parts from plain data: nested classes by kind, every unknown key refused with the nearest name, every key named."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from pydantic import PositiveInt

from reer.errors import InputError
from reer.parts import Name, build, kinds_of


@dataclass(frozen=True)
class Weights:
    path: str
    dtype: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class Server:
    url: str


@dataclass(frozen=True)
class Limits:
    attempts: PositiveInt = 1


@dataclass(frozen=True)
class Model:
    weights: Any
    limits: Limits = Limits()
    fallback: Weights | None = None
    by_name: dict[str, Limits] = field(default_factory=dict)
    ladder: tuple[Limits, ...] = ()
    note: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "bad" in self.note:
            raise InputError("model.note: bad is reserved")


KINDS = {"weights": Weights, "server": Server, "model": Model}
FULL = {
    "kind": "model",
    "weights": {"kind": "weights", "path": "p"},
    "limits": {"attempts": 2},
    "fallback": {"path": "q", "dtype": "bfloat16"},
    "by_name": {"slow": {"attempts": 3}},
    "ladder": [{"attempts": 4}, {}],
    "note": {"any": 1},
}


def test_nested_parts_are_built_by_kind_or_by_the_type_of_their_field() -> None:
    wanted = Model(
        Weights("p"), Limits(2), Weights("q", "bfloat16"), {"slow": Limits(3)}, (Limits(4), Limits()), {"any": 1}
    )
    assert build(FULL, KINDS, "judge", Model) == wanted


def test_the_expected_class_needs_no_kind() -> None:
    assert build({"attempts": 5}, {}, "limits", Limits) == Limits(5)
    assert build({"kind": "server", "url": "u"}, KINDS) == Server("u")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit": {}}, r"judge\.limit: unknown key; want one of weights, limits.*; did you mean limits\?"),
        ({"limits": {"atempts": 1}}, r"judge\.limits\.atempts: unknown key; .*did you mean attempts\?"),
        ({"by_name": {"slow": {"atempts": 1}}}, r"judge\.by_name\.slow\.atempts: unknown key"),
        ({"ladder": [{}, {"atempts": 1}]}, r"judge\.ladder\[1\]\.atempts: unknown key"),
        ({"fallback": {"pth": "p"}}, r"judge\.fallback\.pth: unknown key; .*did you mean path\?"),
        ({"weights": {"kind": "server", "ulr": "u"}}, r"judge\.weights\.ulr: unknown key; .*did you mean url\?"),
        ({"weights": {"kind": "serve", "url": "u"}}, r"judge\.weights\.kind: expected one of .*'serve'; did you mean"),
        ({"weights": {"url": "u"}}, r"judge\.weights\.kind: expected one of weights, server, model, got None"),
        ({"weights": {"kind": "weights"}}, r"judge\.weights\.path: a value is required$"),
        ({"limits": {"attempts": 0}}, r"judge\.limits\.attempts: Input should be greater than 0, got 0"),
        ({"note": {"any": "x"}}, r"judge\.note\.any: .*integer.*got 'x'"),
        ({"weights": {"kind": "weights", "path": "p", "dtype": "int4"}}, r"judge\.weights\.dtype: .*got 'int4'"),
        ({"weights": {"kind": "weights", "path": {"a": 1}}}, r"judge\.weights\.path: .*valid string, got \{'a': 1\}"),
        ({"note": {"bad": 1}}, r"^model\.note: bad is reserved$"),
    ],
)
def test_what_cannot_be_built_is_refused_with_its_key(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build({**FULL, **change}, KINDS, "judge")


def test_a_part_of_another_class_than_expected_is_refused() -> None:
    with pytest.raises(InputError, match="judge: expected a Model, got a Server"):
        build({"kind": "server", "url": "u"}, KINDS, "judge", Model)


def test_a_description_without_any_kind_is_refused() -> None:
    with pytest.raises(InputError, match="kind: expected one of weights, server, model, got None"):
        build({"url": "u"}, KINDS)


def test_kinds_of_classes_include_the_classes_of_their_fields() -> None:
    assert kinds_of([Model, Server]) == {"Model": Model, "Server": Server, "Limits": Limits, "Weights": Weights}


@dataclass(frozen=True)
class Prices:
    usd: float
    by_size: dict[str, float] = field(default_factory=dict)
    steps: tuple[float, ...] = ()
    anything: Any = None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, "nan", "inf", "-Infinity"])
@pytest.mark.parametrize(
    ("key", "path"), [("usd", "usd"), ("by_size", r"by_size\.big"), ("steps", r"steps\[1\]"), ("anything", "anything")]
)
def test_a_number_that_is_not_finite_is_refused_wherever_it_is(key: str, path: str, number: float | str) -> None:
    if key == "anything" and isinstance(number, str):
        pytest.skip("a text stays a text where any value may be")
    value = {"usd": number, "by_size": {"big": number}, "steps": [1.0, number], "anything": number}[key]
    with pytest.raises(InputError, match=rf"^prices\.{path}: want a finite number, got -?(nan|inf)$"):
        build({"usd": 1.0, key: value}, {}, "prices", Prices)


@dataclass(frozen=True)
class Named:
    name: Name


@pytest.mark.parametrize(
    "name", ["../../x", "a/b", "/etc/x", "..", ".hidden", "", "a b", "a\nb", "a\x00", "é", "🙂", "-x", "a" * 81, "a\n"]
)
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"^part\.name: want 1 to 80 of A-Z a-z 0-9 \. _ \+ = - beginning with"):
        build({"name": name}, {}, "part", Named)


@pytest.mark.parametrize("name", ["full+search=single_pass", "gpt-4o-2024-05-13", "Qwen2.5-7B", "a" * 80])
def test_an_ordinary_name_is_accepted(name: str) -> None:
    assert build({"name": name}, {}, "part", Named) == Named(name)
