"""What a judge's reply says: one strict reading and one lenient, both by a JSON parser and nothing else.

A reply may quote the text under judgement, and that text may hold grades. So the last verdict counts, and a reply in
which something verdict-like does not parse is no verdict at all.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

_OPENS_KEY = re.compile(r'\s*"')
_BACKSLASH = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})?')


class Malformed(ValueError):
    """A judge's reply that is no verdict; the message is the reason that is counted."""


class Reader(Protocol):
    """A way to read replies. Each raises Malformed with the reason."""

    def object(self, reply: str) -> dict[str, Any]: ...

    def list(self, reply: str) -> list[Any]: ...

    def grade(self, value: Any, low: int, high: int) -> float: ...


@dataclass(frozen=True)
class Strict:
    """The last JSON object or list of a reply, prose or a fence around it allowed; grades are integers in range."""

    def object(self, reply: str) -> dict[str, Any]:
        return strict_object(reply)

    def list(self, reply: str) -> list[Any]:
        return strict_list(reply)

    def grade(self, value: Any, low: int, high: int) -> float:
        return float(whole_number(value, low, high))


@dataclass(frozen=True)
class Lenient(Strict):
    """What stands between the first opening and the last closing bracket, with raw line breaks in strings allowed and
    backslashes that escape nothing taken as themselves (judges quote LaTeX and paths). A reply that says two things
    does not parse, and is no verdict."""

    def object(self, reply: str) -> dict[str, Any]:
        return _outermost(reply, "{", "}", "no_json_object", "broken_json_object")

    def list(self, reply: str) -> list[Any]:
        return _outermost(reply, "[", "]", "no_json_list", "broken_json_list")


@dataclass(frozen=True)
class Expected(Strict):
    """Grades that are expected values: any finite number in range."""

    def grade(self, value: Any, low: int, high: int) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise Malformed("score_not_a_number")
        if not low <= value <= high:
            raise Malformed("score_out_of_range")
        return float(value)


STRICT = Strict()
READERS: Mapping[str, Reader] = {"strict": STRICT, "lenient": Lenient()}


def _outermost(reply: str, opening: str, closing: str, none: str, broken: str) -> Any:
    start, end = reply.find(opening), reply.rfind(closing)
    if not 0 <= start < end:
        raise Malformed(none)
    text = _BACKSLASH.sub(lambda found: found[0] if found[1] else r"\\", reply[start : end + 1])
    decoder = json.JSONDecoder(strict=False, parse_constant=_refuse, object_pairs_hook=_unique)
    try:
        return decoder.decode(text)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed(broken) from None


def strict_object(reply: str) -> dict[str, Any]:
    """The last JSON object of a reply. Never evaluated; NaN, infinities and repeated keys are refused, and so is a
    reply with an object that does not parse: what stands inside may be quoted from the text under judgement.

    Raises Malformed with the reason.
    """
    found: list[dict[str, Any]] = []
    at = reply.find("{")
    while at >= 0:
        decoded = _decode(reply, at)
        if decoded:
            found.append(decoded[0])
        elif _OPENS_KEY.match(reply, at + 1):
            raise Malformed("broken_json_object")
        at = reply.find("{", decoded[1] if decoded else at + 1)
    if not found:
        raise Malformed("no_json_object")
    return found[-1]


def strict_list(reply: str) -> list[Any]:
    """The last JSON list of a reply, under the same rules, with prose or a fence around it.

    One that does not parse, or that stands in an object, spoils the whole reply: what is inside may be quoted from
    the text under judgement.

    Raises Malformed with the reason.
    """
    found: list[Any] | None = None
    end = 0
    while (at := reply.find("[", end)) >= 0:
        decoded = None if "{" in reply[end:at] else _decode(reply, at)
        if decoded is None:
            raise Malformed("broken_json_list")
        found, end = decoded
    if found is None:
        raise Malformed("no_json_list")
    return found


def _decode(reply: str, at: int) -> tuple[Any, int] | None:
    """The JSON value that begins at a place of a text, and where it ends; None if none does. A ValueError that is no
    JSONDecodeError comes from an integer of more than 4,300 digits."""
    decoder = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique)
    try:
        return decoder.raw_decode(reply, at)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> float:
    raise Malformed("not_a_number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise Malformed("repeated_key")
    return dict(pairs)


def whole_number(value: Any, low: int, high: int) -> int:
    """An integer in range (7.0 counts, "7", 7.5 and true do not); raises Malformed."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise Malformed("score_not_an_integer")
    if not low <= value <= high:
        raise Malformed("score_out_of_range")
    return int(value)
