"""Files that are there whole or not at all: JSON, and records as JSON Lines."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter
from typing_extensions import TypeForm

Row = TypeVar("Row")


def write_json(path: Path, value: Any) -> None:
    """A JSON file that is there whole or not at all."""
    _write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_rows(path: Path, rows: Iterable[Any]) -> None:
    """A JSONL file of dataclasses or plain objects that is there whole or not at all."""
    _write(path, "".join(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in rows))


def plain(row: Any) -> Any:
    """A record as plain objects."""
    return asdict(row) if is_dataclass(row) and not isinstance(row, type) else row


def _write(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with scratch.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(scratch, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def read_rows(path: Path, kind: TypeForm[Row]) -> list[Row]:
    """The records of a JSONL file, checked against their type."""
    adapter = TypeAdapter(kind)
    lines = path.read_text(encoding="utf-8").split("\n")
    return [adapter.validate_json(line) for line in lines if line]
