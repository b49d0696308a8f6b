"""Files that survive a crash: atomic writes, records as JSON Lines, and append-only logs shared by many processes."""

from __future__ import annotations

import json
import logging
import os
import struct
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter
from typing_extensions import TypeForm

log = logging.getLogger(__name__)

Row = TypeVar("Row")
JsonObject = Mapping[str, Any]

SYNC_SECONDS = 1.0  # a power cut loses at most this much of a log; a killed process loses nothing it has appended
INDEX_BYTES = 1 << 16  # of a log file may be missing from its index before a reader writes the index again
_ENTRY = struct.Struct("<16sQId")  # of an index: key, offset of the line, its length, its amount
_FOREIGN = bytes(16)  # the key of a line that cannot be looked up


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file that is either complete or absent, also after a power cut; text is UTF-8. Creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with scratch.open("wb") as stream:
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_json(path: Path, value: object) -> None:
    """Write an indented JSON file atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_rows(path: Path, rows: Iterable[object]) -> None:
    """Write dataclasses or plain objects as a JSONL file, atomically."""
    write_atomic(path, "".join(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in rows))


def read_rows(path: Path, kind: TypeForm[Row]) -> list[Row]:
    """The records of a JSONL file, checked against their type."""
    adapter = TypeAdapter(kind)
    lines = path.read_text(encoding="utf-8").split("\n")
    return [adapter.validate_json(line) for line in lines if line]


def plain(row: object) -> Any:
    """A dataclass as plain objects; anything else unchanged."""
    return asdict(row) if is_dataclass(row) and not isinstance(row, type) else row


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable; of a file, its content."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Make a folder durable with everything inside it: contents, names, and its own name."""
    for path in folder.rglob("*"):
        if path.is_file() or path.is_dir():
            sync_folder(path)
    sync_folder(folder)
    sync_folder(folder.parent)


@dataclass(frozen=True)
class Entry:
    """What a log keeps in memory of a row: the `key` (32 hex digits) it is found by, '' where it must not be found
    again, and an `amount` that the log sums over all rows."""

    key: str
    amount: float = 0.0


