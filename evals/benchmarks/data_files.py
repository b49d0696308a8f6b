"""A benchmark's own files: read at run time, pinned by content, never kept in the project."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from reer.errors import InputError

FROM_GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Source:
    """What a local file is made of. `how` is one of `extract.WAYS`, `files` names the upstream files by what they are
    to it, and `sha256` what each of them must be, where that is known: what is made of them always is. `take` and
    `label` are a way's own settings, `size_bytes` about what is downloaded, `otherwise` what to do without the file."""

    how: str
    files: Mapping[str, str]
    sha256: Mapping[str, str] = field(default_factory=dict)
    take: Mapping[str, str] = field(default_factory=dict)
    label: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int | None = None
    otherwise: str = ""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class DataFiles:
    """Files below a folder and the sha256 each must have (unpacked, where it lies there as `.gz`). What they are is
    identity; where they are is not, so an experiment can be planned without them. Where they come from is not either:
    the repository `upstream` at `commit`, its `licence` and a `caution` about it, by local name the `sources`, and the
    `mirror` they are downloaded from. `name` is what `reer fetch` calls the benchmark."""

    folder: str = field(metadata={"identity": False})
    sha256: dict[str, str]
    upstream: str = field(metadata={"identity": False})
    commit: str = field(default="", metadata={"identity": False})
    licence: str = field(default="", metadata={"identity": False})
    caution: str = field(default="", metadata={"identity": False})
    sources: dict[str, Source] = field(default_factory=dict, metadata={"identity": False})
    mirror: str = field(default=FROM_GITHUB, metadata={"identity": False})
    name: str = field(default="", metadata={"identity": False})

    @property
    def origin(self) -> str:
        """Repository and commit, as messages name them."""
        return f"{self.upstream} at {self.commit}" if self.commit else self.upstream

    def read(self, name: str) -> bytes:
        """A file's bytes, read from the disk once. Raises InputError if it is missing or other than pinned."""
        path = Path(self.folder) / name
        try:
            return _pinned(path, self.sha256[name])
        except FileNotFoundError:
            first = f"run `reer fetch {self.name}` with the same data.folder, or " if self.name else ""
            raise InputError(
                f"benchmark file {path} is not there; {first}get it from {self.origin} and set the benchmark's "
                "data.folder, or leave this benchmark out"
            ) from None
        except _Altered as found:
            raise InputError(
                f"benchmark file {path} has sha256 {found}, pinned is {self.sha256[name]} ({self.origin}); "
                "another version is another benchmark: pin its sha256 in the configuration if that is meant"
            ) from None

    def found(self, name: str) -> str | None:
        """The sha256 of a file as it lies there now, None where it does not."""
        try:
            return hashlib.sha256(_unpacked(Path(self.folder) / name)).hexdigest()
        except FileNotFoundError:
            return None

    def text(self, name: str) -> str:
        """A file's text."""
        return self.read(name).decode("utf-8")

    def lines(self, name: str) -> list[str]:
        """The lines of a file that hold anything, cut at `\\n` alone."""
        return [line for line in self.text(name).split("\n") if line.strip()]


class _Altered(Exception):
    """A file has this sha256, not the pinned one."""


@lru_cache(maxsize=64)
def _pinned(path: Path, sha256: str) -> bytes:
    """The bytes with this sha256 at a path. Kept, since a judge's prompt is asked for once an item: whatever becomes of
    the file, these stay the bytes that were pinned."""
    content = _unpacked(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise _Altered(digest)
    return content


def _unpacked(path: Path) -> bytes:
    """A file's bytes, or those of its `.gz`. Raises FileNotFoundError, and InputError for a broken `.gz`."""
    if path.is_file():
        return path.read_bytes()
    packed = path.with_name(path.name + ".gz")
    if not packed.is_file():
        raise FileNotFoundError(path)
    try:
        return gzip.decompress(packed.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"benchmark file {packed} cannot be unpacked: {error}; take it away and get it again"
        ) from None
