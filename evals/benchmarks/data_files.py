"""A benchmark's own files: read at run time, pinned by content, never contained in the project."""

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

UNPACKED_BYTES = 256 * 2**20  # far above the size of these files; bounds what a small file may unpack to
FROM_GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True, kw_only=True)
class UpstreamFiles:
    """The upstream files that a local file is made from."""

    method: str
    """How the local file is made: a name in `extract.EXTRACTORS`."""
    files: Mapping[str, str]
    """Upstream paths by their role in the method."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """By role, the sha256 of an upstream file, if it is known; the local file's own sha256 is always checked."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Method `texts` and `weights`: key in the local file → name of the constant in the Python file."""
    header: Mapping[str, str] = field(default_factory=dict)
    """Method `texts`: entries written before the constants."""
    size_bytes: int | None = None
    """Approximate size of the download."""
    otherwise: str = ""
    """What a user can do if the file cannot be made, for the error message."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """Files below a folder and the sha256 that each must have (of its content, if it is stored as `.gz`).

    Only the sha256 identify a result. The location does not, so that an experiment can be planned without the files;
    neither does their origin: the repository `upstream` at `commit`, its `licence`, a `caution` for users, the
    `sources` by local file name, and the `mirror` to download from. `name` is the benchmark's name for `reer fetch`."""

    folder: str = field(metadata={"identity": False})
    sha256: dict[str, str]
    upstream: str = field(metadata={"identity": False})
    commit: str = field(default="", metadata={"identity": False})
    licence: str = field(default="", metadata={"identity": False})
    caution: str = field(default="", metadata={"identity": False})
    sources: dict[str, UpstreamFiles] = field(default_factory=dict, metadata={"identity": False})
    mirror: str = field(default=FROM_GITHUB, metadata={"identity": False})
    name: str = field(default="", metadata={"identity": False})

    @property
    def key(self) -> str:
        """The configuration key of these files, for messages."""
        return f"benchmark.{self.name}.data" if self.name else "data"

    @property
    def instead(self) -> str:
        """What to do without these files, for messages."""
        return "leave this benchmark out"

    @property
    def origin(self) -> str:
        """Repository and commit, for messages."""
        return f"{self.upstream} at {self.commit}" if self.commit else self.upstream

    def read(self, name: str) -> bytes:
        """A file's content; cached after the first read. Raises InputError if it is missing or not the pinned one."""
        path = Path(self.folder) / name
        try:
            return _pinned(path, self.sha256[name])
        except FileNotFoundError:
            command = f"run `reer fetch {self.name}` with the same {self.key}.folder, or " if self.name else ""
            raise InputError(
                f"file {path} is missing; {command}get it from {self.origin} and set "
                f"{self.key}.folder, or {self.instead}"
            ) from None
        except _WrongSha256 as error:
            raise InputError(
                f"file {path} has sha256 {error}, pinned is {self.sha256[name]} ({self.origin}); "
                "another version gives other results: pin its sha256 in the configuration if you want that one"
            ) from None

    def actual_sha256(self, name: str) -> str | None:
        """The sha256 of a file's present content, None if the file is missing."""
        try:
            return hashlib.sha256(_content(Path(self.folder) / name)).hexdigest()
        except FileNotFoundError:
            return None

    def text(self, name: str) -> str:
        """A file's text."""
        return self.read(name).decode("utf-8")

    def lines(self, name: str) -> list[str]:
        """The lines of a file that are not blank, split at `\\n` only."""
        return [line for line in self.text(name).split("\n") if line.strip()]


class _WrongSha256(Exception):
    """A file's content is not the pinned one; the message is its sha256."""


@lru_cache(maxsize=64)
def _pinned(path: Path, sha256: str) -> bytes:
    """The content with this sha256 at a path. It is cached because a judge prompt is needed for every item; a later
    change of the file does not change what was read."""
    content = _content(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise _WrongSha256(digest)
    return content


def _content(path: Path) -> bytes:
    """A file's bytes, or those inside its `.gz`. Raises FileNotFoundError, and InputError for a broken `.gz`."""
    if path.is_file():
        return path.read_bytes()
    packed = path.with_name(path.name + ".gz")
    if not packed.is_file():
        raise FileNotFoundError(path)
    try:
        with gzip.open(packed) as stream:
            content = stream.read(UNPACKED_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"benchmark file {packed} cannot be decompressed: {error}; delete it and fetch it again"
        ) from None
    if len(content) > UNPACKED_BYTES:
        raise InputError(
            f"benchmark file {packed} unpacks to more than {UNPACKED_BYTES:,} bytes; delete it and fetch it again"
        )
    return content
