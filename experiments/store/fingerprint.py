"""The identity of a result: values as canonical JSON, and their fingerprint.

Fields at their default are left out, so adding an option changes no existing fingerprint; fields marked
`identity: False` (paths, hosts, worker counts) never enter; a value without a faithful encoding is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def encode(value: object) -> Json:
    """A value as JSON that is equal exactly when the values mean the same. A part with an `identity()` method is
    encoded as what that returns instead of its fields. Raises TypeError for a value without a faithful encoding."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"identity: {value} cannot be part of a fingerprint; use finite numbers")
        return value
    if is_dataclass(value) and not isinstance(value, type):
        own: Callable[[], Mapping[object, object]] | None = getattr(value, "identity", None)
        content = own() if own else _identifying(value)
        return {"kind": type(value).__name__, **_encode_mapping(content)}
    if isinstance(value, Mapping):
        return _encode_mapping(cast(Mapping[object, object], value))
    if isinstance(value, list | tuple):
        return [encode(item) for item in cast(Sequence[object], value)]
    raise TypeError(f"identity: cannot encode a {type(value).__name__} faithfully; use dataclasses and plain values")


def _encode_mapping(mapping: Mapping[object, object]) -> dict[str, Json]:
    named = {key: item for key, item in mapping.items() if isinstance(key, str)}
    if len(named) < len(mapping):
        raise TypeError(f"identity: keys must be text, got {list(mapping)}")
    return {key: encode(named[key]) for key in sorted(named)}


def _identifying(value: DataclassInstance) -> Mapping[object, object]:
    return {f.name: getattr(value, f.name) for f in fields(value) if _identifies(f, value)}


def _identifies(field: Field[object], value: object) -> bool:
    """True for a field that enters the identity of `value`: not marked as outside it, and not at its default."""
    if not field.metadata.get("identity", True):
        return False
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    return default is MISSING or getattr(value, field.name) != default


def fingerprint(value: Json) -> str:
    """12 hex digits of the sha256 of canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def difference(old: Json, new: Json, path: str = "") -> list[str]:
    """Field-by-field differences, one line each: `path: old -> new`; none exactly where the fingerprints are equal.
    A field that only one side has is at its default on the other."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines: list[str] = []
        for key in sorted(old.keys() | new.keys()):
            where = f"{path}.{key}" if path else key
            if key in old and key in new:
                lines += difference(old[key], new[key], where)
            else:
                before, after = (_short(side[key]) if key in side else "(default)" for side in (old, new))
                lines.append(f"{where}: {before} -> {after}")
        return lines
    return [] if fingerprint(old) == fingerprint(new) else [f"{path}: {_short(old)} -> {_short(new)}"]


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:40]}… ({len(text)} characters)"
