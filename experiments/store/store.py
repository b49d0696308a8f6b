"""Memoised stages on disk: a result is found by what identifies it, and exists only if it is complete.

A stage writes into `<stage>/<fingerprint>.part/`; its `record.json` comes last, then the folder is renamed to
`<stage>/<readable>-<fingerprint>/`. A lock makes parallel jobs compute a shared stage once. Only a stale `.part` is
ever deleted.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from filelock import FileLock, Timeout

from experiments.experiment import Runtime
from experiments.store.metrics import StageMetrics, read_metrics
from experiments.store.provenance import provenance
from experiments.store.step import Artifact, Step
from experiments.store.workspace import Workspace
from reer.files import sync_folder, write_json

log = logging.getLogger(__name__)
Record = dict[str, Any]  # record.json
Builds = dict[str, dict[str, str]]  # input -> fingerprint and build
M = TypeVar("M", bound=StageMetrics)


@dataclass(kw_only=True)
class Monitor:
    """Callbacks: progress of the running stage, rows of its curve, and each stage as it starts and ends."""

    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    curve: Callable[[str, Mapping[str, float]], None] = lambda stage, row: None
    started: Callable[[Step], None] = lambda step: None
    ended: Callable[[Step, Artifact, bool], None] = lambda step, artifact, was_cached: None


@dataclass(kw_only=True)
class Store:
    """All stage results under one root, and beside them the replies of models and judges (`judgements` in another
    folder where several machines share them)."""

    root: Path
    runtime: Runtime
    monitor: Monitor = field(default_factory=Monitor)
    judgements: Path | None = None
    budget_usd: float | None = None
    _built: dict[str, Artifact] = field(default_factory=dict[str, Artifact])

    def path(self, step: Step) -> Path:
        return self._folder(step) / step.folder_name

    def find(self, step: Step[M]) -> Artifact[M] | None:
        """The complete result of a step, or None; a result whose inputs were rebuilt since does not count. Raises
        InputError when its record is not of this stage's metrics."""
        path = self._existing(step)
        if path is None:
            return None
        record: Record = json.loads((path / "record.json").read_text(encoding="utf-8"))
        for name, before in step.inputs.items():
            artifact = self.find(before)
            if artifact is None or artifact.build != record["inputs"][name]["build"]:
                return None
        metrics = read_metrics(step.stage.metrics, record["metrics"], str(path / "record.json"))
        return Artifact(
            stage=step.stage.name, path=path, fingerprint=step.fingerprint, build=record["build"], metrics=metrics
        )

    def _folder(self, step: Step) -> Path:
        return self.root / step.stage.name

    def _existing(self, step: Step) -> Path | None:
        """The folder with this fingerprint, whatever its readable part."""
        complete = [p for p in self._folder(step).glob(f"*{step.fingerprint}") if (p / "record.json").exists()]
        return max(complete, key=lambda path: path.stat().st_mtime, default=None)

    def status(self, step: Step) -> Literal["cached", "started", "to run"]:
        """Whether building this step would find it complete, resume it, or start it."""
        if self.find(step):
            return "cached"
        return "started" if (self._folder(step) / f"{step.fingerprint}.part").exists() else "to run"

    def build(self, step: Step[M]) -> Artifact[M]:
        """The result of a step, computed together with all it needs where it is not complete yet."""
        if step.fingerprint in self._built:
            return cast("Artifact[M]", self._built[step.fingerprint])  # of the same stage
        inputs = {name: self.build(before) for name, before in step.inputs.items()}
        artifact = self.find(step)
        cached = artifact is not None
        if artifact is None:
            with self._locked(step):
                artifact = self.find(step)
                cached = artifact is not None
                artifact = artifact or self._run(step, inputs)
        self._built[step.fingerprint] = artifact
        self.monitor.ended(step, artifact, cached)
        return artifact

    @contextmanager
    def _locked(self, step: Step) -> Generator[None]:
        """Hold the step's lock; log who holds it while waiting. The system frees it if its holder dies."""
        folder = self._folder(step)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{step.fingerprint}.lock")
        owner = folder / f".{step.fingerprint}.owner"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
            log.info("%s: being computed by %s; waiting for it", step.stage.name, who)
            lock.acquire()
        owner.write_text(f"{socket.gethostname()} pid {os.getpid()} since {time.strftime('%F %T')}", encoding="utf-8")
        try:
            yield
        finally:
            lock.release()

    def _run(self, step: Step[M], inputs: Mapping[str, Artifact]) -> Artifact[M]:
        builds = {name: {"fingerprint": a.fingerprint, "build": a.build} for name, a in inputs.items()}
        part = self._part(step, builds)
        self.monitor.started(step)
        began = time.monotonic()
        metrics = step.stage.work(self._workspace(step, part), **inputs, **step.values)
        record: Record = {
            "stage": step.stage.name,
            "fingerprint": step.fingerprint,
            "build": uuid.uuid4().hex[:12],
            "identity": step.identity,
            "inputs": builds,
            "metrics": asdict(cast(Any, metrics)),
            "seconds": round(time.monotonic() - began, 2),
            "provenance": asdict(provenance()),
        }
        write_json(part / "record.json", record)
        final = self.path(step)
        for old in final.parent.glob(f"*{step.fingerprint}"):  # its inputs were rebuilt: kept, but it no longer counts
            old.rename(old.with_name(f"{old.name}.superseded-{uuid.uuid4().hex[:6]}"))
        (part / "inputs.json").unlink()  # the record holds them
        part.rename(final)
        sync_folder(final.parent)
        return Artifact(
            stage=step.stage.name, path=final, fingerprint=step.fingerprint, build=record["build"], metrics=metrics
        )

    def _workspace(self, step: Step, folder: Path) -> Workspace:
        return Workspace(
            folder=folder,
            runtime=self.runtime,
            replay=self.root / "replay",
            judgements=self.judgements or self.root / "judgements",
            budget_usd=self.budget_usd,
            progress=self.monitor.progress,
            curve=lambda row: self.monitor.curve(step.stage.name, row),
        )

    def _part(self, step: Step, builds: Builds) -> Path:
        """The folder a step works in. A partial result is resumed only if its inputs are unchanged."""
        part = self._folder(step) / f"{step.fingerprint}.part"
        read = part / "inputs.json"
        if part.exists() and not (read.exists() and json.loads(read.read_text(encoding="utf-8")) == builds):
            stale = part.with_name(f"{part.name}.stale-{uuid.uuid4().hex[:6]}")
            part.rename(stale)
            shutil.rmtree(stale)
        part.mkdir(parents=True, exist_ok=True)
        write_json(read, builds)
        return part


def build_of(folder: Path) -> str | None:
    """The build of the stage result in a folder; None if there is no complete one."""
    record = folder / "record.json"
    return json.loads(record.read_text(encoding="utf-8"))["build"] if record.exists() else None
