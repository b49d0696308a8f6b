"""A benchmark's own files from its repository: the pinned commit, each file checked before it is there.

What is there and right stays; what is there and other is never replaced; a file appears whole or not at all, so a
fetch that was killed goes on by being repeated.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from evals.benchmarks.data_files import DataFiles, Source
from evals.benchmarks.extract import WAYS, derive
from reer.errors import Incomplete, InputError
from reer.files import write_atomic

RETRIED = {408, 425, 429, 500, 502, 503, 504}
HERE = ("127.0.0.1", "localhost", "::1")

Seen = Callable[[str, int, int | None], None]  # an upstream file, how many bytes are here, how many there are


def unseen(file: str, here: int, there: int | None) -> None:
    """Progress nobody looks at."""


@dataclass(frozen=True)
class Limits:
    """How patient and how greedy: `timeout_seconds` bounds one wait for bytes, `file_seconds` one attempt at a file,
    `total_bytes` all that one fetch downloads. Pauses double from `pause_seconds`."""

    attempts: int = 5
    timeout_seconds: float = 30.0
    file_seconds: float = 900.0
    total_bytes: int = 128 * 2**20
    pause_seconds: float = 1.0


LIMITS = Limits()


class Interrupted(Exception):
    """A download that another attempt may bring to its end."""


def state(data: DataFiles) -> dict[str, str]:
    """By local name: `there`, `missing`, or `other` for a file with another sha256 than the pinned one."""
    found = {name: data.found(name) for name in data.sha256}
    return {
        name: "missing" if digest is None else "there" if digest == data.sha256[name] else "other"
        for name, digest in found.items()
    }


def fetch(data: DataFiles, seen: Seen = unseen, limits: Limits = LIMITS) -> list[str]:
    """Bring the files that are missing; returns their names. Raises InputError before anything is downloaded if a file
    is there with other content or has no source, and after the rest is there if one is not what was pinned; Incomplete
    if the server cannot be had."""
    states = state(data)
    other = [str(Path(data.folder) / name) for name, which in states.items() if which == "other"]
    if other:
        raise InputError(
            f"{', '.join(other)}: there, but not what is pinned ({data.origin}); nothing was downloaded or replaced: "
            "take them away and fetch again, or pin their sha256 if another version is meant"
        )
    missing = [name for name, which in states.items() if which == "missing"]
    sources = {name: _source(data, name) for name in missing}
    if not missing:
        return []
    wrong = []
    with _connect(data, seen, limits) as upstream:
        for name, source in sources.items():
            try:
                write_atomic(Path(data.folder) / name, _content(data, name, source, upstream))
            except InputError as error:
                wrong.append(f"{error}; {source.otherwise}" if source.otherwise else str(error))
    if wrong:
        raise InputError("\n".join([*wrong, f"the other {len(missing) - len(wrong)} missing files were fetched"]))
    return missing


def _source(data: DataFiles, name: str) -> Source:
    """Where a file comes from, with everything checked that becomes a path or an address."""
    if name not in data.sources:
        raise InputError(f"{name} is pinned, but data.sources does not say where it comes from; put it there by hand")
    source = data.sources[name]
    if source.how not in WAYS:
        raise InputError(f"data.sources: {name}: how: got {source.how!r}, want one of {', '.join(WAYS)}")
    for path in (name, *source.files.values()):
        if not re.fullmatch(r"[\w.+-]+(/[\w.+-]+)*", path) or ".." in PurePosixPath(path).parts:
            raise InputError(f"data.sources: {name}: want relative paths of letters, digits and . _ + -, got {path!r}")
    return source


def _content(data: DataFiles, name: str, source: Source, upstream: Upstream) -> bytes:
    """A local file's content, checked. Raises InputError if it, or what it is made of, is not what is pinned."""
    contents = {}
    for role, path in source.files.items():
        contents[role] = upstream.get(path)
        if role in source.sha256:
            _check(f"{path} ({data.origin})", contents[role], source.sha256[role])
    content = derive(name, source, contents)
    _check(f"{name}, made of {', '.join(source.files.values())} ({data.origin}),", content, data.sha256[name])
    return content


