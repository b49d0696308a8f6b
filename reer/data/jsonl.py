"""`source=jsonl`: pairs from any JSON Lines file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reer.data.rows import Fields, OnBadRow, Problems, file_digest, json_lines, raw_pair
from reer.errors import InputError
from reer.types import RawPair, content_id


@dataclass(frozen=True)
class JsonlSource:
    """Rows of a file. `min_votes` keeps rows with at least that vote score (rows without votes stay)."""

    path: str = field(metadata={"identity": False})
    fields: Fields = field(default_factory=Fields)
    min_votes: float | None = None
    on_bad_row: OnBadRow = "error"
    name: str = "jsonl"

    def __post_init__(self) -> None:
        if not self.path:
            raise InputError("source=jsonl wants a file: add source.path=FILE.jsonl")

    def identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "content": file_digest(Path(self.path)),
            "min_votes": self.min_votes,
            "fields": self.fields,
            "on_bad_row": self.on_bad_row,
        }

    def rows(self, problems: Problems) -> Iterator[RawPair]:
        """Rows in file order. One id with two contents is an error; with equal content it is a duplicate."""
        seen: dict[str, str] = {}
        for where, row in json_lines(Path(self.path), problems):
            pair = raw_pair(row, self.fields, self.name, where, problems)
            if pair is None:
                continue
            given = row.get(self.fields.id)
            digest = content_id(pair.query or "", pair.solution)
            if given not in (None, "") and seen.setdefault(str(given), digest) != digest:
                problems.add(where, "conflicting_id", f"id {given!r} stands for another text further up")
                continue
            yield pair
