"""What takes space in the store and belongs to no run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from filelock import Timeout

from experiments.store.disk import held, holder
from experiments.store.records import lock_of
from experiments.store.runs import read_lock, read_result

CALLS = {"replay", "judgements"}
"""Folders of the store that hold no stage results: model calls and judgements, which were paid for."""
Kind = Literal["result", "part", "calls", "set aside"]
_FINGERPRINT = re.compile(r"(?:^|[-.])([0-9a-f]{12})(?:\.(.+))?$")  # at the end of a folder's name, before a suffix


@dataclass(frozen=True)
class Unused:
    """A folder of the store that no run refers to. result: a complete stage result; part: one that was begun;
    calls: the model calls and judgements of a result that was computed again; set aside: superseded or damaged, or what
    was left of a deletion. `size` is in bytes."""

    path: Path
    kind: Kind
    size: int


@dataclass(frozen=True)
class Survey:
    """What belongs to no run, what of it was deleted, and what a process is at work on, which is left alone."""

    unused: tuple[Unused, ...]
    in_use: tuple[Path, ...]
    deleted: tuple[Path, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of everything that belongs to no run."""
        return sum(item.size for item in self.unused)


def survey(root: Path) -> Survey:
    """Everything in the store that no lock and no result of a run names. Raises InputError where one of them cannot be
    read: what it names is unknown then."""
    named = referenced(root / "runs")
    found, busy = list[Unused](), list[Path]()
    for path, fingerprint, kind in _folders(root / "store"):
        if kind != "set aside" and fingerprint in named:
            continue
        if holder(lock_of(path.parent, fingerprint)):
            busy.append(path)
        else:
            found.append(Unused(path, kind, _size(path)))
    return Survey(tuple(found), tuple(busy))


def collect(root: Path) -> Survey:
    """Delete what belongs to no run."""
    found = survey(root)
    return replace(found, deleted=tuple(item.path for item in found.unused if delete(item, root)))


def referenced(runs: Path) -> set[str]:
    """The fingerprints that the runs name in their locks and results, also in results that were superseded."""
    named: set[str] = set()
    for path in sorted(runs.glob("*/*/s*/*.json")):
        if path.name == "lock.json":
            named |= set(read_lock(path).steps.values())
        elif path.name.startswith("result."):
            result = read_result(path.parent, path.name)
            named |= {step.fingerprint for step in result.steps.values()} if result else set()
    return named


def delete(item: Unused, root: Path) -> bool:
    """Delete one unused folder; False where a run has come to need it, or a process to work on it, meanwhile. It is
    renamed first, so that a deletion that was interrupted leaves nothing that counts. Raises OSError."""
    match = _FINGERPRINT.search(item.path.name)
    if match is None or not item.path.exists():
        return False
    try:
        with held(lock_of(item.path.parent, match[1]), wait=False):
            if item.kind != "set aside" and match[1] in referenced(root / "runs"):
                return False
            going = item.path.rename(item.path.with_name(f"{item.path.name}.deleted"))
            shutil.rmtree(going)
    except Timeout:
        return False
    return True


def _folders(store: Path) -> Iterator[tuple[Path, str, Kind]]:
    """The folders of stage results, complete or not, with their fingerprints."""
    for path in sorted(store.glob("*/*")):
        match = _FINGERPRINT.search(path.name)
        if match is None or path.parent.name in CALLS or not path.is_dir():
            continue
        yield path, match[1], _kind(match[2])


def _kind(suffix: str | None) -> Kind:
    if suffix is None:
        return "result"
    if suffix.startswith("again") and not suffix.endswith("deleted"):
        return "calls"
    return "part" if suffix == "part" else "set aside"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
