"""Errors of the disk in one sentence: which path, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

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
            raise InputError(f"{where}: {error.strerror}; choose another runtime.root than {folder}") from error
        if error.errno not in _PASSING:
            raise
        raise Incomplete(
            f"{where}: {error.strerror}; {_PASSING[error.errno]}, then run the same command again to resume"
        ) from error