class AppendLog:
    """Rows in a folder that many processes append to: keys and offsets in memory, rows on disk.

    Each process appends JSON lines to a file of its own, `<uuid>.jsonl`, so writers never meet; every process reads all
    files. `entry` derives the entry of a row and raises ValueError, KeyError or TypeError for a row that is not of this
    log. An incomplete last line (a killed or still running writer) is skipped; complete lines that are not rows of this
    log are skipped with a warning. The first row of a key counts.

    Beside each file, `<uuid>.index` holds one fixed-size entry per line, so that opening a log does not read its rows.
    An index is a cache: it is trusted only as far as it is contiguous and inside the file, the rest of the file is
    scanned; a row whose key is not the expected one makes the file be scanned as a whole.

    A row is handed to the operating system when `append` returns; it is on the disk after at most `sync_seconds`, if
    appending goes on, and after `sync`.
    """

    def __init__(self, folder: Path, entry: Callable[[JsonObject], Entry], sync_seconds: float = SYNC_SECONDS) -> None:
        self.folder, self.sync_seconds, self.amount = folder, sync_seconds, 0.0
        self._entry = entry
        self._files: list[Path] = []
        self._read_to: list[int] = []  # bytes of each file that are known
        self._places: dict[bytes, int] = {}  # see _packed
        self._own: int | None = None
        self._synced_at, self._unsynced = time.monotonic(), False
        self.refresh()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def refresh(self) -> None:
        """Learn of rows that other processes have appended since."""
        known = {file: number for number, file in enumerate(self._files)}
        for file in sorted(self.folder.glob("*.jsonl")):
            number = known[file] if file in known else self._new_file(file)
            if number != self._own and file.stat().st_size > self._read_to[number]:
                self._learn(number, indexed=self._read_to[number] == 0)

    def get(self, key: str) -> JsonObject | None:
        """The first row of a key, read from disk; None where there is none."""
        digest = bytes.fromhex(key)
        place = self._places.get(digest)
        if place is None:
            return None
        row = self._row_at(place, key)
        if row is None:
            self._relearn(place >> 96)
            place = self._places.get(digest)
            row = None if place is None else self._row_at(place, key)
        return row

    def append(self, row: JsonObject) -> None:
        """Add a row to this process's file, at once."""
        entry = self._entry(row)
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
        if self._own is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._own = self._new_file(self.folder / f"{uuid.uuid4().hex}.jsonl")
        with self._files[self._own].open("ab") as stream:
            if stream.tell() != self._read_to[self._own]:
                stream.write(b"\n")  # an earlier append failed half-way, on a full disk for example
            start = stream.tell()
            stream.write(line)
            stream.flush()
            self._unsynced = True
            if time.monotonic() - self._synced_at >= self.sync_seconds:
                self._sync(stream.fileno())
        with self._files[self._own].with_suffix(".index").open("ab") as index:
            index.write(_ENTRY.pack(_digest(entry.key), start, len(line), entry.amount))
        self._add(self._own, _digest(entry.key), start, len(line), entry.amount)

    def sync(self) -> None:
        """Wait until every appended row is on the disk."""
        if self._own is not None and self._unsynced:
            with self._files[self._own].open("ab") as stream:
                self._sync(stream.fileno())

    def _sync(self, handle: int) -> None:
        os.fsync(handle)
        self._synced_at, self._unsynced = time.monotonic(), False

    def _new_file(self, file: Path) -> int:
        self._files.append(file)
        self._read_to.append(0)
        return len(self._files) - 1

    def _add(self, number: int, digest: bytes, start: int, length: int, amount: float) -> None:
        self._read_to[number] = start + length
        self.amount += amount
        if digest != _FOREIGN:
            self._places.setdefault(digest, _packed(number, start, length))

    def _learn(self, number: int, indexed: bool) -> None:
        """Read the entries of a file that are not known yet: from its index, then from its lines."""
        if indexed:
            for entry in self._index_of(self._files[number]):
                self._add(number, *entry)
        start = self._read_to[number]
        for entry in self._scan(self._files[number], start):
            self._add(number, *entry)
        if self._read_to[number] - start >= INDEX_BYTES:
            self._write_index(self._files[number])

    def _index_of(self, file: Path) -> Iterator[tuple[bytes, int, int, float]]:
        """The entries of an index, as far as they are contiguous and inside the file."""
        try:
            content = file.with_suffix(".index").read_bytes()
        except FileNotFoundError:
            return
        end, size = 0, file.stat().st_size
        for digest, start, length, amount in _ENTRY.iter_unpack(content[: len(content) // _ENTRY.size * _ENTRY.size]):
            if start != end or start + length > size or not length:
                return
            yield digest, start, length, amount
            end = start + length

    def _scan(self, file: Path, start: int) -> Iterator[tuple[bytes, int, int, float]]:
        """The entries of all complete lines from `start` on."""
        foreign = 0
        with file.open("rb") as stream:
            stream.seek(start)
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # still being written, or cut off by a kill
                parsed = self._parsed(line)
                foreign += parsed is None
                digest, amount = (_digest(parsed[0].key), parsed[0].amount) if parsed else (_FOREIGN, 0.0)
                yield digest, start, len(line), amount
                start += len(line)
        if foreign:
            log.warning("%s: skipped %d lines that are not records of this kind", file, foreign)

    def _parsed(self, line: bytes) -> tuple[Entry, JsonObject] | None:
        try:
            row = json.loads(line)
            entry = self._entry(row)
            _digest(entry.key)
        except (ValueError, KeyError, TypeError):
            return None
        return entry, row

    def _row_at(self, place: int, key: str) -> JsonObject | None:
        """The row at a place; None where the file holds another one there."""
        number, start, length = place >> 96, (place >> 32) & (1 << 64) - 1, place & (1 << 32) - 1
        try:
            with self._files[number].open("rb") as stream:
                stream.seek(start)
                line = stream.read(length)
        except FileNotFoundError:
            return None
        parsed = self._parsed(line)
        return parsed[1] if parsed and parsed[0].key == key else None

    def _relearn(self, number: int) -> None:
        """Scan a file that is not what its index says, or was changed since it was read; then write its index again."""
        log.warning("%s: its index does not match it; reading the whole file", self._files[number])
        self._places = {digest: place for digest, place in self._places.items() if place >> 96 != number}
        before, self._read_to[number] = self.amount, 0
        if self._files[number].exists():
            self._learn(number, indexed=False)
            self._write_index(self._files[number])
        self.amount = before

    def _write_index(self, file: Path) -> None:
        entries = b"".join(_ENTRY.pack(*entry) for entry in self._scan(file, 0))
        try:
            write_atomic(file.with_suffix(".index"), entries)
        except PermissionError:
            log.info("%s: cannot write an index beside it, so every reader scans it", file)


def _packed(number: int, start: int, length: int) -> int:
    """A place in one integer, because a log may hold hundreds of thousands: file number, offset, length."""
    return number << 96 | start << 32 | length


def _digest(key: str) -> bytes:
    """The 16 bytes of a key. Raises ValueError where it is not 32 hex digits or empty."""
    digest = bytes.fromhex(key) if key else _FOREIGN
    if len(digest) != 16:
        raise ValueError(f"key: want 32 hex digits, got {key!r}")
    return digest
