"""Atomic writes, and rows that are read back."""

import errno
import os
from pathlib import Path

import pytest

from reer.errors import InputError
from reer.files import naming, read_rows, remove_scratch, sync_tree, write_atomic, write_rows
from reer.types import Drop


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomic(path, "é")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud83d")
    assert path.read_bytes() == "é".encode()
    write_atomic(path, b"\xff")
    assert [file.name for file in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"id": "a", "reason": "b"}\n{"id": "a", "rea', "line 2 is damaged"),
        (b'{"id": 1, "reason": []}\n', "line 1 is damaged or of another program (id"),
        (b"\xff\n", "not UTF-8 at byte 0"),
    ],
)
def test_rows_that_cannot_be_read_are_named_by_file_and_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_rows(path, Drop)
    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)


def test_an_error_of_the_disk_names_the_path_it_was_about(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="rows") as failed, naming(tmp_path / "rows"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert failed.value.filename == str(tmp_path / "rows")
    with pytest.raises(OSError, match="other"), naming(tmp_path / "rows"):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), "other")


def test_what_a_killed_write_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    write_rows(tmp_path / "deep" / "rows.jsonl", [{"n": 1}])
    (tmp_path / "deep" / ".rows.jsonl.0badc0de.tmp").write_text("half")
    (tmp_path / "notes.tmp").write_text("mine")
    remove_scratch(tmp_path)
    sync_tree(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["notes.tmp", "rows.jsonl"]
