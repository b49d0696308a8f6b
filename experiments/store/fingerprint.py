"""What identifies a result: values as canonical JSON, and their fingerprint.

Fields at their default are left out, so that a new knob orphans nothing; fields marked `identity: False` (paths,
hosts, worker counts) never enter; what cannot be encoded faithfully is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def encode(value: Any) -> Json:
    """A value as JSON that is equal exactly when the value means the same. A part with an `identity()` of its own
    gives that instead of its fields. Raises TypeError for what has no faithful encoding."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"identity: {value} has no place in a fingerprint")
        return value
    if is_dataclass(value) and not isinstance(value, type):
        own = getattr(value, "identity", None)
        content = own() if own else {f.name: getattr(value, f.name) for f in fields(value) if _counts(f, value)}
        return {"kind": type(value).__name__, **_encode_mapping(content)}
    if isinstance(value, Mapping):
        return _encode_mapping(value)
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    raise TypeError(f"identity: cannot encode a {type(value).__name__} faithfully; use dataclasses and plain values")


def _encode_mapping(mapping: Mapping[Any, Any]) -> dict[str, Json]:
    if not all(isinstance(key, str) for key in mapping):
        raise TypeError(f"identity: keys must be text, got {list(mapping)}")
    return {key: encode(mapping[key]) for key in sorted(mapping)}


def _counts(field: Field[Any], value: Any) -> bool:
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
    A field that only one side has stands at its default on the other."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
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
