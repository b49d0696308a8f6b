"""Parses judges' replies: a strict and a lenient reader, both based on a JSON parser alone.

A reply may quote the judged text, and that text may contain grades. The last verdict therefore counts, and a reply in
which anything that looks like a verdict does not parse is no verdict at all.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

_OBJECT = re.compile(r'\{\s*"|\{[ \t\n\r]*\}')  # begins with a key, or is empty: other braces are prose
LARGEST_UPSTREAM = 1e6
_BACKSLASH = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})?')


class Malformed(ValueError):
    """A judge's reply holds no verdict; the message is the reason under which it is counted."""


class Reader(Protocol):
    """A way to parse replies. All methods raise Malformed with the reason."""

    def parse_object(self, reply: str) -> dict[str, Any]: ...

    def parse_list(self, reply: str) -> list[Any]: ...

    def grade(self, value: object, low: int, high: int) -> float: ...


@dataclass(frozen=True)
class Strict:
    """The last JSON object or list of a reply, with prose or a code fence around it; grades are integers in range."""

    def parse_object(self, reply: str) -> dict[str, Any]:
        return strict_object(reply)

    def parse_list(self, reply: str) -> list[Any]:
        return strict_list(reply)

    def grade(self, value: object, low: int, high: int) -> float:
        return float(whole_number(value, low, high))


@dataclass(frozen=True)
class Lenient(Strict):
    """The text from the first opening to the last closing bracket. Raw line breaks in strings are accepted, and a
    backslash that escapes nothing counts as a backslash (judges quote LaTeX and paths). A reply with two verdicts does
    not parse, and is no verdict."""

    def parse_object(self, reply: str) -> dict[str, Any]:
        return _outermost(reply, "{", "}", "no_json_object", "broken_json_object")

    def parse_list(self, reply: str) -> list[Any]:
        return _outermost(reply, "[", "]", "no_json_list", "broken_json_list")


@dataclass(frozen=True)
class Expected(Strict):
    """Grades that are expected values: any finite number in range."""

    def grade(self, value: object, low: int, high: int) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
            raise Malformed("score_not_a_number")
        if not low <= value <= high:
            raise Malformed("score_out_of_range")
        return float(value)


STRICT = Strict()
READERS: Mapping[str, Reader] = {"strict": STRICT, "lenient": Lenient()}


def _outermost(reply: str, opening: str, closing: str, absent: str, broken: str) -> Any:
    start, end = reply.find(opening), reply.rfind(closing)
    if not 0 <= start < end:
        raise Malformed(absent)
    text = _BACKSLASH.sub(lambda match: match[0] if match[1] else r"\\", reply[start : end + 1])
    decoder = json.JSONDecoder(strict=False, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    try:
        return decoder.decode(text)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed(broken) from None


def strict_object(reply: str) -> dict[str, Any]:
    """The last JSON object of a reply. Nothing is evaluated; NaN, infinities and repeated keys are refused. So is a
    reply that contains any object that does not parse: its inner objects may be quotes from the judged text.

    Raises Malformed with the reason.
    """
    last: dict[str, Any] | None = None
    end = 0
    while candidate := _OBJECT.search(reply, end):
        decoded = _decode(reply, candidate.start())
        if decoded is None:
            raise Malformed("broken_json_object")
        last, end = decoded
    if last is None:
        raise Malformed("no_json_object")
    return last


def strict_list(reply: str) -> list[Any]:
    """The last JSON list of a reply, with prose or a code fence around it, under the same rules.

    A list that does not parse, or that is inside an object, invalidates the whole reply: it may be a quote from the
    judged text.

    Raises Malformed with the reason.
    """
    last: list[Any] | None = None
    end = 0
    while (start := reply.find("[", end)) >= 0:
        decoded = None if "{" in reply[end:start] else _decode(reply, start)
        if decoded is None:
            raise Malformed("broken_json_list")
        last, end = decoded
    if last is None:
        raise Malformed("no_json_list")
    return last


def _decode(reply: str, start: int) -> tuple[Any, int] | None:
    """The JSON value that begins at an offset and the offset of its end; None if there is none. A ValueError that is
    not a JSONDecodeError comes from an integer of more than 4,300 digits."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    try:
        return decoder.raw_decode(reply, start)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        return None


def _refuse_constant(constant: str) -> float:
    raise Malformed("not_a_number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise Malformed("repeated_key")
    return dict(pairs)


def whole_number(value: object, low: int, high: int) -> int:
    """An integer in range: 7.0 is accepted; "7", 7.5 and true are not. Raises Malformed."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise Malformed("score_not_an_integer")
    if not low <= value <= high:
        raise Malformed("score_out_of_range")
    return int(value)


def upstream_number(value: Any) -> float:
    """A value as a number, as the benchmarks' own scripts take it: "4" and true are accepted. Raises TypeError or
    ValueError for what is none, and for NaN and numbers over a million, which would make a mean meaningless."""
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("the number is too large") from None
    if not abs(number) <= LARGEST_UPSTREAM:
        raise ValueError(f"{number} is no grade")
    return number
