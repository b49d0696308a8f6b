"""Downloads a benchmark's own files from its repository at the pinned commit and checks each before it is stored.

A correct file is kept, a file with other content is never replaced, and a file appears completely or not at all: an
interrupted download resumes when the command is repeated.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from evals.benchmarks.data_files import DataFiles, UpstreamFiles
from evals.benchmarks.extract import EXTRACTORS, extract
from reer.errors import Incomplete, InputError
from reer.files import write_atomic

if TYPE_CHECKING:
    import httpx

RETRY_STATUSES = {408, 425, 429, 500, 502, 503, 504}
LOOPBACK = ("127.0.0.1", "localhost", "::1")

FileState = Literal["present", "missing", "different"]
OnProgress = Callable[[str, int, int | None], None]  # upstream path, bytes received, bytes in total if known


def no_progress(path: str, received: int, total: int | None) -> None:
    """Reports nothing."""


@dataclass(frozen=True, kw_only=True)
class DownloadLimits:
    """`timeout_seconds` bounds one wait for bytes, `file_seconds` one attempt at a file, `total_bytes` everything that
    one call downloads. The pause between attempts doubles, starting at `pause_seconds`."""

    attempts: PositiveInt = 5
    timeout_seconds: PositiveFloat = 30.0
    file_seconds: PositiveFloat = 900.0
    total_bytes: PositiveInt = 128 * 2**20
    pause_seconds: NonNegativeFloat = 1.0


DEFAULT_LIMITS = DownloadLimits()


class Retryable(Exception):
    """A download failed in a way that another attempt may not."""


def file_states(data: DataFiles) -> dict[str, FileState]:
    """The state of each local file: `different` is a file whose sha256 is not the pinned one."""
    return {name: _state(data.actual_sha256(name), pinned) for name, pinned in data.sha256.items()}


def _state(actual: str | None, pinned: str) -> FileState:
    if actual is None:
        return "missing"
    return "present" if actual == pinned else "different"


def fetch(data: DataFiles, on_progress: OnProgress = no_progress, limits: DownloadLimits = DEFAULT_LIMITS) -> list[str]:
    """Download the missing files; returns their names.

    Raises InputError before any download if a file has other content or no source, and after the other files are
    stored if one is not the pinned one; Incomplete if the server cannot be reached."""
    states = file_states(data)
    different = [str(Path(data.folder) / name) for name, state in states.items() if state == "different"]
    if different:
        raise InputError(
            f"{', '.join(different)}: present, but not the pinned content ({data.origin}); nothing was downloaded or "
            "replaced: move them away and fetch again, or pin their sha256 if you want that version"
        )
    missing = [name for name, state in states.items() if state == "missing"]
    sources = {name: _source(data, name) for name in missing}
    if not missing:
        return []
    errors = []
    with _connect(data, on_progress, limits) as upstream:
        for name, source in sources.items():
            try:
                write_atomic(Path(data.folder) / name, _content(data, name, source, upstream))
            except InputError as error:
                errors.append(f"{error}; {source.otherwise}" if source.otherwise else str(error))
    if errors:
        raise InputError("\n".join([*errors, f"the other {len(missing) - len(errors)} missing files were fetched"]))
    return missing


def _source(data: DataFiles, name: str) -> UpstreamFiles:
    """The upstream files of a local file, with everything checked that becomes a path or an address."""
    if name not in data.sources:
        raise InputError(f"{data.key}.sources: {name} is pinned, but has no source; add one, or the file by hand")
    source = data.sources[name]
    if source.method not in EXTRACTORS:
        raise InputError(
            f"{data.key}.sources: {name}: method: got {source.method!r}, want one of {', '.join(EXTRACTORS)}"
        )
    for path in (name, *source.files.values()):
        if not re.fullmatch(r"[\w.+-]+(/[\w.+-]+)*", path) or ".." in PurePosixPath(path).parts:
            raise InputError(
                f"{data.key}.sources: {name}: want relative paths of letters, digits and . _ + -, got {path!r}"
            )
    return source


def _content(data: DataFiles, name: str, source: UpstreamFiles, upstream: UpstreamConnection) -> bytes:
    """A local file's content. Raises InputError if it, or an upstream file it is made from, is not the pinned one."""
    contents = {}
    for role, path in source.files.items():
        contents[role] = upstream.get(path)
        if role in source.sha256:
            _check(f"{path} ({data.origin})", contents[role], source.sha256[role])
    content = extract(name, source, contents)
    _check(f"{name}, made of {', '.join(source.files.values())} ({data.origin}),", content, data.sha256[name])
    return content


