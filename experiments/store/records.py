"""The record of a stage result: what made it, what it measured, and every file with its size and sha256.

A file is compared with its record before its content is used, once per process as long as it does not change.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, cast

from pydantic import ValidationError

from experiments.store.fingerprint import Json
from experiments.store.provenance import Provenance
from reer.errors import InputError
from reer.files import adapter, write_json

log = logging.getLogger(__name__)
SCHEMA = 1  # of records, results and locks
RECORD = "record.json"
REPAIR = "`reer doctor --store --repair` moves it aside, and the same command then computes only that again"


class OtherSchema(InputError):
    """A file that another version of this program wrote; nothing is wrong with it."""


@dataclass(frozen=True)
class FileDigest:
    """The size of a file in bytes, and the sha256 of its content in hex digits."""

    size: int
    sha256: str


@dataclass(frozen=True)
class InputBuild:
    """Which build of an input a stage has read."""

    fingerprint: str
    build: str


Builds = Mapping[str, InputBuild]  # by the name of the input


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a complete stage result. `files` are all its files but the record, by path in its folder."""

    stage: str
    fingerprint: str
    build: str
    identity: object
    inputs: Builds
    metrics: Mapping[str, object]
    files: Mapping[str, FileDigest]
    seconds: float
    provenance: Provenance
    servers: tuple[str, ...] = ()
    """`MODEL at URL` for the models behind servers that the stage was given."""
    revisions: Mapping[str, str] = field(default_factory=dict[str, str])
    """`REPO@BRANCH` -> the commit that this branch was, for its models from the hub."""


class FileState(NamedTuple):
    """What changes when a file is written or replaced, and not when it is moved."""

    device: int
    inode: int
    size: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        found = path.stat()
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


_digests: dict[FileState, FileDigest] = {}
_records: dict[FileState, Record] = {}


def write_document(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON object with the version of its schema and its checksum, atomically."""
    as_read_back = json.loads(json.dumps(content))
    write_json(path, {"schema": SCHEMA, **content, "sha256": _checksum(as_read_back)})


def read_document(path: Path) -> dict[str, Json]:
    """The content of `write_document`. Raises InputError for a torn or edited file, OtherSchema for that of another
    version."""
    content = read_object(path)
    schema = content.pop("schema", None)
    if schema != SCHEMA:
        raise OtherSchema(
            f"{path}: has schema {schema}, and this program reads schema {SCHEMA}; use the version of the program that "
            "wrote it, or choose another runtime.root"
        )
    if content.pop("sha256", None) != _checksum(content):
        raise InputError(f"{path}: damaged, its content was changed since it was written; {REPAIR}")
    return content


def _checksum(content: Mapping[str, object]) -> str:
    """The sha256 of values as JSON, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_object(path: Path) -> dict[str, Json]:
    """A JSON object from a file. Raises InputError for anything else in it, and for no file."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; the command that wrote it writes it again") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON file ({error}); {REPAIR}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: wants a JSON object, got a {type(content).__name__}; {REPAIR}")
    return cast("dict[str, Json]", content)


def write_record(folder: Path, record: Record) -> None:
    """Write the record into the folder of its stage result; this makes it complete."""
    write_document(folder / RECORD, asdict(record))


def read_record(folder: Path) -> Record:
    """The record of the stage result in a folder. A record that has not changed is read once per process. Raises
    InputError for a torn or foreign one."""
    path = folder / RECORD
    state = FileState.of(path) if path.is_file() else None
    if state is not None and state in _records:
        return _records[state]
    content = read_document(path)
    try:
        record = adapter(Record).validate_python(content)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        raise InputError(f"{path}: is no record of a stage result ({reasons}); {REPAIR}") from None
    if state is not None:
        _records[state] = record
    return record


def digests(folder: Path) -> dict[str, FileDigest]:
    """The digests of all files in a folder but its record, by their path in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / RECORD)
    return {path.relative_to(folder).as_posix(): digest_of(path) for path in files}


def digest_of(path: Path) -> FileDigest:
    """The digest of a file. A file that has not changed is read once per process, also if it is renamed."""
    state = FileState.of(path)
    if state not in _digests:
        with path.open("rb") as stream:
            _digests[state] = FileDigest(state.size, hashlib.file_digest(stream, "sha256").hexdigest())
    return _digests[state]


def build_from(product: Mapping[str, FileDigest], metrics: Mapping[str, object]) -> str:
    """The build that these files and metrics make: 12 hex digits, equal for equal content."""
    content = [{name: digest.sha256 for name, digest in product.items()}, metrics]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def missing_or_cut(folder: Path, record: Record) -> None:
    """Raise InputError for a file of a stage result that is not there or has another size."""
    for name, digest in record.files.items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != digest.size:
            found = "is missing" if size is None else f"has {size} bytes"
            raise InputError(f"{path}: {found}, the record of stage {record.stage} says {digest.size} bytes; {REPAIR}")


def verified(folder: Path, name: str) -> Path:
    """The path of a file of a stage result, or of a folder in it, whose content is what the record says. Raises
    InputError naming the file that is not."""
    record = read_record(folder)
    listed = {file: digest for file, digest in record.files.items() if file == name or file.startswith(f"{name}/")}
    if not listed:
        raise InputError(f"{folder / name}: is not in the record of stage {record.stage}; {REPAIR}")
    verify(folder, record.stage, listed)
    return folder / name


def verify(folder: Path, stage: str, files: Mapping[str, FileDigest]) -> None:
    """Raise InputError naming the first of these files of a stage result whose content is not what its record says."""
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or digest_of(path) != digest:
            found = "its content was changed" if path.is_file() else "is missing"
            raise InputError(f"{path}: damaged, {found} since stage {stage} wrote it; {REPAIR}")


def lock_of(folder: Path, fingerprint: str) -> Path:
    """The lock of a stage result, in the folder of its stage."""
    return folder / f".{fingerprint}.lock"


def again_mark(folder: Path, fingerprint: str) -> Path:
    """While this folder exists, beside the stage results, the result with this fingerprint does not count: it is
    computed again, with model calls and judgements of its own, which the folder holds."""
    return folder / f".{fingerprint}.again"


def result_in(folder: Path, fingerprint: str) -> Path | None:
    """The complete result with this fingerprint in the folder of a stage, whatever the readable part of its name."""
    complete = [path for path in folder.glob(f"*{fingerprint}") if (path / RECORD).exists()]
    return min(complete, default=None)


def build_of(folder: Path) -> str | None:
    """The build of the stage result in a folder; None if there is no complete one. One that is damaged is none either,
    and a line says so. Files in folders of it, such as models, are compared by size alone."""
    if not (folder / RECORD).exists():
        return None
    try:
        record = read_record(folder)
        missing_or_cut(folder, record)
        verify(folder, record.stage, {name: digest for name, digest in record.files.items() if "/" not in name})
    except InputError as error:
        log.warning("%s", error)
        return None
    return record.build


def set_aside(path: Path, why: Literal["superseded", "damaged"]) -> Path:
    """Rename a folder or a file so that it no longer counts; returns its new path. Raises OSError."""
    return path.rename(path.with_name(f"{path.name}.{why}-{uuid.uuid4().hex[:6]}"))
