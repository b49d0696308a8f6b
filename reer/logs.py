"""Append-only logs that many processes share and that survive a crash: each line carries a version and a checksum."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from reer.errors import InputError
from reer.files import JsonObject, naming, sync_folder, write_atomic

log = logging.getLogger(__name__)

SYNC_SECONDS = 1.0  # a power cut loses at most this much of a log; a killed process loses nothing it has appended
INDEX_BYTES = 1 << 16  # of a log file may be missing from its index before a reader writes the index again
LINE_VERSION = 1  # of what `seal` writes
_SEAL = ', "sha256": "{}"}}\n'
_SEAL_BYTES = len(_SEAL.format("0" * 16))
_ENTRY = struct.Struct("<16sQId")  # of an index: key, offset of the line, its length, its amount
_CHECKED_ENTRY = struct.Struct("<36sI")  # an entry and its checksum
_FOREIGN = bytes(16)  # the key of a line that cannot be looked up


def seal(row: JsonObject) -> bytes:
    """A row as a line of a log: a JSON object that ends in the version of this format and the first 16 hex digits of
    the sha256 of all before them. Raises ValueError for a row with a number that is not finite."""
    text = json.dumps({**row, "version": LINE_VERSION}, ensure_ascii=False, allow_nan=False)
    body = text[:-1].encode("utf-8", "surrogatepass")
    return body + _seal_of(body)


def unseal(line: bytes) -> JsonObject:
    """The row of a line that `seal` wrote, with its `version`. Raises ValueError for a line that is torn, altered or
    not from `seal`."""
    body = line[:-_SEAL_BYTES]
    if not body or line[-_SEAL_BYTES:] != _seal_of(body):
        raise ValueError("the line does not match its checksum")
    return json.loads(body + b"}", parse_constant=_refuse)


def _seal_of(body: bytes) -> bytes:
    return _SEAL.format(hashlib.sha256(body).hexdigest()[:16]).encode("ascii")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no finite number")


@dataclass(frozen=True)
class Entry:
    """What a log keeps in memory of a row: the `key` (32 hex digits) it is found by, '' where it must not be found
    again, and an `amount` that the log sums over all rows."""

    key: str
    amount: float = 0.0


class AppendLog:
    """Rows in a folder that many processes append to: keys and offsets in memory, rows on disk.

    Each process appends lines (see `seal`) to a file of its own, `<uuid>.jsonl`, so writers never meet; every process
    reads all files. `entry` derives the entry of a row and raises ValueError, KeyError or TypeError for a row that is
    not of this log. The first row of a key counts.

    A line that is torn, altered or not of this log costs no other line: it is skipped, copied to `<uuid>.damaged`
    beside the file, and reported in one warning per file when it is first found. An incomplete last line may still be
    being written, so it is reported only when a log is opened. InputError is raised for a line of another version.

    Beside each file, `<uuid>.index` holds one fixed-size entry per line, so that opening a log does not read its rows.
    An index is a cache: it is trusted only as far as its entries match their checksums, are contiguous and inside the
    file; the rest of the file is scanned. A line is checked when it is read; one that does not hold the expected row
    makes the file be scanned as a whole.

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
        """Add a row to this process's file, at once. Raises OSError, which names the file, and ValueError for a row
        with a number that is not finite."""
        entry, line = self._entry(row), seal(row)
        if self._own is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._own = self._new_file(self.folder / f"{uuid.uuid4().hex}.jsonl")
        with naming(self._files[self._own]), self._files[self._own].open("ab") as stream:
            if stream.tell() != self._read_to[self._own]:
                stream.write(b"\n")  # an earlier append failed half-way, on a full disk for example
            start = stream.tell()
            stream.write(line)
            stream.flush()
            self._unsynced = True
            if time.monotonic() - self._synced_at >= self.sync_seconds:
                self._sync(stream.fileno())
        self._add(self._own, _digest(entry.key), start, len(line), entry.amount)
        index = self._files[self._own].with_suffix(".index")
        with naming(index), index.open("ab") as stream:
            stream.write(_packed_entry(_digest(entry.key), start, len(line), entry.amount))

    def sync(self) -> None:
        """Wait until every appended row is on the disk."""
        if self._own is not None and self._unsynced:
            with naming(self._files[self._own]), self._files[self._own].open("ab") as stream:
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
        for entry in self._scan(self._files[number], start, opening=indexed):
            self._add(number, *entry)
        if self._read_to[number] - start >= INDEX_BYTES:
            self._write_index(self._files[number])

    def _index_of(self, file: Path) -> Iterator[tuple[bytes, int, int, float]]:
        """The entries of an index, as far as they match their checksums, are contiguous and inside the file; none where
        the last of them is not at the end of a line, since the index is then of another content."""
        try:
            content = file.with_suffix(".index").read_bytes()
        except FileNotFoundError:
            return
        count, end = _trusted(content, file.stat().st_size)
        if not _ends_line(file, end):
            return
        for packed, _ in _CHECKED_ENTRY.iter_unpack(content[: count * _CHECKED_ENTRY.size]):
            yield _ENTRY.unpack(packed)

    def _scan(self, file: Path, start: int, opening: bool = False) -> Iterator[tuple[bytes, int, int, float]]:
        """The entries of all complete lines from `start` on."""
        damaged: list[tuple[int, int]] = []
        with file.open("rb") as stream:
            stream.seek(start)
            for line in stream:
                parsed = self._parsed(line, file) if line.endswith(b"\n") else None
                if parsed is None and (opening or line.endswith(b"\n")):
                    damaged.append((start, len(line)))
                if not line.endswith(b"\n"):
                    break  # still being written, or cut off by a kill
                digest, amount = (_digest(parsed[0].key), parsed[0].amount) if parsed else (_FOREIGN, 0.0)
                yield digest, start, len(line), amount
                start += len(line)
        if damaged:
            _quarantine(file, damaged)

    def _parsed(self, line: bytes, file: Path) -> tuple[Entry, JsonObject] | None:
        """The entry and the row of a line; None for a damaged one or one of another log."""
        try:
            row = dict(unseal(line))
            version = row.pop("version")
            if version == LINE_VERSION:
                entry = self._entry(row)
                _digest(entry.key)
                return entry, row
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        raise InputError(
            f"{file}: has lines of version {version}, and this program reads version {LINE_VERSION}; use the version "
            "of the program that wrote the file, or another folder"
        )

    def _row_at(self, place: int, key: str) -> JsonObject | None:
        """The row at a place; None where the file holds another one there."""
        number, start, length = place >> 96, (place >> 32) & (1 << 64) - 1, place & (1 << 32) - 1
        try:
            with self._files[number].open("rb") as stream:
                stream.seek(start)
                line = stream.read(length)
        except FileNotFoundError:
            return None
        parsed = self._parsed(line, self._files[number])
        return parsed[1] if parsed and parsed[0].key == key else None

    def _relearn(self, number: int) -> None:
        """Scan a file that is not what its index says, or was changed since it was read; then write its index again."""
        log.warning("%s: changed since its index was written; reading the whole file", self._files[number])
        self._places = {digest: place for digest, place in self._places.items() if place >> 96 != number}
        before, self._read_to[number] = self.amount, 0
        if self._files[number].exists():
            self._learn(number, indexed=False)
            self._write_index(self._files[number])
        self.amount = before

    def _write_index(self, file: Path) -> None:
        entries = b"".join(_packed_entry(*entry) for entry in self._scan(file, 0))
        try:
            write_atomic(file.with_suffix(".index"), entries)
        except OSError as error:
            log.info("%s: cannot write an index beside it, so every reader scans it (%s)", file, error)


