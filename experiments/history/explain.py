"""Why each stage of an experiment would be computed, or would not: the field that no stored result has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from experiments.store.fingerprint import Json, difference
from experiments.store.records import RECORD, Record, again_mark, read_record, result_in
from experiments.store.step import Artifact, Step, Steps
from experiments.store.store import Store
from experiments.store.verification import COMPLETE
from reer.errors import InputError

INPUTS, VALUES = "inputs.", "values."


@dataclass(frozen=True)
class Explanation:
    """One step: whether its result is in the store, and if not, why in words, with all fields that differ from the
    nearest stored result of its stage as `field: old -> new`."""

    step: str
    hit: bool
    why: str = ""
    nearest: str | None = None
    differences: tuple[str, ...] = ()


def explain(steps: Steps, store: Store, before: Mapping[str, str]) -> list[Explanation]:
    """Every step, in order. `before` are the fingerprints that the run's lock holds, by step; the result of that
    fingerprint is the one to compare with where it is stored."""
    misses: dict[str, str] = {}
    explained: list[Explanation] = []
    for name, step in steps.items():
        found = _explain(str(name), step, store, before.get(str(name)), misses)
        if not found.hit:
            misses[step.fingerprint] = str(name)
        explained.append(found)
    return explained


def _explain(name: str, step: Step, store: Store, before: str | None, misses: Mapping[str, str]) -> Explanation:
    folder = store.root / step.stage.name
    try:
        artifact = store.find(step)
    except InputError as error:
        return Explanation(name, False, str(error))
    if artifact is not None:
        return Explanation(name, True)
    reads = ", ".join(misses[i.fingerprint] for i in step.inputs.values() if i.fingerprint in misses)
    if again_mark(folder, step.fingerprint).exists():
        return Explanation(name, False, "rerun --fresh was asked to compute it again")
    if stored := result_in(folder, step.fingerprint):
        return Explanation(name, False, f"reads {reads}" if reads else _rebuilt(step, store, stored), stored.name)
    return _of_nearest(name, step, folder, before, reads)


def _rebuilt(step: Step, store: Store, stored: Path) -> str:
    """Which input was computed again, with other bytes, since a stored result read it."""
    read = read_record(stored).inputs
    for name, before in step.inputs.items():
        now: Artifact | None = store.find(before)
        if now is not None and now.build != read[name].build:
            return f"its input {name} was rebuilt: build {read[name].build} -> {now.build}"
    return "its inputs were rebuilt"


def _of_nearest(name: str, step: Step, folder: Path, before: str | None, reads: str) -> Explanation:
    """A step whose fingerprint is not stored."""
    nearest = _nearest(step, folder, before)
    if nearest is None:
        gone = "its result is not in the store any more" if before == step.fingerprint else "never computed here"
        return Explanation(name, False, f"{gone}; reads {reads}" if reads else gone)
    path, record = nearest
    lines = differences(record, step)
    own = [line for line in lines if not line.startswith(INPUTS)]
    if before == step.fingerprint:
        why = "its result is not in the store any more"
    elif own:
        why = own[0] + (f" (and {len(own) - 1} more)" if len(own) > 1 else "")
    else:
        why = f"reads {reads}" if reads else lines[0]
    return Explanation(name, False, why, path.name, tuple(own or lines))


def differences(record: Record, step: Step) -> list[str]:
    """`field: old -> new` for everything in which a stored result differs from a step."""
    lines = difference(cast(Json, record.identity), step.identity)
    return [line.removeprefix(VALUES) for line in lines]


def _nearest(step: Step, folder: Path, before: str | None) -> tuple[Path, Record] | None:
    """The stored result of this stage that differs in the fewest fields: that of the run itself where it is stored."""
    own = result_in(folder, before) if before else None
    candidates = dict(_stored(folder)) if own is None else {own: read_record(own)}
    return min(candidates.items(), key=lambda item: len(differences(item[1], step)), default=None)


def _stored(folder: Path) -> Iterator[tuple[Path, Record]]:
    """The complete results of a stage; one that is damaged is left out."""
    for path in sorted(path.parent for path in folder.glob(f"*/{RECORD}")):
        if COMPLETE.fullmatch(path.name):
            try:
                yield path, read_record(path)
            except InputError:
                continue
