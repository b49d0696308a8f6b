"""`source=jsonl`: pairs from files of rows: JSON Lines, JSON arrays, Parquet or CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from reer.data.duplicates import SameRow, identity_of
from reer.data.files import RowFile, content_of, row_files, rows_in
from reer.data.pairs import EVERY, Quotas
from reer.data.reader import Reader
from reer.data.rows import READER, Fields, OnBadRow, Problems
from reer.errors import InputError
from reer.parts import Name
from reer.types import RawPair


@dataclass(frozen=True, kw_only=True)
class JsonlSource:
    """The rows of a file, of all files of rows in a folder, or of those that a glob names."""

    path: str = field(metadata={"identity": False})
    fields: Fields = field(default_factory=Fields)
    """The names of the fields."""
    min_votes: float | None = None
    """The least vote score; rows with fewer votes, or none, are dropped."""
    on_bad_row: OnBadRow = "error"
    """Stop at a bad row, or skip and count it."""
    same_row: SameRow = "solution"
    """Which rows count as the same row; only the first of them is used."""
    name: Name = "jsonl"

    quotas: ClassVar[Quotas] = EVERY

    def __post_init__(self) -> None:
        if not self.path:
            raise InputError("source=jsonl wants a file, got an empty path; add source.path=FILE.jsonl")
        self._reader()

    def _reader(self) -> Reader:
        return Reader(source=self.name, fields=self.fields, min_votes=self.min_votes)

    @cached_property
    def files(self) -> tuple[RowFile, ...]:
        """The files with the digests of their bytes when they were first asked for."""
        return row_files(self.path, "source.path")

    def identity(self) -> dict[str, object]:
        """The files' content identifies the source, not its path."""
        return {
            "name": self.name,
            "content": content_of(self.files),
            "min_votes": self.min_votes,
            "fields": self.fields,
            "on_bad_row": self.on_bad_row,
            "reader": READER,
            **identity_of(self.same_row),
        }

    def rows(self, problems: Problems) -> Iterator[RawPair]:
        """Rows in the order of the files. Raises InputError if a file has changed since its content identified the
        source."""
        return self._reader().pairs(rows_in(self.files, problems), problems)
