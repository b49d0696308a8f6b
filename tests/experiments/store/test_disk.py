"""Errors of the disk: one sentence with the path and what to do, and an exit code that says whether to go on."""

import errno
import multiprocessing
import os
import resource
from pathlib import Path

import pytest
from filelock import Timeout

from experiments.store.disk import disk_errors, held, holder
from reer.errors import Incomplete, InputError
from reer.files import write_rows
from tests.fakes.commands import reer
from tests.fakes.stages import a_store, counting, numbers


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some space on this disk"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "choose another runtime.root"),
        (errno.EACCES, "make it writable"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "check this disk"),
    ],
)
def test_what_can_pass_leaves_the_command_incomplete(tmp_path: Path, code: int, advice: str) -> None:
    with pytest.raises(Incomplete) as failed, disk_errors(tmp_path):
        raise OSError(code, os.strerror(code), "/somewhere/rows.jsonl")
    assert str(failed.value).startswith(f"/somewhere/rows.jsonl: {os.strerror(code)}; ")
    assert advice in str(failed.value)
    assert str(failed.value).endswith("then run the same command again to resume")


def test_an_error_that_is_not_of_the_disk_passes(tmp_path: Path) -> None:
    with pytest.raises(ConnectionRefusedError), disk_errors(tmp_path):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="that names this path"):
        a_store(tmp_path / "file" / "store").build(numbers(count=1))


def test_a_run_in_a_root_that_is_a_file_ends_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = reer(tmp_path / "file", "run", "scale=smoke", "tracking=silent")
    assert done.code == 2
    assert str(tmp_path / "file") in done.err
    assert len(done.err.strip().splitlines()) <= 3


def _with_a_limit(root: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        a_store(root).build(numbers(count=500))
    except Incomplete as reason:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        write_rows(root / "reason.jsonl", [{"reason": str(reason)}])


def test_a_stage_that_meets_the_limit_of_file_sizes_is_resumed(tmp_path: Path) -> None:
    """The file system itself refuses the write: no half-written result, the path in the message, and the same command
    goes on once there is room."""
    process = multiprocessing.get_context("fork").Process(target=_with_a_limit, args=(tmp_path, 1000))
    process.start()
    process.join()
    assert (
        f"{numbers(count=500).fingerprint}.part/rows.jsonl: File too large" in (tmp_path / "reason.jsonl").read_text()
    )
    assert a_store(tmp_path).find(numbers(count=500)) is None
    store, ran = counting(tmp_path)
    assert store.build(numbers(count=500)).metrics.rows == 500
    assert ran == ["numbers"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_who_holds_a_lock_is_known_while_it_is_held(tmp_path: Path) -> None:
    lock = tmp_path / ".work.lock"
    assert holder(lock) is None
    assert not lock.exists(), "asking makes no lock"
    with held(lock):
        assert f" pid {os.getpid()} since " in str(holder(lock))
        with pytest.raises(Timeout), held(lock, wait=False):
            raise AssertionError("two hold one lock")
    with held(lock, run="full/smoke/s0"):
        assert str(holder(lock)).startswith("full/smoke/s0 on ")
    assert holder(lock) is None
