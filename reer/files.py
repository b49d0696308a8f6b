"""Files that survive a crash: atomic writes, and records as JSON Lines."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypeForm

from reer.errors import InputError

Row = TypeVar("Row")
JsonObject = Mapping[str, Any]


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file that is either complete or absent, also after a power cut; text is UTF-8. Creates the folder. Raises
    OSError, which names the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with naming(path):
        try:
            with scratch.open("wb") as stream:
                stream.write(content.encode("utf-8") if isinstance(content, str) else content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    sync_folder(path.parent)


def remove_scratch(folder: Path) -> None:
    """Remove what atomic writes into a folder left behind when their process was killed. Nothing may be writing into
    the folder."""
    for scratch in folder.rglob(".*.tmp"):
        scratch.unlink()


@contextmanager
def naming(path: Path) -> Generator[None]:
    """Let an OSError raised inside name this path where it names none: those of writing and syncing do not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_json(path: Path, value: object) -> None:
    """Write an indented JSON file atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_rows(path: Path, rows: Iterable[object]) -> None:
    """Write dataclasses or plain objects as a JSONL file, atomically."""
    write_atomic(path, "".join(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in rows))


def adapter(kind: TypeForm[Row]) -> TypeAdapter[Row]:
    """The reader and checker of a type of record, made at its first use, because that takes milliseconds."""
    return _adapter(kind)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read_rows(path: Path, kind: TypeForm[Row]) -> list[Row]:
    """The records of a JSONL file, checked against their type. Raises InputError naming the file and the line that is
    no such record."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: damaged, not UTF-8 at byte {error.start}") from None
    return [_row(adapter(kind), line, f"{path}: line {number}") for number, line in enumerate(lines, start=1) if line]


def _row(reader: TypeAdapter[Row], line: str, where: str) -> Row:
    try:
        return reader.validate_json(line)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc']))} {e['msg']}".strip() for e in error.errors()[:3])
        raise InputError(f"{where} is damaged or of another program ({reasons})") from None


def plain(row: object) -> Any:
    """A dataclass as plain objects; anything else unchanged."""
    return asdict(row) if is_dataclass(row) and not isinstance(row, type) else row


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    _flush(folder)


def sync_tree(folder: Path) -> None:
    """Make all files in a folder durable, whoever wrote them, with the folder itself and its name."""
    for path in (*folder.rglob("*"), folder, folder.parent):
        _flush(path)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(handle)
    finally:
        os.close(handle)