def damaged_lines(file: Path) -> list[tuple[int, int]]:
    """Offset and length of each line of a log's file that is torn, altered or not from `seal`. Raises OSError."""
    places: list[tuple[int, int]] = []
    start = 0
    with file.open("rb") as stream:
        for line in stream:
            try:
                unseal(line)
            except (ValueError, RecursionError):
                places.append((start, len(line)))
            start += len(line)
    return places


def repair_log(file: Path) -> None:
    """Write a log's file again without its damaged lines, which stay in `<name>.damaged` beside it. Nothing may be
    appending to the file. Raises OSError."""
    damaged = damaged_lines(file)
    _quarantine(file, damaged)
    starts = {start for start, _ in damaged}
    scratch, start = file.with_suffix(".repaired"), 0
    with naming(scratch), file.open("rb") as source, scratch.open("wb") as target:
        for line in source:
            if start not in starts:
                target.write(line)
            start += len(line)
        target.flush()
        os.fsync(target.fileno())
    file.with_suffix(".index").unlink(missing_ok=True)
    os.replace(scratch, file)
    sync_folder(file.parent)


def _quarantine(file: Path, places: Sequence[tuple[int, int]]) -> None:
    """Copy lines of a file to `<name>.damaged` beside it, each once, and warn if there is a new one."""
    kept = file.with_suffix(".damaged")
    new = 0
    try:
        with file.open("rb") as source, kept.open("a+b") as target:
            target.seek(0)
            known = {hashlib.sha256(line).digest() for line in target}
            for start, length in places:
                source.seek(start)
                line = source.read(length).removesuffix(b"\n") + b"\n"
                if hashlib.sha256(line).digest() not in known:
                    target.write(line)
                    new += 1
    except OSError as error:
        log.warning("%s: %d lines are damaged; they are left out, without a copy (%s)", file, len(places), error)
    else:
        if new:
            log.warning("%s: %d lines are damaged; they are left out, with a copy in %s", file, new, kept.name)


def _trusted(index: bytes, size: int) -> tuple[int, int]:
    """How many entries of an index of a file of this size can be trusted, and where the last of their lines ends."""
    count = end = 0
    whole = len(index) // _CHECKED_ENTRY.size * _CHECKED_ENTRY.size
    for packed, checksum in _CHECKED_ENTRY.iter_unpack(index[:whole]):
        _, start, length, _ = _ENTRY.unpack(packed)
        if zlib.crc32(packed) != checksum or start != end or start + length > size or not length:
            break
        count, end = count + 1, start + length
    return count, end


def _ends_line(file: Path, end: int) -> bool:
    with file.open("rb") as stream:
        stream.seek(max(end - 1, 0))
        return end == 0 or stream.read(1) == b"\n"


def _packed_entry(digest: bytes, start: int, length: int, amount: float) -> bytes:
    packed = _ENTRY.pack(digest, start, length, amount)
    return _CHECKED_ENTRY.pack(packed, zlib.crc32(packed))


def _packed(number: int, start: int, length: int) -> int:
    """A place in one integer, because a log may hold hundreds of thousands: file number, offset, length."""
    return number << 96 | start << 32 | length


def _digest(key: str) -> bytes:
    """The 16 bytes of a key. Raises ValueError where it is not 32 hex digits or empty."""
    digest = bytes.fromhex(key) if key else _FOREIGN
    if len(digest) != 16:
        raise ValueError(f"key: want 32 hex digits, got {key!r}")
    return digest