def _check(what: str, content: bytes, pinned: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != pinned:
        raise InputError(f"{what} has sha256 {digest} ({len(content):,} bytes), pinned is {pinned}; it was not kept")


class Upstream:
    """An open connection to the files of one commit."""

    def __init__(self, base: str, http: Any, seen: Seen, limits: Limits) -> None:
        self.base, self.http, self.seen, self.limits = base, http, seen, limits
        self.room = limits.total_bytes

    def get(self, path: str) -> bytes:
        """A file's bytes. Raises InputError if it is refused or too big, Incomplete when no attempt ends well."""
        why = ""
        for attempt in range(self.limits.attempts):
            if attempt:
                time.sleep(self.limits.pause_seconds * 2 ** (attempt - 1))
            try:
                return self._attempt(path)
            except Interrupted as error:
                why = str(error)
        raise Incomplete(
            f"{self.base}/{path}: not had in {self.limits.attempts} attempts; last: {why}. What came before it is "
            "kept; the same command goes on from here, and data.mirror names another server"
        )

    def _attempt(self, path: str) -> bytes:
        import httpx

        ends_at = time.monotonic() + self.limits.file_seconds
        received = bytearray()
        try:
            with self.http.stream("GET", f"{self.base}/{quote(path)}") as reply:
                self._accept(path, reply)
                length = reply.headers.get("content-length", "")
                there = int(length) if length.isdecimal() and "content-encoding" not in reply.headers else None
                for chunk in reply.iter_bytes():
                    received += chunk
                    self.room -= len(chunk)
                    self._bounds(path, ends_at)
                    self.seen(path, len(received), there)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Interrupted(f"{type(error).__name__}: {error}") from None
        return bytes(received)

    def _accept(self, path: str, reply: Any) -> None:
        if reply.status_code in RETRIED:
            raise Interrupted(f"HTTP {reply.status_code}")
        if reply.is_redirect:
            raise InputError(f"{self.base}/{path}: redirected elsewhere, which is not followed; set data.mirror to it")
        if reply.status_code != 200:
            raise InputError(f"{self.base}/{path}: HTTP {reply.status_code}; check upstream, commit and data.mirror")

    def _bounds(self, path: str, ends_at: float) -> None:
        if self.room < 0:
            raise InputError(f"{path}: more than {self.limits.total_bytes:,} bytes in one fetch; it was not kept")
        if time.monotonic() > ends_at:
            raise Interrupted(f"not all there after {self.limits.file_seconds:g} s")


@contextmanager
def _connect(data: DataFiles, seen: Seen, limits: Limits) -> Iterator[Upstream]:
    """Open the pinned commit. Raises InputError for an address that is no plain https one."""
    import httpx

    mirror = urlsplit(data.mirror)
    safe = mirror.scheme == "https" or (mirror.scheme == "http" and mirror.hostname in HERE)
    if not safe or not mirror.hostname or mirror.query or mirror.fragment or mirror.username or mirror.password:
        raise InputError(f"data.mirror: want https://HOST[/PATH] (http for this machine alone), got {data.mirror!r}")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", data.upstream) or not re.fullmatch(r"[0-9a-f]{40}", data.commit):
        raise InputError(f"data.upstream, data.commit: want OWNER/NAME and 40 hex digits, got {data.origin!r}")
    timeout = httpx.Timeout(limits.timeout_seconds, connect=min(10.0, limits.timeout_seconds))
    with httpx.Client(timeout=timeout, follow_redirects=False) as http:
        yield Upstream(f"{data.mirror.rstrip('/')}/{data.upstream}/{data.commit}", http, seen, limits)
