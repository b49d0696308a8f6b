"""Files of rows as people have them: JSON Lines, JSON arrays, Parquet and CSV, packed or not, in one file or several.

What a file is follows from its first bytes; only CSV is known by its name. Errors name the file and, in text, the line.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from reer.data.rows import BadRow, Placed, Problems, Row, listed
from reer.errors import InputError

MAX_LINE_BYTES = 8 * 2**20
MAX_ARRAY_BYTES = 2**30  # a JSON array is parsed as a whole
MEMORY_BYTES = 64 * 2**20  # a file up to this size is read from memory, a larger one from a copy on disk
CHUNK_BYTES = 2**20
MAGIC_BYTES = 6
BOM = b"\xef\xbb\xbf"
_BOMS = re.compile(rb"(?:\xef\xbb\xbf)+")
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}  # by magic bytes; names are Arrow's
FOREIGN = {
    b"PK\x03\x04": "a zip archive; unpack it",
    b"\xfd7zXZ\x00": "compressed with xz; unpack it (unxz)",
    b"ARROW1": "an Arrow file; save it as Parquet",
    b"\xff\xfe\x00\x00": "UTF-32; convert it: iconv -f UTF-32 -t UTF-8 FILE > NEW",
    b"\xff\xfe": "UTF-16, as PowerShell's `>` writes it; convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW",
    b"\xfe\xff": "UTF-16; convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW",
    b"{\x00": "UTF-16 without a byte order mark; convert it: iconv -f UTF-16LE -t UTF-8 FILE > NEW",
    b"[\x00": "UTF-16 without a byte order mark; convert it: iconv -f UTF-16LE -t UTF-8 FILE > NEW",
    b"\x00": "UTF-16 or UTF-32 without a byte order mark; convert it: iconv -f UTF-16BE -t UTF-8 FILE > NEW",
    **{magic: f"compressed twice; unpack it once ({name})" for magic, name in PACKED.items()},
}
SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv")  # what counts as a file of rows in a folder
PACKED_SUFFIXES = ("", ".gz", ".zst", ".bz2")
WANTED = "JSON Lines, a JSON array, Parquet or CSV (.gz, .zst and .bz2 too)"
PARQUET_ROWS = 256
Rows = Callable[[BufferedReader, str, Problems], Iterator[Placed]]


@dataclass(frozen=True)
class RowFile:
    """A file and the sha256 (16 digits) of its bytes when it was first asked for; '' where that is not checked. `label`
    names it in messages, if not its path."""

    path: Path
    digest: str = ""
    label: str = ""

    @property
    def name(self) -> str:
        return self.label or str(self.path)


def row_files(path: str, key: str) -> tuple[RowFile, ...]:
    """The file at a path; the files of rows in a folder or of a glob, in the order of their names. `key` is the setting
    that holds the path, for messages. Raises InputError if there is none."""
    place = Path(path).expanduser()
    if place.is_dir():
        found = [file for file in sorted(place.rglob("*")) if _is_rows(file)]
        if not found:
            raise InputError(f"{path}: the folder has no files of rows; want {', '.join(SUFFIXES)}; check {key}")
    elif not place.exists() and glob.has_magic(path):
        found = sorted(Path(name) for name in glob.glob(str(place), recursive=True) if Path(name).is_file())
        if not found:
            raise InputError(f"{path}: no file has a name of this pattern (looked from {Path.cwd()}); check {key}")
    else:
        found = [place]
    return tuple(RowFile(file, file_digest(file, key)) for file in found)


def _is_rows(file: Path) -> bool:
    hidden = file.name.startswith((".", "_"))
    return not hidden and file.is_file() and file.name.lower().endswith(_NAMES)


_NAMES = tuple(suffix + packed for suffix in SUFFIXES for packed in PACKED_SUFFIXES)


def content_of(files: Sequence[RowFile]) -> str:
    """The digest of the content of all files: that of the file where there is one."""
    if len(files) == 1:
        return files[0].digest
    return hashlib.sha256("".join(file.digest for file in files).encode()).hexdigest()[:16]


def rows_in(files: Iterable[RowFile], problems: Problems) -> Iterator[Placed]:
    """(where, row) of each row of each file. Raises InputError for a file that cannot be read, for one with other
    content than its digest says, and if there are no rows at all."""
    has_rows, dropped, names = False, len(problems.drops), list[str]()
    for file in files:
        names.append(file.name)
        with _identified(file) as copy, _unpacked(copy, file.name) as stream:
            for placed in _reader(stream, file.name)(stream, file.name, problems):
                has_rows = True
                yield placed
    if not has_rows and len(problems.drops) == dropped:
        what = "the file has" if len(names) == 1 else f"{len(names)} files have"
        raise InputError(f"{listed(names)}: {what} no rows; want {WANTED}")


def _reader(stream: BufferedReader, name: str) -> Rows:
    """How a file is read, by its first bytes and its name."""
    head = stream.peek(MAGIC_BYTES)
    for magic, what in FOREIGN.items():
        if head.startswith(magic):
            raise InputError(f"{name}: the file is {what}")
    if head.startswith(b"PAR1"):
        return _parquet
    if re.search(r"\.[ct]sv(\.\w+)?$", name.lower()):
        return _delimited
    return _array if head.removeprefix(BOM).lstrip().startswith(b"[") else json_lines


@contextmanager
def _identified(file: RowFile) -> Iterator[BufferedReader]:
    """The bytes of a file, read once before the first row, so that the bytes that become rows are those of the digest
    even if another program changes the file meanwhile."""
    hashed = hashlib.sha256()
    with open_input(file.path) as source, tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as copy:
        while chunk := source.read(CHUNK_BYTES):
            hashed.update(chunk)
            copy.write(chunk)
        if file.digest and not hashed.hexdigest().startswith(file.digest):
            raise InputError(
                f"{file.name}: its content has sha256 {hashed.hexdigest()[:16]}, wanted {file.digest}, the content "
                "that it had when this run was checked; restore the file, or repeat the command to use the new content"
            )
        copy.seek(0)
        with BufferedReader(cast(Any, copy)) as stream:
            yield stream


@contextmanager
def _unpacked(stream: BufferedReader, name: str) -> Iterator[BufferedReader]:
    """The bytes as they were before they were compressed. Raises InputError for a damaged file."""
    packing = next((name for magic, name in PACKED.items() if stream.peek(MAGIC_BYTES).startswith(magic)), None)
    if packing is None:
        yield stream
        return
    import pyarrow

    try:
        with pyarrow.CompressedInputStream(stream, packing) as plain, BufferedReader(cast(Any, plain)) as unpacked:
            yield unpacked
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(
            f"{name}: {packing} cannot unpack it ({error}); the file is damaged or cut, fetch it again"
        ) from error


def file_digest(path: Path, key: str = "source.path") -> str:
    """The first 16 hex digits of the sha256 of a file's bytes. Raises InputError if it cannot be read."""
    with open_input(path, key) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def open_input(path: Path, key: str = "source.path") -> BufferedReader:
    """The file opened for reading bytes. Raises InputError if it is missing, cannot be read, or is no regular file."""
    try:
        stream = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  # the caller closes it
    except FileNotFoundError:
        raise InputError(f"{path}: no such file (looked in {path.resolve().parent}); check {key}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check {key}") from error
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise InputError(f"{path}: cannot be read: not a regular file; want {WANTED}")
    return stream


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a named pipe is opened without waiting for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def json_lines(stream: BufferedReader, name: str, problems: Problems) -> Iterator[Placed]:
    """One JSON object per line. Only `\\n` ends a line: other Unicode separators are text. Byte order marks may begin
    any line, because files with one are joined by `cat`."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        where = f"{name}:{number}"
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE_BYTES)
            problems.add(where, "oversized_line", f"the line is longer than {MAX_LINE_BYTES:,} bytes")
            continue
        if not (text := _without_bom(line)).strip():
            continue
        try:
            row = _parse(text)
        except BadRow as bad:
            problems.add(where, bad.reason, str(bad))
        else:
            yield where, row


def _without_bom(line: bytes) -> bytes:
    boms = _BOMS.match(line)
    return line[boms.end() :] if boms else line


def _parse(line: bytes) -> Row:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRow("not_utf8", f"not UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:  # a plain ValueError: an integer of more than 4,300 digits
        why = "its lines end with CR alone; want LF" if b"\r" in line.strip() else str(error)
        if isinstance(error, json.JSONDecodeError) and error.pos >= len(error.doc.rstrip()):
            why = "it does not end on this line; want each object on a line of its own, or all in one array: [{…}, {…}]"
        raise BadRow("malformed_json", f"not a JSON object: {why}") from None
    return _object(row)


def _object(row: object) -> Row:
    if not isinstance(row, dict):
        raise BadRow("not_an_object", f"want a JSON object, got {type(row).__name__}")
    return row


def _array(stream: BufferedReader, name: str, problems: Problems) -> Iterator[Placed]:
    """One JSON array of objects; a place is the line on which the object begins."""
    content = stream.read(MAX_ARRAY_BYTES + 1)
    if len(content) > MAX_ARRAY_BYTES:
        raise InputError(f"{name}: a JSON array of more than {MAX_ARRAY_BYTES:,} bytes; want one JSON object per line")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    line, counted = 1, 0
    for position, row in _elements(text, name):
        line, counted = line + text.count("\n", counted, position), position
        where = f"{name}:{line}"
        try:
            yield where, _object(row)
        except BadRow as bad:
            problems.add(where, bad.reason, str(bad))


def _elements(text: str, name: str) -> Iterator[tuple[int, object]]:
    """(position, value) of each element of a JSON array."""
    try:
        yield from _decoded(text)
    except (ValueError, RecursionError) as error:  # a plain ValueError: an integer of more than 4,300 digits
        raise InputError(f"{name}: the JSON array is broken: {error}; fix it") from None


def _decoded(text: str) -> Iterator[tuple[int, object]]:
    decoder, blank = json.JSONDecoder(), re.compile(r"[ \t\r\n]*")

    def after_blank(position: int) -> int:
        return cast(re.Match[str], blank.match(text, position)).end()

    position = after_blank(after_blank(0) + 1)
    while not text.startswith("]", position):
        value, end = decoder.raw_decode(text, position)
        yield position, value
        position = after_blank(end)
        if text.startswith(",", position):
            position = after_blank(position + 1)
        elif not text.startswith("]", position):
            raise json.JSONDecodeError("Expecting ',' or ']'", text, position)
    if (end := after_blank(position + 1)) < len(text):
        raise json.JSONDecodeError("Extra data", text, end)


def _delimited(stream: BufferedReader, name: str, problems: Problems) -> Iterator[Placed]:
    """CSV, or with tabs TSV, under a head of column names. An empty cell is null: CSV has no other. A place is the line
    on which the row ends."""
    csv.field_size_limit(MAX_LINE_BYTES)
    text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    reader = csv.DictReader(text, strict=True, delimiter="\t" if ".tsv" in name.lower() else ",")
    try:
        _check_columns(reader.fieldnames or (), name)
        for row in reader:
            where = f"{name}:{reader.line_num}"
            if None in row or None in row.values():
                problems.add(where, "wrong_cells", f"want {len(reader.fieldnames or ())} cells, as in the head")
                continue
            yield where, {name: value or None for name, value in row.items()}
    except csv.Error as error:
        raise InputError(f"{name}: not CSV after line {reader.line_num}: {error}; fix the row") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 after line {reader.line_num} ({error.reason}); save it as UTF-8") from None


def _check_columns(columns: Sequence[str], name: str) -> None:
    """Raise InputError for two columns of one name, of which one would be lost, and for another separator."""
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise InputError(f"{name}:1: two columns are named {listed(twice)}; rename one")
    if len(columns) == 1 and (other := re.search(r"[;|\t]", columns[0])):
        raise InputError(f"{name}:1: its columns seem to be separated by {other[0]!r}; want ',' (tabs in a .tsv file)")


def _parquet(stream: BufferedReader, name: str, problems: Problems) -> Iterator[Placed]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    if not stream.seekable():
        raise InputError(f"{name}: a Parquet file inside another compression; unpack it (Parquet compresses itself)")
    number = 0
    try:
        for batch in ParquetFile(stream).iter_batches(batch_size=PARQUET_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield f"{name}: row {number}", row
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{name}: not readable as Parquet after row {number} ({error}); fetch it again") from error
