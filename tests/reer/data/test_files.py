"""Files of rows as people have them: every form gives the same rows, and what cannot be read is called by its name."""

import bz2
import csv
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

import reer.data.files
from reer.data.files import content_of, row_files, rows_in
from reer.data.rows import Placed, Problems
from reer.errors import InputError

ROWS = [{"query": "q", "answer": "one\u2028two"}, {"query": None, "answer": 'drei, "四"\nfive'}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
BOM = b"\xef\xbb\xbf"


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, codec="zstd", asbytes=True)


def table(delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["query", "answer"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def parquet() -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), buffer)
    return buffer.getvalue()


def array(indent: int | None) -> bytes:
    return json.dumps(ROWS, ensure_ascii=False, indent=indent).encode()


def read(place: Path, policy: str = "error") -> tuple[list[Placed], Problems]:
    problems = Problems(policy)  # type: ignore[arg-type]
    return list(rows_in(row_files(str(place), "source.path"), problems)), problems


def written(folder: Path, name: str, content: bytes) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


FORMS: dict[str, tuple[bytes, list[str]]] = {
    "rows.jsonl": (LINES, [":1", ":2"]),
    "rows.ndjson": (BOM + LINES, [":1", ":2"]),
    "an empty file and two others in one.jsonl": (BOM + BOM + LINES, [":1", ":2"]),
    "two files in one.jsonl": (BOM + LINES.replace(b"\n", b"\n" + BOM, 1), [":1", ":2"]),
    "windows.jsonl": (LINES.replace(b"\n", b"\r\n\r\n"), [":1", ":3"]),
    "lines.json": (LINES, [":1", ":2"]),
    "line.json": (array(None), [":1", ":1"]),
    "pretty.json": (BOM + array(2), [":2", ":6"]),
    "rows.jsonl.gz": (gzip.compress(LINES, mtime=0), [":1", ":2"]),
    "members.jsonl.gz": (
        b"".join(gzip.compress(line, mtime=0) for line in LINES.splitlines(keepends=True)),
        [":1", ":2"],
    ),
    "rows.jsonl.zst": (zstd(LINES), [":1", ":2"]),
    "rows.json.bz2": (bz2.compress(array(2)), [":2", ":6"]),
    "no name of its own": (zstd(LINES), [":1", ":2"]),
    "rows.csv": (table(","), [":2", ":4"]),
    "excel.csv": (BOM + table(","), [":2", ":4"]),
    "rows.csv.gz": (gzip.compress(table(","), mtime=0), [":2", ":4"]),
    "rows.tsv": (table("\t"), [":2", ":4"]),
    "rows.parquet": (parquet(), [": row 1", ": row 2"]),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_file_gives_the_same_rows_and_their_places(tmp_path: Path, name: str) -> None:
    content, places = FORMS[name]
    file = written(tmp_path, name, content)
    rows, _ = read(file)
    assert [row for _, row in rows] == ROWS
    assert [where for where, _ in rows] == [f"{file}{place}" for place in places]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.jsonl", LINES.decode().encode("utf-16"), r"the file is UTF-16, as PowerShell.*iconv"),
        ("rows.jsonl", b"\xfe\xff" + LINES.decode().encode("utf-16-be"), r"the file is UTF-16; convert it: iconv"),
        ("rows.jsonl", LINES.decode().encode("utf-16-le"), r"the file is UTF-16 without a byte order mark"),
        ("rows.jsonl", LINES.decode().encode("utf-16-be"), r"the file is UTF-16 or UTF-32 without a byte order mark"),
        ("rows.jsonl", LINES.decode().encode("utf-32"), r"the file is UTF-32; convert it"),
        ("rows.jsonl.gz", gzip.compress(gzip.compress(LINES)), r"the file is compressed twice; unpack it once"),
        ("rows.jsonl", b"\xfd7zXZ\x00", r"the file is compressed with xz; unpack it"),
        ("rows.jsonl.gz", gzip.compress(LINES, mtime=0)[:-12], r"gzip cannot unpack it .*damaged or cut"),
        ("rows.jsonl.zst", zstd(LINES)[:-4], r"zstd cannot unpack it .*damaged or cut"),
        ("rows.jsonl.gz", gzip.compress(parquet(), mtime=0), r"a Parquet file inside another compression; unpack it"),
        ("rows.parquet", parquet()[:-20], r"not readable as Parquet"),
        ("rows.json", array(2)[:-30], r"the JSON array is broken: .*line \d"),
        ("rows.json", b"[" * 100_000, r"the JSON array is broken: "),
        ("rows.json", b"[" + b"9" * 5000 + b"]", r"the JSON array is broken: "),
        ("rows.json", b'[\n{"a": 1}\n{"a": 2}]', r"the JSON array is broken: Expecting ',' or '\]': line 3"),
        ("rows.json", b"[{}]\n{}", r"the JSON array is broken: Extra data: line 2"),
        ("rows.json", b'[{"a": "\xe9"}]', r"not UTF-8 at byte 8; save it as UTF-8"),
        ("rows.json", b"[]", r"the file has no rows"),
        ("rows.csv", b"query,answer\n", r"the file has no rows"),
        ("rows.csv", b'query,answer\nq,"open', r"not CSV after line 1: unexpected end of data"),
        ("rows.csv", b"query,answer\nq,caf\xe9\n", r"not UTF-8 after line \d .*save it as UTF-8"),
        ("rows.csv", b"query,answer\nq\n", r"rows\.csv:2: want 2 cells, as in the head"),
        ("rows.csv", b"query,answer\nq,a,x\n", r"rows\.csv:2: want 2 cells, as in the head"),
        ("rows.csv", b"query,answer,query\nq,a,r\n", r"rows\.csv:1: two columns are named query; rename one"),
        ("rows.csv", b"query;answer\nq;a\n", r"rows\.csv:1: its columns seem to be separated by ';'"),
        ("pretty.jsonl", array(2).strip(b"[]"), r"pretty\.jsonl:2: .*want each object on a line of its own, or all in"),
        ("mac.jsonl", LINES.replace(b"\n", b"\r"), r"mac\.jsonl:1: .*its lines end with CR alone; want LF"),
        ("rows.json", b"[7]", r"rows\.json:1: want a JSON object, got int"),
    ],
)
def test_what_cannot_be_read_is_called_by_its_name(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        read(written(tmp_path, name, content))
    assert str(tmp_path / name) in str(raised.value)


def test_a_zip_archive_is_called_by_its_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr("rows.jsonl", LINES)
    with pytest.raises(InputError, match=r"rows\.zip: the file is a zip archive; unpack it"):
        read(tmp_path / "rows.zip")


def test_bad_rows_of_arrays_and_tables_are_counted(tmp_path: Path) -> None:
    for name, content, reason in (
        ("rows.json", b'[7, {"a": 1}]', "not_an_object"),
        ("rows.csv", b"a\n1,2\n3\n", "wrong_cells"),
    ):
        rows, problems = read(written(tmp_path, name, content), "skip")
        assert ([drop.reason for drop in problems.drops], len(rows)) == ([reason], 1)


def shards(folder: Path) -> None:
    for number, row in enumerate(ROWS):
        written(folder, f"data/part-{number}.jsonl.gz", gzip.compress(json.dumps(row).encode()))
    written(folder, "README.md", b"# About")
    written(folder, "data/.hidden.jsonl", LINES)


@pytest.mark.parametrize("pattern", ["", "data", "data/part-*.jsonl.gz", "**/*.gz"])
def test_a_folder_and_a_glob_are_read_in_the_order_of_names(tmp_path: Path, pattern: str) -> None:
    shards(tmp_path)
    rows, _ = read(tmp_path / pattern)
    assert [row for _, row in rows] == ROWS
    assert [where.rsplit("/", 1)[1] for where, _ in rows] == ["part-0.jsonl.gz:1", "part-1.jsonl.gz:1"]


def test_an_empty_shard_is_no_error_and_only_empty_ones_are(tmp_path: Path) -> None:
    written(tmp_path, "a.jsonl", b"")
    written(tmp_path, "b.jsonl", LINES)
    assert len(read(tmp_path)[0]) == 2
    written(tmp_path, "b.jsonl", b"\n")
    with pytest.raises(InputError, match=r"a\.jsonl, .*b\.jsonl: 2 files have no rows; want JSON Lines"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("place", "says"),
    [("", r"the folder has no files of rows; want \.jsonl"), ("*.jsonl", r"no file has a name of this pattern")],
)
def test_a_folder_or_glob_without_files_of_rows_is_an_error(tmp_path: Path, place: str, says: str) -> None:
    written(tmp_path, "notes.txt", b"x")
    with pytest.raises(InputError, match=f"{says}.*check source.path"):
        read(tmp_path / place)


def test_brackets_in_a_name_are_part_of_it(tmp_path: Path) -> None:
    assert len(read(written(tmp_path, "lr=[0.1]/rows.jsonl", LINES))[0]) == 2


def test_the_content_of_shards_does_not_depend_on_their_folder(tmp_path: Path) -> None:
    digests = []
    for name in ("here", "there"):
        shards(tmp_path / name)
        digests.append(content_of(row_files(str(tmp_path / name), "source.path")))
    written(tmp_path / "there", "data/part-2.jsonl", LINES)
    assert digests[0] == digests[1] != content_of(row_files(str(tmp_path / "there"), "source.path"))


def test_a_file_that_unpacks_without_end_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reer.data.files, "MAX_ARRAY_BYTES", 10_000)
    bomb: dict[str, Any] = {"rows.json": b"[" + b" " * 20_000, "rows.jsonl": b'{"a": "' + b" " * 9 * 2**20}
    for name, content in bomb.items():
        with pytest.raises(InputError, match=r"more than 10,000 bytes|longer than 8,388,608 bytes"):
            read(written(tmp_path, name, gzip.compress(content)))
