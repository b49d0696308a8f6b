"""Two runs side by side: only what differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from experiments.history.environment import Environment, Moved, moved
from experiments.report.measures import measures_of
from experiments.store.fingerprint import Json, difference
from experiments.store.records import Record, read_record, result_in
from experiments.store.runs import Result, read_lock, read_result, run_name
from experiments.store.step import StepName


@dataclass(frozen=True)
class Side:
    """One of two runs: what its lock says, its result if it has one, and the records of its stages that are stored."""

    name: str
    identity: Mapping[str, object]
    result: Result | None
    records: Mapping[str, Record]
    planned: tuple[str, ...]


@dataclass(frozen=True)
class StepPair:
    """The builds of one step; None where a run has no such step, or has not computed it."""

    step: str
    a: str | None
    b: str | None


@dataclass(frozen=True)
class NumberPair:
    """One number of two runs; None where a run does not have it."""

    name: str
    a: float | None
    b: float | None


@dataclass(frozen=True, kw_only=True)
class Diff:
    """Everything in which two runs differ. `same` are the steps whose results are equal in every byte, `without_result`
    the runs that have not finished, whose confounds and scores are not known."""

    a: str
    b: str
    configuration: tuple[str, ...]
    steps: tuple[StepPair, ...]
    same: tuple[str, ...]
    moved: tuple[Moved, ...]
    confounds: tuple[NumberPair, ...]
    scores: tuple[NumberPair, ...]
    without_result: tuple[str, ...]


def side(folder: Path, store: Path) -> Side:
    """A run as it is on the disk. Raises InputError for a damaged lock, result or record."""
    lock = read_lock(folder / "lock.json")
    found = {step: result_in(store / StepName.parse(step).stage, print_) for step, print_ in lock.steps.items()}
    records = {step: read_record(path) for step, path in found.items() if path is not None}
    return Side(run_name(folder), lock.identity, read_result(folder), records, tuple(lock.steps))


def diff(a: Side, b: Side) -> Diff:
    """What differs between two runs."""
    lines = difference(cast("dict[str, Json]", a.identity), cast("dict[str, Json]", b.identity))
    builds = [{name: record.build for name, record in run.records.items()} for run in (a, b)]
    pairs = [StepPair(s, builds[0].get(s), builds[1].get(s)) for s in dict.fromkeys([*a.planned, *b.planned])]
    shared = [pair.step for pair in pairs if pair.a and pair.b]
    made = {name: (Environment.of(a.records[name]), Environment.of(b.records[name])) for name in shared}
    return Diff(
        a=a.name,
        b=b.name,
        configuration=tuple(line for line in lines if not line.startswith("name: ")),
        steps=tuple(pair for pair in pairs if pair.a != pair.b),
        same=tuple(pair.step for pair in pairs if pair.a == pair.b and pair.a),
        moved=moved(made),
        confounds=_differing(_confounds(a.result), _confounds(b.result)),
        scores=_differing(_scores(a.result), _scores(b.result)),
        without_result=tuple(run.name for run in (a, b) if run.result is None),
    )


def _differing(a: Mapping[str, float | None], b: Mapping[str, float | None]) -> tuple[NumberPair, ...]:
    names: Iterable[str] = dict.fromkeys([*a, *b])
    pairs = (NumberPair(name, a.get(name), b.get(name)) for name in names)
    return tuple(pair for pair in pairs if pair.a != pair.b)


def _confounds(result: Result | None) -> dict[str, float | None]:
    return {name: pair.here for name, pair in result.confounds.items()} if result else {}


def _scores(result: Result | None) -> dict[str, float | None]:
    return {name: measure.value for name, measure in measures_of(result).items()} if result else {}
