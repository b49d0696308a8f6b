"""What a disk can refuse, and who is at work on it: errors in one sentence, and locks with their holders."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from reer.errors import Incomplete, InputError

_ANOTHER_ROOT = "make it writable, or choose another runtime.root"
_PASSING = {
    errno.ENOSPC: "free some space on this disk",
    errno.EDQUOT: "free some of your quota on this disk",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close programs that hold many open files",
    errno.EIO: "check this disk",
    errno.EROFS: _ANOTHER_ROOT,
    errno.EACCES: _ANOTHER_ROOT,
    errno.EPERM: _ANOTHER_ROOT,
}
_WRONG_PATH = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}


@contextmanager
def disk_errors(folder: Path) -> Generator[None]:
    """Raise an error of the disk inside as Incomplete, or as InputError where `folder` can be no folder. Other errors
    of the system pass."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        if error.errno in _WRONG_PATH:
            raise InputError(
                f"{where}: {error.strerror}; change the option, or runtime.root, that names this path"
            ) from error
        if error.errno not in _PASSING:
            raise
        raise Incomplete(
            f"{where}: {error.strerror}; {_PASSING[error.errno]}, then run the same command again to resume"
        ) from error


@contextmanager
def held(lock: Path, wait: bool = True, run: str = "") -> Generator[None]:
    """Hold a lock, and write beside it who does: the name of a run, host and process. Where another process holds it,
    wait, or raise Timeout at once. The system frees it if its holder dies."""
    with FileLock(lock, blocking=wait):
        since = time.strftime("%F %T")
        who = f"{run} on {socket.gethostname()}" if run else socket.gethostname()
        _owner(lock).write_text(f"{who} pid {os.getpid()} since {since}", encoding="utf-8")
        yield


def holder(lock: Path) -> str | None:
    """`RUN on HOST pid N since TIME`: who holds a lock now; None where nobody does, also where a holder died."""
    if not lock.exists():
        return None
    try:
        with FileLock(lock, blocking=False):
            return None
    except Timeout:
        return _owner(lock).read_text(encoding="utf-8") if _owner(lock).exists() else "another process"
    except OSError:  # a copy that cannot be written: nothing is at work in it
        return None


def _owner(lock: Path) -> Path:
    return lock.with_suffix(".owner")
