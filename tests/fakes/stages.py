"""Small stages, and stores that hold their results."""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from experiments.store.metrics import RowMetrics, StageMetrics
from experiments.store.provenance import provenance
from experiments.store.records import Record, digests, write_record
from experiments.store.step import Artifact, StageKey, Step, stage
from experiments.store.store import Monitor, Store
from experiments.store.workspace import Workspace
from reer.files import write_rows
from tests.fakes.runtime import small_runtime


@dataclass(frozen=True, kw_only=True)
class TotalMetrics(StageMetrics):
    total: float

    def headline(self) -> str:
        return f"total {self.total}"


@stage(StageKey("numbers", RowMetrics), version=1)
def numbers(ws: Workspace, *, count: int) -> RowMetrics:
    """Numbers from zero."""
    write_rows(ws.folder / "rows.jsonl", [{"n": n} for n in range(count)])
    return RowMetrics(rows=count)


@stage(StageKey("total", TotalMetrics), version=1)
def total(ws: Workspace, *, numbers: Artifact[RowMetrics], scale: float = 1.0) -> TotalMetrics:
    """Their sum."""
    lines = numbers.file("rows.jsonl").read_text().splitlines()
    assert len(lines) == numbers.metrics.rows
    return TotalMetrics(total=scale * sum(json.loads(line)["n"] for line in lines))


@stage(StageKey("changing", RowMetrics), version=1)
def changing(ws: Workspace, *, count: int) -> RowMetrics:
    """Makes other rows whenever it runs."""
    write_rows(ws.folder / "rows.jsonl", [{"n": uuid.uuid4().int} for _ in range(count)])
    return RowMetrics(rows=count)


def recorded(folder: Path) -> None:
    """Make a folder of files the complete result of a stage."""
    content = Record(
        stage=folder.name,
        fingerprint="f",
        build="b",
        identity={},
        inputs={},
        metrics={},
        files=digests(folder),
        seconds=0.0,
        provenance=provenance(),
    )
    write_record(folder, content)


def lost(store: Store, step: Step) -> None:
    """Move the result of a step away."""
    before = store.path(step)
    before.rename(before.with_name("set-aside"))


def a_store(root: Path, monitor: Monitor | None = None) -> Store:
    return Store(root=root, runtime=small_runtime(), monitor=monitor or Monitor())


def counting(root: Path) -> tuple[Store, list[str]]:
    ran: list[str] = []
    return a_store(root, Monitor(started=lambda step: ran.append(step.stage.name))), ran
