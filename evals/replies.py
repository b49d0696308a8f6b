"""Parses judges' replies: a strict and a lenient reader, both based on a JSON parser alone.

The verdict is the last object or list of a reply, behind the model's thinking. A reply may quote the judged text, and
that text may contain grades. A reply in which anything that looks like a verdict does not parse, or whose verdicts have
unlike grades, is therefore no verdict at all.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evals import near_json

Decode = Callable[[str, int], tuple[Any, int]]
"""Reads the JSON value at an offset: the value, and the offset of its end. Raises ValueError or RecursionError."""
Schema = Mapping[str, object]
"""A JSON schema, as the value of its JSON text."""
A_TEXT: Schema = {"type": "string"}
LARGEST_UPSTREAM = 1e6
_TAG = re.compile(
    r"(?P<closing></(?:seed:)?think(?:ing)?>|\[/THINK\]|◁/think▷|<\|channel\|>final)"
    r"|<(?:seed:)?think(?:ing)?>|\[THINK\]|◁think▷|<\|channel\|>analysis",
    re.I,
)
_GRADE = re.compile(r"\s*([0-9]{1,6}(?:\.0+)?)\s*(?:/\s*([0-9]{1,6})\s*)?", re.A)


class Malformed(ValueError):
    """A judge's reply holds no verdict; the message is the reason under which it is counted."""


class Reader(Protocol):
    """A way to parse replies. All methods raise Malformed with the reason."""

    def parse_object(self, reply: str, keys: Collection[str] = ()) -> dict[str, Any]:
        """The verdict as an object that has all of `keys`, the names of its grades."""
        ...

    def parse_list(self, reply: str, key: str = "") -> list[Any]:
        """The verdict as a list of objects; `key` is the name of the grade of each."""
        ...

    def grade(self, value: object, low: int, high: int) -> float: ...


