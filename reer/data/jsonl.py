"""`source=jsonl`: pairs from any JSON Lines file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from reer.data.rows import Fields, OnBadRow, Problems, file_digest, json_lines, raw_pair
from reer.errors import InputError
from reer.parts import Name
from reer.types import RawPair, content_id


@dataclass(frozen=True, kw_only=True)
class JsonlSource:
    """The rows of a file."""

    path: str = field(metadata={"identity": False})
    fields: Fields = field(default_factory=Fields)
    """The names of the fields."""
    min_votes: float | None = None
    """The least vote score; rows without votes are kept."""
    on_bad_row: OnBadRow = "error"
    """Stop at a bad row, or skip and count it."""
    name: Name = "jsonl"

    def __post_init__(self) -> None:
        if not self.path:
            raise InputError("source=jsonl wants a file, got an empty path; add source.path=FILE.jsonl")

    @cached_property
    def content(self) -> str:
        """The digest of the file's bytes when it was first asked for."""
        return file_digest(Path(self.path))

    def identity(self) -> dict[str, object]:
        """The file's content identifies the source, not its path."""
        return {
            "name": self.name,
            "content": self.content,
            "min_votes": self.min_votes,
            "fields": self.fields,
            "on_bad_row": self.on_bad_row,
        }

    def rows(self, problems: Problems) -> Iterator[RawPair]:
        """Rows in file order. Two rows with one id are duplicates if their content is equal, else an error. Raises
        InputError if the file has changed since its content identified the source."""
        seen: dict[str, str] = {}
        for where, row in json_lines(Path(self.path), problems, self.content):
            pair = raw_pair(row, self.fields, self.name, where, problems)
            if pair is None:
                continue
            row_id = row.get(self.fields.id)
            digest = content_id(pair.query or "", pair.solution)
            if row_id not in (None, "") and seen.setdefault(str(row_id), digest) != digest:
                problems.add(where, "conflicting_id", f"id {row_id!r} belongs to an earlier row with other content")
                continue
            yield pair
