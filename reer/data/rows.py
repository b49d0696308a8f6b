"""Reads rows of JSON Lines. An error names the file and line, what is wrong, what is wanted and what to do."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import IO, Literal

from reer.errors import InputError
from reer.text import split_thinking
from reer.types import Drop, RawPair

MAX_LINE_BYTES = 8 * 2**20
MEMORY_BYTES = 64 * 2**20  # a file up to this size is read from memory, a larger one from a copy on disk
CHUNK_BYTES = 2**20
GZIP_MAGIC = b"\x1f\x8b"
OnBadRow = Literal["error", "skip"]
Row = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Names of the fields of a row. A dotted name addresses nested objects; an empty name means there is no field."""

    query: str = "query"
    solution: str = "answer"
    category: str = "category"
    id: str = "id"
    votes: str = ""


class BadRow(ValueError):
    """A row that cannot be used; `reason` is the code under which it is counted, the message says what is wrong."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Problems:
    """The policy for bad rows, and the rows dropped under it: `error` raises at the first, `skip` lists them."""

    policy: OnBadRow
    drops: list[Drop] = field(default_factory=list)

    def add(self, where: str, reason: str, detail: str) -> None:
        """Report a bad row. Raises InputError unless bad rows are skipped."""
        if self.policy == "error":
            raise InputError(
                f"{where}: {detail}\nFix the row, or set on_bad_row=skip for this source to skip and count such rows."
            ) from None
        self.drops.append(Drop(where, reason))


def json_lines(path: Path, problems: Problems, digest: str = "") -> Iterator[tuple[str, Row]]:
    """(where, object) of each line that holds one. Only `\\n` ends a line: other Unicode separators are text.

    Raises InputError for a missing, unreadable or empty file, and, if a `digest` is given (see `file_digest`), for a
    file with other content.
    """
    has_rows = False
    with _identified(path, digest) as stream:
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
            has_rows = True
            try:
                row = _parse(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
            except BadRow as bad:
                problems.add(where, bad.reason, str(bad))
            else:
                yield where, row
    if not has_rows and not problems.drops:
        raise InputError(f"{path}: the file has no rows; want one JSON object per line")


@contextmanager
def _identified(path: Path, digest: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, read once before the first row, so that the bytes that become rows are those of the digest
    even if another program changes the file meanwhile."""
    hashed = hashlib.sha256()
    with open_input(path) as source, tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as copy:
        while chunk := source.read(CHUNK_BYTES):
            hashed.update(chunk)
            copy.write(chunk)
        if digest and not hashed.hexdigest().startswith(digest):
            raise InputError(
                f"{path}: its content has sha256 {hashed.hexdigest()[:16]}, wanted {digest}, the content that it had "
                "when this run was checked; restore the file, or repeat the command to use the new content"
            )
        copy.seek(0)
        yield copy


def open_input(path: Path) -> BufferedReader:
    """The file opened for reading bytes. Raises InputError if it is missing, cannot be read, or is no regular file of
    uncompressed text."""
    try:
        stream = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  # the caller closes it
    except FileNotFoundError:
        raise InputError(f"{path}: no such file (looked in {path.resolve().parent}); check source.path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check source.path") from error
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise InputError(f"{path}: cannot be read: not a regular file; want a file with one JSON object per line")
    if stream.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
        stream.close()
        raise InputError(f"{path}: the file is compressed with gzip; unpack it (gunzip) and give the unpacked file")
    return stream


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a named pipe is opened without waiting for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _parse(line: bytes) -> Row:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRow("not_utf8", f"not UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:  # a plain ValueError: an integer of more than 4,300 digits
        raise BadRow("malformed_json", f"not a JSON object: {error}") from None
    if not isinstance(row, dict):
        raise BadRow("not_an_object", f"want a JSON object, got {type(row).__name__}")
    return row


def pluck(row: Row, name: str) -> object:
    """The value under a dotted name. Raises KeyError if it is missing."""
    value: object = row
    for part in name.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(name)
        value = value[part]
    return value


def raw_pair(row: Row, fields: Fields, source: str, where: str, problems: Problems) -> RawPair | None:
    """A row as a RawPair; None for a bad row, which is reported to `problems`."""
    try:
        return _raw_pair(row, fields, source, where)
    except BadRow as bad:
        problems.add(where, bad.reason, str(bad))
    return None


def _raw_pair(row: Row, fields: Fields, source: str, where: str) -> RawPair:
    present = ", ".join(sorted(row))
    text = _text(row, fields.solution)
    if text is None:
        raise BadRow("missing_field", f"no field {fields.solution!r} (source.fields.solution); the row has: {present}")
    if fields.query and fields.query not in row and "." not in fields.query:
        detail = "(source.fields.query; it may be null but must be present)"
        raise BadRow("missing_field", f"no field {fields.query!r} {detail}; the row has: {present}")
    query, category = _text(row, fields.query), _text(row, fields.category)
    thinking, solution, _ = split_thinking(text)
    if not solution:
        raise BadRow("empty_text", f"field {fields.solution!r} is empty, or nothing but thinking")
    return RawPair(
        query=query if (query or "").strip() else None,
        solution=solution,
        category=category,
        source=source,
        where=where,
        votes=_number(_optional(row, fields.votes)),
        thinking=thinking,
    )


def _text(row: Row, name: str) -> str | None:
    """The text under a name, None if it is missing or null. Raises BadRow for anything that is not valid text."""
    value = _optional(row, name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRow("not_text", f"field {name!r} wants text, got {type(value).__name__}")
    if any("\ud800" <= character <= "\udfff" or character == "\x00" for character in value):
        raise BadRow("broken_text", f"field {name!r} contains a NUL or half a surrogate pair; want valid Unicode text")
    return value


def _optional(row: Row, name: str) -> object:
    if not name:
        return None
    try:
        return pluck(row, name)
    except KeyError:
        return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of a float
        return None
    return number if math.isfinite(number) else None


def file_digest(path: Path) -> str:
    """The first 16 hex digits of the sha256 of a file's bytes. Raises InputError if it cannot be read."""
    with open_input(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
