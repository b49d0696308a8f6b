"""The append-only log with its index."""

import os
from pathlib import Path
from typing import Any

import pytest

from reer.files import JsonObject
from reer.logs import INDEX_BYTES, AppendLog, Entry


def entry(row: JsonObject) -> Entry:
    return Entry(row["key"], float(row["n"]))


def row(number: int, text: str = "") -> dict[str, Any]:
    return {"key": f"{number:032x}", "n": number, "text": text}


def filled(folder: Path, count: int, text: str = "x" * 1000) -> AppendLog:
    log = AppendLog(folder, entry)
    for number in range(1, count + 1):
        log.append(row(number, text))
    return log


def only(folder: Path, suffix: str) -> Path:
    (file,) = folder.glob(f"*.{suffix}")
    return file


def rows_of(log: AppendLog, count: int) -> list[object]:
    return [(log.get(row(number)["key"]) or {}).get("n") for number in range(1, count + 1)]


def test_an_index_gives_what_a_scan_gives(tmp_path: Path) -> None:
    filled(tmp_path, 50)
    indexed = AppendLog(tmp_path, entry)
    only(tmp_path, "index").unlink()
    scanned = AppendLog(tmp_path, entry)
    for log in (indexed, scanned):
        assert (len(log), log.amount) == (50, sum(range(51)))
        assert rows_of(log, 51) == [*range(1, 51), None]


def test_opening_reads_no_row_that_the_index_knows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path, 50)
    data = only(tmp_path, "jsonl")
    data.write_bytes(b"?" * (data.stat().st_size - 1) + b"\n")
    log = AppendLog(tmp_path, entry)
    assert len(log) == 50
    assert log.get(row(7)["key"]) is None, "an index is a cache, never the truth"
    assert any("changed since its index was written" in message for message in caplog.messages)
    assert len(log) == 0


def test_a_missing_index_is_written_again_where_that_saves_work(tmp_path: Path) -> None:
    filled(tmp_path, INDEX_BYTES // 1000 + 1)
    before = only(tmp_path, "index").read_bytes()
    only(tmp_path, "index").unlink()
    AppendLog(tmp_path, entry)
    assert only(tmp_path, "index").read_bytes() == before


@pytest.mark.parametrize("cut", [1, 35, 36, 37, 100])
def test_a_torn_index_costs_a_scan_of_the_rest(tmp_path: Path, cut: int) -> None:
    filled(tmp_path, 9)
    index = only(tmp_path, "index")
    index.write_bytes(index.read_bytes()[:-cut])
    assert rows_of(AppendLog(tmp_path, entry), 9) == list(range(1, 10))


def test_an_index_of_another_file_is_not_believed(tmp_path: Path) -> None:
    filled(tmp_path, 9)
    only(tmp_path, "index").write_bytes(os.urandom(360))
    assert rows_of(AppendLog(tmp_path, entry), 9) == list(range(1, 10))


def test_a_writer_and_a_reader_that_writes_the_index_lose_nothing(tmp_path: Path) -> None:
    count = INDEX_BYTES // 1000 + 1
    writer = filled(tmp_path, count)
    only(tmp_path, "index").unlink()
    reader = AppendLog(tmp_path, entry)
    writer.append(row(count + 1))
    only(tmp_path, "index").unlink()
    writer.append(row(count + 2))  # its index now begins in the middle of the file
    reader.refresh()
    for log in (reader, AppendLog(tmp_path, entry)):
        assert rows_of(log, count + 2) == list(range(1, count + 3))


def test_a_row_that_was_half_written_costs_nothing_else(tmp_path: Path) -> None:
    log = filled(tmp_path, 3)
    with only(tmp_path, "jsonl").open("ab") as stream:
        stream.write(b'{"key": "half')
    log.append(row(4))
    for each in (log, AppendLog(tmp_path, entry)):
        assert rows_of(each, 4) == [1, 2, 3, 4]


def test_the_first_row_of_a_key_counts_and_all_amounts(tmp_path: Path) -> None:
    log = AppendLog(tmp_path, entry)
    log.append(row(2, "first"))
    log.append(row(2, "second"))
    for each in (log, AppendLog(tmp_path, entry)):
        assert (each.get(row(2)["key"]) or {})["text"] == "first"
        assert each.amount == 4
