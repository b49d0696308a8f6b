"""A benchmark's own files: read at run time, pinned by content, never kept in the project."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from reer.types import InputError


@dataclass(frozen=True)
class DataFiles:
    """Files below a folder and the sha256 each must have (unpacked, where it lies there as `.gz`). What they are is
    identity; where they are is not, so an experiment can be planned without them."""

    folder: str = field(metadata={"identity": False})
    sha256: dict[str, str]
    upstream: str = field(metadata={"identity": False})

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises InputError if it is missing or other than pinned."""
        path = Path(self.folder) / name
        packed = path.with_name(path.name + ".gz")
        if not path.is_file() and not packed.is_file():
            raise InputError(
                f"benchmark file {path} is not there; get it from {self.upstream} and set the benchmark's data.folder, "
                "or leave this benchmark out"
            )
        content = path.read_bytes() if path.is_file() else gzip.decompress(packed.read_bytes())
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.sha256[name]:
            raise InputError(
                f"benchmark file {path} has sha256 {digest}, pinned is {self.sha256[name]} ({self.upstream}); "
                "another version is another benchmark: pin its sha256 in the configuration if that is meant"
            )
        return content

    def text(self, name: str) -> str:
        """A file's text."""
        return self.read(name).decode("utf-8")

    def lines(self, name: str) -> list[str]:
        """The lines of a file that hold anything, cut at `\\n` alone."""
        return [line for line in self.text(name).split("\n") if line.strip()]
