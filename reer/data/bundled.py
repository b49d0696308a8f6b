"""`source=bundled`: the project's own texts, one Markdown file each, in `reer/data/texts`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import yaml

from reer.data.duplicates import SameRow
from reer.data.pairs import EVERY, Quotas
from reer.data.rows import OnBadRow, Problems
from reer.errors import InputError
from reer.parts import Name
from reer.types import RawPair

FOLDER = Path(__file__).parent / "texts"


@dataclass(frozen=True)
class BundledTexts:
    """Original texts included in the project, in the order of their file names."""

    name: Name = "bundled"
    min_votes: float | None = None
    on_bad_row: OnBadRow = "error"

    quotas: ClassVar[Quotas] = EVERY
    same_row: ClassVar[SameRow] = "solution"

    def __post_init__(self) -> None:
        if self.min_votes is not None:
            raise InputError(f"source.min_votes: the bundled texts have no votes, got {self.min_votes:g}; leave it out")

    @cached_property
    def contents(self) -> dict[str, bytes]:
        """The texts by file name, read once, so that the rows are those that identify the source."""
        return {file.name: file.read_bytes() for file in _files()}

    def identity(self) -> dict[str, object]:
        """The content of the texts."""
        digest = hashlib.sha256(b"\x1e".join(self.contents.values()))
        return {"name": self.name, "texts": digest.hexdigest()[:16]}

    def rows(self, problems: Problems) -> Iterator[RawPair]:
        """Every text with its query and category."""
        for file, content in self.contents.items():
            _, head, body = content.decode("utf-8").split("---\n", 2)
            meta = yaml.safe_load(head)
            yield RawPair(
                query=meta["query"].strip(),
                solution=body.strip(),
                category=meta["category"],
                source=self.name,
                where=file,
            )


def _files() -> list[Path]:
    files = sorted(FOLDER.glob("*.md"))
    if not files:
        raise InputError(
            f"{FOLDER}: found no bundled texts, want *.md files; the installation is incomplete, reinstall"
        )
    return files
