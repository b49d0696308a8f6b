"""Builds parts (frozen dataclasses) from plain data of a plan or a task file, every key and value checked.

A part that can be one of several classes names its class under `kind`; a part whose class follows from the type of the
field needs no `kind`. The table of classes belongs to the caller. Nothing here depends on Hydra.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from inspect import isabstract
from types import UnionType
from typing import Annotated, Any, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints, overload

from pydantic import AfterValidator, Field, NonNegativeFloat, ValidationError

from reer.errors import InputError, near
from reer.files import adapter

LISTED_KINDS = 15  # a message lists up to this many kinds
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,79}")


def _path_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("want 1 to 80 of A-Z a-z 0-9 . _ + = - beginning with a letter or digit")
    return text


Name = Annotated[str, AfterValidator(_path_name)]
"""A name that may become part of a path: it names one file or folder, never another place."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed that every random generator in use accepts."""
Share = Annotated[float, Field(ge=0, le=1)]
TopP = Annotated[float, Field(gt=0, le=1)]
"""The probability mass that is sampled from."""
Temperature = NonNegativeFloat
"""A sampling temperature; 0 is greedy."""

Part = TypeVar("Part")
Hint = Any  # a type annotation: a class, a union, a generic alias, or typing.Any


def refuse_other_sum(what: str, shares: Mapping[str, float]) -> None:
    """Raise InputError for shares that do not add up to 1; `what` begins the message."""
    if not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-6):
        given = ", ".join(f"{name} {share:g}" for name, share in shares.items()) or "none"
        raise InputError(f"{what} want to add up to 1, got {sum(shares.values()):g} ({given})")


@overload
def build(content: Mapping[str, object], kinds: Mapping[str, type], path: str = "") -> object: ...
@overload
def build(content: Mapping[str, object], kinds: Mapping[str, type], path: str, expected: type[Part]) -> Part: ...
def build(
    content: Mapping[str, object], kinds: Mapping[str, type], path: str = "", expected: type[object] = object
) -> object:
    """The part that `content` describes, with the parts inside it.

    content:  field names and values; `kind` names the class in `kinds`, and may be left out where `expected` is the
              dataclass itself
    path:     the key of the part, for messages (`benchmark.writing`)
    expected: the class that the part must be an instance of

    Raises InputError, naming the full key, for an unknown key (with the nearest known one), an unknown kind, a missing
    field, a value that its field refuses, a number that is not finite, and a part of another class than expected.
    """
    part = _part(content, expected, kinds, path)
    if not isinstance(part, expected):
        raise InputError(f"{path or 'part'}: expected a {expected.__name__}, got a {type(part).__name__}")
    return part


def kinds_of(classes: Iterable[type]) -> dict[str, type]:
    """These dataclasses and all dataclasses that occur in the types of their fields, by class name."""
    waiting, kinds = list(classes), dict[str, type]()
    while waiting:
        cls = waiting.pop()
        if cls.__name__ not in kinds:
            kinds[cls.__name__] = cls
            waiting += [inner for hint in _hints(cls).values() for inner in _dataclasses(hint)]
    return kinds


@cache
def _hints(cls: type) -> dict[str, Hint]:
    return get_type_hints(cls)


def _dataclasses(hint: Hint) -> list[type]:
    """All dataclasses inside an annotation."""
    if isinstance(hint, type) and is_dataclass(hint):
        return [hint]
    return [cls for argument in get_args(hint) for cls in _dataclasses(argument)]


def _built(value: object, hint: Hint, kinds: Mapping[str, type], path: str) -> object:
    """The value with every description of a part replaced by the part; other values are left for pydantic to check."""
    if isinstance(value, Mapping):
        if "kind" in value or _wants_part(hint):
            return _part(value, hint, kinds, path)
        inner_hint = _item_hint(hint)
        return {key: _built(inner, inner_hint, kinds, _join(path, key)) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        inner_hint = _item_hint(hint)
        return [_built(inner, inner_hint, kinds, f"{path}[{i}]") for i, inner in enumerate(value)]
    return value


def _part(content: Mapping[str, object], hint: Hint, kinds: Mapping[str, type], path: str) -> object:
    cls = _class_of(content, hint, kinds, path)
    return _constructed(cls, {key: value for key, value in content.items() if key != "kind"}, kinds, path)


def _options(hint: Hint) -> list[Hint]:
    """The members of a union without None; of any other annotation, itself."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [member for member in members if member is not type(None)]


def _wants_part(hint: Hint) -> bool:
    """Whether a mapping can only be the description of a part here."""
    return any(member is Any or _is_protocol(member) or is_dataclass(member) for member in _options(hint))


def _is_protocol(hint: Hint) -> bool:
    return isinstance(hint, type) and Protocol in hint.__bases__


def _item_hint(hint: Hint) -> Hint:
    """The annotation of a container's values; `object` where it has none."""
    for member in _options(hint):
        arguments = [argument for argument in get_args(member) if argument is not Ellipsis]
        if arguments and get_origin(member) is not None:
            return arguments[-1]
    return object


def _class_of(value: Mapping[str, object], hint: Hint, kinds: Mapping[str, type], path: str) -> type:
    kind = value.get("kind")
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]
    concrete = [cls for cls in _options(hint) if is_dataclass(cls) and isinstance(cls, type) and not isabstract(cls)]
    if kind is None and len(concrete) == 1:
        return concrete[0]
    wanted = f"one of {', '.join(kinds)}" if len(kinds) <= LISTED_KINDS else "the name of a part"
    raise InputError(f"{_join(path, 'kind')}: expected {wanted}, got {kind!r}{near(str(kind), kinds)}")


def _constructed(cls: type, content: Mapping[str, object], kinds: Mapping[str, type], path: str) -> object:
    known = [field.name for field in fields(cls) if field.init]
    for name in content:
        if name not in known:
            raise InputError(f"{_join(path, name)}: unknown key; want one of {', '.join(known)}{near(name, known)}")
    hints = _hints(cls)
    arguments = {name: _built(value, hints[name], kinds, _join(path, name)) for name, value in content.items()}
    _refuse_not_finite(arguments, path)
    try:
        part = adapter(cls).validate_python(arguments)
    except ValidationError as error:
        raise _explained(error, path) from None
    _refuse_not_finite({name: getattr(part, name) for name in arguments}, path)  # a text may have become a number
    return part


def _refuse_not_finite(value: object, path: str) -> None:
    """Raise InputError for a number inside plain data that is NaN or infinite: comparisons with it have no meaning."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{path}: want a finite number, got {value}")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_not_finite(inner, _join(path, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _refuse_not_finite(inner, f"{path}[{index}]")


def _explained(error: ValidationError, path: str) -> InputError:
    """The first complaint, naming the key. What a part's own `__post_init__` raised is passed on as it is."""
    first = error.errors()[0]
    cause = first["ctx"]["error"] if "ctx" in first and "error" in first["ctx"] else None
    if isinstance(cause, InputError):
        return cause
    key = path
    for name in first["loc"]:
        key = f"{key}[{name}]" if isinstance(name, int) else _join(key, name)
    if first["type"] == "missing":
        return InputError(f"{key}: a value is required")
    message = first["msg"].removeprefix("Value error, ")
    return InputError(f"{key}: {message}, got {first['input']!r}")


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)
