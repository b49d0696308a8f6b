"""Memoised stages on disk: a result is found by what identifies it, and exists only if it is complete.

A stage writes into `<stage>/<readable>-<fingerprint>.part/`; its `record.json` comes last, then the folder is renamed.
A lock makes parallel jobs compute a shared stage once. Nothing is ever deleted but a `.part` that is started afresh.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from typing_extensions import TypeForm

from experiments.store.fingerprint import Json, encode, fingerprint
from reer.files import Row, read_rows, sync_folder, write_json

log = logging.getLogger(__name__)
Metrics = dict[str, Any]
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "lm-eval", "accelerate", "hydra-core", "wandb")


@dataclass(frozen=True, eq=False)
class Step:
    """One stage with everything that identifies its result. `values` are both the identity and the arguments of
    `work`, so nothing can be used that does not identify; `inputs` are the stages it reads."""

    stage: str
    version: int
    work: Callable[..., Metrics]
    label: str
    inputs: Mapping[str, Step]
    values: Mapping[str, Any]

    @cached_property
    def identity(self) -> Json:
        """What the fingerprint is taken of, in plain words."""
        inputs = {name: step.fingerprint for name, step in self.inputs.items()}
        return encode({"stage": self.stage, "version": self.version, "values": self.values, "inputs": inputs})

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.identity)

    @property
    def folder_name(self) -> str:
        return f"{self.label}-{self.fingerprint}" if self.label else self.fingerprint

    def upstream(self) -> Iterator[Step]:
        """This step after all it depends on, each once."""
        seen: dict[str, Step] = {}

        def visit(step: Step) -> None:
            for before in step.inputs.values():
                visit(before)
            seen.setdefault(step.fingerprint, step)

        visit(self)
        yield from seen.values()


def stage(version: int) -> Callable[[Callable[..., Metrics]], Callable[..., Step]]:
    """Make a stage of a function `(workspace, **arguments) -> metrics`: calling it describes a Step and runs nothing.

    Arguments that are Steps are inputs (the function receives their Artifacts); all others identify the result.
    Bump `version` when the function's meaning changes.
    """

    def decorate(work: Callable[..., Metrics]) -> Callable[..., Step]:
        def describe(*, label: str = "", **arguments: Any) -> Step:
            inputs = {name: value for name, value in arguments.items() if isinstance(value, Step)}
            values = {name: value for name, value in arguments.items() if not isinstance(value, Step)}
            return Step(work.__name__, version, work, label, inputs, values)

        describe.__doc__ = work.__doc__
        describe.__name__ = work.__name__
        return describe

    return decorate


@dataclass(frozen=True)
class Artifact:
    """A complete stage result. `build` tells two executions of the same stage apart."""

    stage: str
    path: Path
    fingerprint: str
    build: str
    metrics: Metrics

    def rows(self, kind: TypeForm[Row], name: str = "rows.jsonl") -> list[Row]:
        """The records of one of its files, checked against their type."""
        return read_rows(self.path / name, kind)


@dataclass
class Workspace:
    """What a running stage is given besides its arguments: a folder, the runtime, where model calls and judgements are
    remembered, what judges may cost, and a way to say how far it is."""

    folder: Path
    runtime: Any
    replay: Path
    judgements: Path
    budget_usd: float | None
    progress: Callable[[str, int, int], None]
    curve: Callable[[Mapping[str, float]], None]


@dataclass
class Monitor:
    """Who watches: progress of the running stage, its curve rows, and each stage as it starts and ends."""

    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    curve: Callable[[str, Mapping[str, float]], None] = lambda stage, row: None
    started: Callable[[Step], None] = lambda step: None
    ended: Callable[[Step, Artifact, bool], None] = lambda step, artifact, was_cached: None


@dataclass
class Store:
    """All stage results under one root, and beside them what models and judges answered (`judgements` elsewhere, where
    several machines share them)."""

    root: Path
    runtime: Any
    monitor: Monitor = field(default_factory=Monitor)
    judgements: Path | None = None
    budget_usd: float | None = None
    _built: dict[str, Artifact] = field(default_factory=dict)

    def path(self, step: Step) -> Path:
        return self.root / step.stage / step.folder_name

    def find(self, step: Step) -> Artifact | None:
        """The complete result of a step, or None; a result of inputs that have been rebuilt since is none."""
        path = self._existing(step)
        if path is None:
            return None
        record = json.loads((path / "record.json").read_text(encoding="utf-8"))
        for name, before in step.inputs.items():
            found = self.find(before)
            if found is None or found.build != record["inputs"][name]["build"]:
                return None
        return Artifact(step.stage, path, step.fingerprint, record["build"], record["metrics"])

    def _existing(self, step: Step) -> Path | None:
        """The folder with this fingerprint, whatever its readable part."""
        ends = [
            path for path in (self.root / step.stage).glob(f"*{step.fingerprint}") if (path / "record.json").exists()
        ]
        return max(ends, key=lambda path: path.stat().st_mtime, default=None)

    def status(self, step: Step) -> Literal["cached", "started", "to run"]:
        """What building this step would meet."""
        if self.find(step):
            return "cached"
        return "started" if (self.root / step.stage / f"{step.fingerprint}.part").exists() else "to run"

    def build(self, step: Step) -> Artifact:
        """The result of a step, computed with all it needs where it is not there yet."""
        if step.fingerprint in self._built:
            return self._built[step.fingerprint]
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
    def _locked(self, step: Step) -> Iterator[None]:
        """Hold the step's lock; says who has it while waiting. The system frees it if its holder dies."""
        folder = self.root / step.stage
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{step.fingerprint}.lock")
        owner = folder / f".{step.fingerprint}.owner"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
            log.info("%s: being computed by %s; waiting for it", step.stage, who)
            lock.acquire()
        owner.write_text(f"{socket.gethostname()} pid {os.getpid()} since {time.strftime('%F %T')}", encoding="utf-8")
        try:
            yield
        finally:
            lock.release()

    def _run(self, step: Step, inputs: Mapping[str, Artifact]) -> Artifact:
        builds = {name: {"fingerprint": a.fingerprint, "build": a.build} for name, a in inputs.items()}
        part = self._part(step, builds)
        self.monitor.started(step)
        began = time.monotonic()
        workspace = Workspace(
            part,
            self.runtime,
            self.root / "replay",
            self.judgements or self.root / "judgements",
            self.budget_usd,
            self.monitor.progress,
            lambda row: self.monitor.curve(step.stage, row),
        )
        metrics = step.work(workspace, **inputs, **step.values)
        seconds = round(time.monotonic() - began, 2)
        record = {
            "stage": step.stage,
            "fingerprint": step.fingerprint,
            "build": uuid.uuid4().hex[:12],
            "identity": step.identity,
            "inputs": builds,
            "metrics": metrics,
            "seconds": seconds,
            "provenance": provenance(),
        }
        write_json(part / "record.json", record)
        final = self.path(step)
        if final.exists():  # its inputs were rebuilt since: what it held no longer counts, but is kept beside
            final.rename(final.with_name(f"{final.name}.superseded-{uuid.uuid4().hex[:6]}"))
        (part / "inputs.json").unlink()  # the record holds them
        part.rename(final)
        sync_folder(final.parent)
        return Artifact(step.stage, final, step.fingerprint, record["build"], metrics)

    def _part(self, step: Step, builds: Mapping[str, Any]) -> Path:
        """The folder a step is made in. What an interrupted attempt left is gone on with only if that attempt read
        the very same builds of its inputs."""
        part = self.root / step.stage / f"{step.fingerprint}.part"
        read = part / "inputs.json"
        if part.exists() and not (read.exists() and json.loads(read.read_text(encoding="utf-8")) == builds):
            stale = part.with_name(f"{part.name}.stale-{uuid.uuid4().hex[:6]}")
            part.rename(stale)
            shutil.rmtree(stale)
        part.mkdir(parents=True, exist_ok=True)
        write_json(read, builds)
        return part


@cache
def provenance() -> dict[str, Any]:
    """Git commit, host, Python and package versions of this process."""
    return {
        "git": _git(),
        "python": platform.python_version(),
        "packages": _versions(),
        "platform": platform.platform(),
    }


def _git() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def build_of(folder: Path) -> str | None:
    """Which build of a stage a folder holds, None if it holds no complete one."""
    record = folder / "record.json"
    return json.loads(record.read_text(encoding="utf-8"))["build"] if record.exists() else None
