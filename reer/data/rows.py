"""Reading rows of JSON Lines with errors a person can act on: file, line, what was wanted, what to do."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from reer.errors import InputError
from reer.text import split_thinking
from reer.types import Drop, RawPair

MAX_LINE_BYTES = 8 * 2**20
OnBadRow = Literal["error", "skip"]


@dataclass(frozen=True)
class Fields:
    """Names of the fields of a row. A dotted name goes into nested objects; an empty name means there is none."""

    query: str = "query"
    solution: str = "answer"
    category: str = "category"
    id: str = "id"
    votes: str = ""


@dataclass
class Problems:
    """What is done with a bad row: raise at once, or count and list it."""

    policy: OnBadRow
    drops: list[Drop] = field(default_factory=list)

    def add(self, where: str, reason: str, detail: str) -> None:
        if self.policy == "error":
            raise InputError(
                f"{where}: {detail}\nMend the row, or set on_bad_row=skip for this source to count and leave it out."
            )
        self.drops.append(Drop(where, reason))


def json_lines(path: Path, problems: Problems) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where, object) for each line that holds one. Lines end at `\\n` alone: other Unicode separators are text.

    Raises InputError for a missing, unreadable or empty file.
    """
    seen = False
    with open_input(path) as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            where = f"{path}:{number}"
            if len(line) > MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE_BYTES)
                problems.add(where, "oversized_line", f"the line is longer than {MAX_LINE_BYTES:,} bytes")
                continue
            if not line.strip():
                continue
            seen = True
            row = _parse(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, where, problems)
            if row is not None:
                yield where, row
    if not seen and not problems.drops:
        raise InputError(f"{path}: the file has no rows; want one JSON object per line")


def open_input(path: Path) -> Any:
    """The file opened for reading bytes, or an InputError that says what is the matter with it."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file (looked in {path.resolve().parent}); check source.path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _parse(line: bytes, where: str, problems: Problems) -> Mapping[str, Any] | None:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        problems.add(where, "not_utf8", f"not UTF-8 at byte {error.start}")
    except (ValueError, RecursionError) as error:  # ValueError alone: an integer of more than 4,300 digits
        problems.add(where, "malformed_json", f"not a JSON object: {error}")
    else:
        if isinstance(row, dict):
            return row
        problems.add(where, "not_an_object", f"want a JSON object, got {type(row).__name__}")
    return None


def pluck(row: Mapping[str, Any], name: str) -> Any:
    """The value under a dotted name; KeyError when it is not there."""
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(name)
        value = value[part]
    return value


def raw_pair(row: Mapping[str, Any], fields: Fields, source: str, where: str, problems: Problems) -> RawPair | None:
    """A row as a RawPair, or None after reporting what is wrong with it."""
    texts: dict[str, str | None] = {}
    for role, name in (("solution", fields.solution), ("query", fields.query), ("category", fields.category)):
        value = _optional(row, name)
        if role == "solution" and value is None:
            have = ", ".join(sorted(row))
            problems.add(where, "missing_field", f"no field {name!r} (source.fields.solution); the row has: {have}")
            return None
        if role == "query" and name and name not in row and "." not in name:
            have = ", ".join(sorted(row))
            detail = f"no field {name!r} (source.fields.query; null is allowed, absence is not); the row has: {have}"
            problems.add(where, "missing_field", detail)
            return None
        if value is not None and not isinstance(value, str):
            problems.add(where, "not_text", f"field {name!r} wants text, got {type(value).__name__}")
            return None
        if value is not None and any("\ud800" <= ch <= "\udfff" or ch == "\x00" for ch in value):
            problems.add(where, "broken_text", f"field {name!r} holds a NUL or half a surrogate pair")
            return None
        texts[role] = value
    thinking, solution, _ = split_thinking(str(texts["solution"]))
    if not solution:
        problems.add(where, "empty_text", f"field {fields.solution!r} is empty, or nothing but thinking")
        return None
    query = texts["query"] if (texts["query"] or "").strip() else None
    votes = _votes(_optional(row, fields.votes))
    return RawPair(query, solution, texts["category"], source, where, votes, thinking)


def _optional(row: Mapping[str, Any], name: str) -> Any:
    if not name:
        return None
    try:
        return pluck(row, name)
    except KeyError:
        return None


def _votes(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes; InputError if it cannot be read."""
    with open_input(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
