"""Fault points: the calls to the operating system on which a result depends, and a fault at the n-th of them.

`inject` replaces these calls in the current process, which must be one of its own: nothing is restored. It counts the
calls of each point, and at the chosen one kills the process or raises an error of the disk. A write that meets a
fault writes its first half before.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import IO, Literal, ParamSpec, TypeVar

Point = Literal["write", "append", "fsync", "rename", "record", "unlink", "lock", "send", "receive"]
Kind = Literal["kill before", "kill after", "ENOSPC", "EIO"]
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The kind of fault, and where it happens: at the `number`-th call of `point`, counted from 1."""

    point: Point
    number: int
    kind: Kind

    def __str__(self) -> str:
        return f"{self.kind} at {self.point} {self.number}"


class Points:
    """The fault points of this process: how often each was passed, and the fault, if there is one."""

    def __init__(self, fault: Fault | None) -> None:
        self.fault, self.counts = fault, Counter[Point]()

    def passing(self, point: Point) -> Kind | None:
        """Count a call; the kind of fault that it must meet."""
        self.counts[point] += 1
        fault = self.fault
        return fault.kind if fault and (fault.point, fault.number) == (point, self.counts[point]) else None

    def around(
        self, call: Callable[Arguments, Result], point_of: Callable[..., Point | None]
    ) -> Callable[Arguments, Result]:
        """The call as a fault point; `point_of` names the point from the arguments, None for a call of no interest."""

        @wraps(call)
        def wrapped(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
            point: Point | None = point_of(*arguments, **options)
            kind = self.passing(point) if point else None
            fail(kind)
            try:
                return call(*arguments, **options)
            finally:
                if kind == "kill after":
                    kill()

        return wrapped


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(kind: Kind | None) -> None:
    """What happens before a call: a kill, an error of the disk, or nothing."""
    if kind == "kill before":
        kill()
    elif kind in ("ENOSPC", "EIO"):
        number = errno.ENOSPC if kind == "ENOSPC" else errno.EIO
        raise OSError(number, os.strerror(number), "injected")


class FaultyFile(io.BufferedIOBase):
    """A file opened for writing whose writes are fault points."""

    def __init__(self, stream: IO[bytes], point: Point, points: Points) -> None:
        self._stream, self._points = stream, points
        self._point: Point = point

    def write(self, content: bytes, /) -> int:  # type: ignore[override]
        kind = self._points.passing(self._point)
        if kind is None:
            return self._stream.write(content)
        self._stream.write(content if kind == "kill after" else content[: len(content) // 2])
        self._stream.flush()
        fail(kind)
        kill()
        raise AssertionError("a killed process goes on")

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._stream.seekable()

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._stream.seek(offset, whence)

    def truncate(self, size: int | None = None, /) -> int:
        return self._stream.truncate(size)

    def flush(self) -> None:
        if not self._stream.closed:
            self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def close(self) -> None:
        self._stream.close()
        super().close()


def inject(root: Path, fault: Fault | None) -> Points:
    """Make fault points of the calls that touch files under `root`, and of locks and connections."""
    points, inside = Points(fault), str(root.resolve())

    def below(path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.path.abspath(os.fspath(path)).startswith(inside)

    def renames(source: object, target: object, **_: object) -> Point | None:
        if not below(target):
            return None
        return "record" if Path(str(target)).name == "record.json" else "rename"

    opened = io.open

    @wraps(opened)
    def opens(file: str | os.PathLike[str] | int, mode: str = "r", *arguments: object, **options: object) -> object:
        stream = opened(file, mode, *arguments, **options)  # type: ignore[call-overload]
        if "b" not in mode or not set(mode) & set("wax") or not below(file):
            return stream
        point: Point = "append" if "a" in mode else "write"
        return FaultyFile(stream, point, points)

    def talks(point: Point) -> Callable[..., Point | None]:
        return lambda connection, *_: point if connection.family == socket.AF_INET else None

    io.open = opens  # type: ignore[assignment]
    os.fsync = points.around(lambda handle: None, lambda handle: "fsync")  # a kill loses nothing that was written
    os.rename = points.around(os.rename, renames)
    os.replace = points.around(os.replace, renames)
    os.unlink = points.around(os.unlink, lambda path, **_: "unlink" if below(path) else None)
    fcntl.flock = points.around(fcntl.flock, lambda handle, operation: "lock")
    socket.socket.send = points.around(socket.socket.send, talks("send"))  # type: ignore[method-assign]
    socket.socket.recv = points.around(socket.socket.recv, talks("receive"))  # type: ignore[method-assign]
    return points