def _refuse_constant(constant: str) -> float:
    raise Malformed("not_a_number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise Malformed("repeated_key")
    return dict(pairs)


_JSON = json.JSONDecoder(strict=False, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)


@dataclass(frozen=True)
class Grammar:
    """How values are written: where an object or a list may begin, and how it is decoded."""

    an_object: re.Pattern[str]
    """A brace that begins with a key, or is empty: other braces are prose."""
    a_list: re.Pattern[str]
    decode: Decode

    def value_at(self, text: str, start: int) -> tuple[Any, int] | None:
        """The value at an offset and the offset of its end; None if there is none. Raises Malformed for NaN, infinities
        and repeated keys. A ValueError that is not a JSONDecodeError comes from an integer of over 4,300 digits."""
        try:
            return self.decode(text, start)
        except Malformed:
            raise
        except (ValueError, RecursionError):
            return None


STRICT_JSON = Grammar(re.compile(r'\{\s*"|\{\s*\}'), re.compile(r"\["), _JSON.raw_decode)
NEAR_JSON = Grammar(
    re.compile(r"[{｛]\s*[\"'“‘]|[{｛]\s*[}｝]"),
    re.compile(r"\[|［"),
    lambda text, start: near_json.decode(text, start, _JSON.decode),
)


@dataclass(frozen=True)
class Strict:
    """JSON with prose or a code fence around it; texts may hold raw line breaks. Grades are integers in range."""

    grammar: Grammar = STRICT_JSON

    def parse_object(self, reply: str, keys: Collection[str] = ()) -> dict[str, Any]:
        objects = _objects(behind_thinking(reply, self.grammar), self.grammar)
        verdict = objects[-1]
        if any(key in other and other[key] != verdict.get(key, other[key]) for other in objects for key in keys):
            raise Malformed("two_unlike_grades")
        if not set(keys) <= verdict.keys():
            raise Malformed("missing_key")
        return verdict

    def parse_list(self, reply: str, key: str = "") -> list[Any]:
        lists = _lists(behind_thinking(reply, self.grammar), self.grammar)
        stated = [grades for entries in lists if (grades := _grades(entries, key))]
        if any(grades != stated[-1] for grades in stated):
            raise Malformed("two_unlike_grades")
        return lists[-1]

    def grade(self, value: object, low: int, high: int) -> float:
        return float(whole_number(value, low, high))


@dataclass(frozen=True)
class Lenient(Strict):
    """Texts in the grammar of `near_json`; a grade may also be a text: "8", or "8/10" where 10 is the best grade."""

    grammar: Grammar = NEAR_JSON

    def grade(self, value: object, low: int, high: int) -> float:
        if not isinstance(value, str):
            return super().grade(value, low, high)
        found = _GRADE.fullmatch(value.translate(near_json.FULL_WIDTH))
        if found is None:
            raise Malformed("score_not_an_integer")
        if found[2] is not None and int(found[2]) != high:
            raise Malformed("score_on_another_scale")
        return super().grade(float(found[1]), low, high)


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


def behind_thinking(reply: str, grammar: Grammar = STRICT_JSON) -> str:
    """The reply after its thinking: what follows the last closing tag. A tag within a text of a verdict is a quote.

    Raises Malformed where the thinking does not end: all grades before and in it are drafts.
    """
    begins = scanned = quoted = 0
    thinks = False
    for tag in _TAG.finditer(reply):
        if tag.start() < quoted:
            continue
        quoted = _end_of_object_around(tag.start(), reply, scanned, grammar)
        if not quoted:
            thinks, scanned = tag["closing"] is None, tag.end()
            begins = begins if thinks else tag.end()
    if thinks:
        raise Malformed("unclosed_thinking")
    return reply[begins:]


def _end_of_object_around(at: int, text: str, start: int, grammar: Grammar) -> int:
    """The end of the object that begins in text[start:at] and ends after `at`; 0 if there is none."""
    while candidate := grammar.an_object.search(text, start, at):
        try:
            decoded = grammar.value_at(text, candidate.start())
        except Malformed:
            return 0
        if decoded is None:
            return 0
        start = decoded[1]
        if start > at:
            return start
    return 0


def _objects(text: str, grammar: Grammar) -> list[dict[str, Any]]:
    """All objects of a text that are in no other one. Raises Malformed if there is none, or if any does not parse: its
    inner objects may be quotes from the judged text."""
    found: list[dict[str, Any]] = []
    end = 0
    while candidate := grammar.an_object.search(text, end):
        decoded = grammar.value_at(text, candidate.start())
        if decoded is None:
            raise Malformed("broken_json_object")
        value, end = decoded
        found.append(value)
    if not found:
        raise Malformed("no_json_object")
    return found


def _lists(text: str, grammar: Grammar) -> list[list[Any]]:
    """All lists of a text that are in no other one. Raises Malformed if there is none, or if any does not parse or is
    inside an object: it may be a quote from the judged text."""
    found: list[list[Any]] = []
    end = 0
    while candidate := grammar.a_list.search(text, end):
        inside = any(brace in text[end : candidate.start()] for brace in "{｛")
        decoded = None if inside else grammar.value_at(text, candidate.start())
        if decoded is None:
            raise Malformed("broken_json_list")
        value, end = decoded
        found.append(value)
    if not found:
        raise Malformed("no_json_list")
    return found


def _grades(entries: Sequence[Any], key: str) -> list[Any]:
    return [entry[key] for entry in entries if isinstance(entry, dict) and key in entry]


def whole_number(value: object, low: int, high: int) -> int:
    """An integer in range: 7.0 is accepted; "7", 7.5 and true are not. Raises Malformed."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise Malformed("score_not_an_integer")
    if not low <= value <= high:
        raise Malformed("score_out_of_range")
    return int(value)


def reply_schema(properties: Mapping[str, Schema]) -> Schema:
    """The JSON schema of a reply that is one object with exactly these properties, in this order. What providers accept
    in common: numbers have no bounds there, so grades are listed."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def grades_from(low: int, high: int) -> Schema:
    """The schema of an integer grade."""
    return {"type": "integer", "enum": list(range(low, high + 1))}


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
