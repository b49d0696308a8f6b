"""Whether everything on disk is what was written: stage results, logs of model calls and judgements, files of runs.

What is damaged is moved aside, never deleted; the command that made it then makes only that again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from experiments.experiment import Runtime
from experiments.store.records import RECORD, OtherSchema, missing_or_cut, read_object, read_record, set_aside, verify
from experiments.store.runs import read_lock, read_result
from reer.errors import InputError
from reer.logs import damaged_lines, repair_log

COMPLETE = re.compile(r"(.+-)?[0-9a-f]{12}")  # the name of a folder that counts


@dataclass(frozen=True)
class Damage:
    """Something that is not as it was written. `kind` decides how it is repaired: a whole folder or file is moved
    aside, a log is written again without its damaged lines, and what another version wrote is left alone."""

    path: Path
    kind: Literal["whole", "log", "other version"]
    why: str


@dataclass(frozen=True)
class Checked:
    """One group of files that was checked: how many results or files, their size in bytes, and what is damaged."""

    what: str
    count: int
    size: int
    damages: tuple[Damage, ...]


def check(runtime: Runtime) -> Iterator[Checked]:
    """Read everything under a root, and compare it with its checksums; yields group by group as each is done."""
    store = runtime.store
    folders = sorted(path.parent for path in store.glob(f"*/*/{RECORD}") if COMPLETE.fullmatch(path.parent.name))
    for stage, results in groupby(folders, key=lambda folder: folder.parent.name):
        yield _checked(f"stage {stage}", ((folder, _damage_of_result(folder)) for folder in results))
    judgements = runtime.judgements_folder
    for what, logs in (("model calls", store.glob("replay/*/*.jsonl")), ("judgements", judgements.glob("*.jsonl"))):
        yield _checked(what, ((file, _damage_of_log(file)) for file in sorted(logs)))
    documents = sorted([*Path(runtime.root).glob("*.json"), *runtime.runs.glob("*/*/s*/*.json")])
    yield _checked("files of runs", ((file, _damage_of_document(file)) for file in documents))


def repair(damage: Damage) -> str:
    """Move what is damaged aside; returns what was done, in words. Raises OSError."""
    if damage.kind == "other version":
        return "left alone; move it away yourself, or choose another runtime.root"
    if damage.kind == "log":
        repair_log(damage.path)
        return f"the damaged lines are in {damage.path.with_suffix('.damaged').name}; what they held is asked again"
    return f"moved to {set_aside(damage.path, 'damaged').name}; the same command computes it again"


def _checked(what: str, found: Iterable[tuple[Path, Damage | None]]) -> Checked:
    count, size, damages = 0, 0, list[Damage]()
    for path, damage in found:
        count += 1
        files = path.rglob("*") if path.is_dir() else [path]
        size += sum(file.stat().st_size for file in files if file.is_file())
        damages += [damage] if damage else []
    return Checked(what, count, size, tuple(damages))


def _damage_of_result(folder: Path) -> Damage | None:
    try:
        record = read_record(folder)
        missing_or_cut(folder, record)
        verify(folder, record.stage, record.files)
    except InputError as error:
        return _damage(folder, error)
    return None


def _damage_of_log(file: Path) -> Damage | None:
    lines = damaged_lines(file)
    return Damage(file, "log", f"{len(lines)} lines are damaged") if lines else None


def _damage_of_document(file: Path) -> Damage | None:
    try:
        if file.name == "result.json":
            read_result(file.parent)
        elif file.name == "lock.json":
            read_lock(file)
        else:
            read_object(file)
    except InputError as error:
        return _damage(file, error)
    return None


def _damage(path: Path, error: InputError) -> Damage:
    return Damage(path, "other version" if isinstance(error, OtherSchema) else "whole", str(error))