def _check(file: str, content: bytes, pinned: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != pinned:
        raise InputError(f"{file} has sha256 {digest} ({len(content):,} bytes), pinned is {pinned}; it was not stored")


class UpstreamConnection:
    """An open connection to the files of one commit; `key` is where the files are configured, for messages."""

    def __init__(
        self, key: str, base_url: str, client: httpx.Client, on_progress: OnProgress, limits: DownloadLimits
    ) -> None:
        self.key, self.base_url, self.client = key, base_url, client
        self.on_progress, self.limits = on_progress, limits
        self.bytes_left = limits.total_bytes

    def get(self, path: str) -> bytes:
        """A file's bytes. Raises InputError if it is refused or too big, Incomplete if every attempt fails."""
        reason = ""
        for attempt in range(self.limits.attempts):
            if attempt:
                time.sleep(self.limits.pause_seconds * 2 ** (attempt - 1))
            try:
                return self._attempt(path)
            except Retryable as error:
                reason = str(error)
        raise Incomplete(
            f"{self.base_url}/{path}: {self.limits.attempts} attempts failed, the last with: {reason}. Files before it "
            f"are stored; repeat the command to resume, or set {self.key}.mirror to another server"
        )

    def _attempt(self, path: str) -> bytes:
        import httpx

        deadline = time.monotonic() + self.limits.file_seconds
        received = bytearray()
        try:
            with self.client.stream("GET", f"{self.base_url}/{quote(path)}") as reply:
                self._check_status(path, reply)
                length = reply.headers.get("content-length", "")
                total = int(length) if length.isdecimal() and "content-encoding" not in reply.headers else None
                for chunk in reply.iter_bytes():
                    received += chunk
                    self.bytes_left -= len(chunk)
                    self._check_limits(path, deadline)
                    self.on_progress(path, len(received), total)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Retryable(f"{type(error).__name__}: {error}") from None
        return bytes(received)

    def _check_status(self, path: str, reply: httpx.Response) -> None:
        url = f"{self.base_url}/{path}"
        if reply.status_code in RETRY_STATUSES:
            raise Retryable(f"HTTP {reply.status_code}")
        if reply.is_redirect:
            raise InputError(
                f"{url}: the server redirects, which is not followed; set {self.key}.mirror to the new address"
            )
        if reply.status_code != 200:
            raise InputError(f"{url}: HTTP {reply.status_code}; check {self.key}.upstream, .commit and .mirror")

    def _check_limits(self, path: str, deadline: float) -> None:
        if self.bytes_left < 0:
            raise InputError(f"{path}: more than {self.limits.total_bytes:,} bytes in one fetch; it was not stored")
        if time.monotonic() > deadline:
            raise Retryable(f"not complete after {self.limits.file_seconds:g} s")


@contextmanager
def _connect(data: DataFiles, on_progress: OnProgress, limits: DownloadLimits) -> Iterator[UpstreamConnection]:
    """Connect to the pinned commit. Raises InputError unless the mirror is a plain https address."""
    import httpx

    mirror = urlsplit(data.mirror)
    safe = mirror.scheme == "https" or (mirror.scheme == "http" and mirror.hostname in LOOPBACK)
    if not safe or not mirror.hostname or mirror.query or mirror.fragment or mirror.username or mirror.password:
        raise InputError(
            f"{data.key}.mirror: want https://HOST[/PATH] (http for this machine only), got {data.mirror!r}"
        )
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", data.upstream) or not re.fullmatch(r"[0-9a-f]{40}", data.commit):
        raise InputError(f"{data.key}.upstream, .commit: want OWNER/NAME and 40 hex digits, got {data.origin!r}")
    timeout = httpx.Timeout(limits.timeout_seconds, connect=min(10.0, limits.timeout_seconds))
    with httpx.Client(timeout=timeout, follow_redirects=False) as client:
        base_url = f"{data.mirror.rstrip('/')}/{data.upstream}/{data.commit}"
        yield UpstreamConnection(data.key, base_url, client, on_progress, limits)
