"""Memoised stages on disk: a result is found by what identifies it, and exists only if it is complete.

A stage writes into `<stage>/<fingerprint>.part/`; its `record.json` comes last, then the folder is renamed to
`<stage>/<readable>-<fingerprint>/`. A lock makes parallel jobs compute a shared stage once. Nothing is deleted, but by
`reer gc --delete`: a folder that no longer counts is renamed to `….superseded-…`, a damaged one to `….damaged-…`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from experiments.store.disk import disk_errors, held, holder
from experiments.store.metrics import StageMetrics, identifying, read_metrics
from experiments.store.overlap import Follower, Overlap
from experiments.store.provenance import provenance, revisions, servers
from experiments.store.records import (
    RECORD,
    Builds,
    InputBuild,
    Record,
    again_mark,
    build_from,
    digests,
    lock_of,
    missing_or_cut,
    read_record,
    result_in,
    set_aside,
    verify,
    write_record,
)
from experiments.store.step import Artifact, Step
from experiments.store.workspace import StageProgress, Workspace
from reer.errors import InputError
from reer.files import remove_scratch, sync_folder, sync_tree, write_json

if TYPE_CHECKING:
    from experiments.experiment import Runtime

log = logging.getLogger(__name__)
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
    folder where several machines share them). `run` is the name that others see who wait for a stage of this one;
    `overlap` does work of its later steps ahead."""

    root: Path
    runtime: Runtime
    monitor: Monitor = field(default_factory=Monitor)
    judgements: Path | None = None
    budget_usd: float | None = None
    run: str = ""
    overlap: Overlap = field(default_factory=Overlap)
    _built: dict[str, Artifact] = field(default_factory=dict[str, Artifact])

    def path(self, step: Step) -> Path:
        return self._folder(step) / step.folder_name

    def find(self, step: Step[M]) -> Artifact[M] | None:
        """The complete result of a step, or None; a result whose inputs were rebuilt since does not count. Raises
        InputError when its record is not of this stage's metrics, or a file is missing or has another size."""
        path = self._stored(step)
        if path is None:
            return None
        record = read_record(path)
        for name, before in step.inputs.items():
            artifact, read = self.find(before), record.inputs.get(name)
            if artifact is None or read is None or artifact.build != read.build:
                return None
        missing_or_cut(path, record)
        return _artifact(step, path, record)

    def _stored(self, step: Step) -> Path | None:
        """The complete result of a step, unless it is to be computed again; its inputs are not looked at."""
        if again_mark(self._folder(step), step.fingerprint).exists():
            return None
        return result_in(self._folder(step), step.fingerprint)

    def _folder(self, step: Step) -> Path:
        return self.root / step.stage.name

    def _part(self, step: Step) -> Path:
        return self._folder(step) / f"{step.fingerprint}.part"

    def status(self, step: Step) -> Literal["cached", "started", "to run"]:
        """Whether building this step would find it complete, resume it, or start it."""
        if self.find(step):
            return "cached"
        return "started" if self._part(step).exists() else "to run"

    def build(self, step: Step[M]) -> Artifact[M]:
        """The result of a step, computed together with all it needs where it is not complete yet. Raises Incomplete, or
        InputError, for an error of the disk."""
        if step.fingerprint in self._built:
            return cast("Artifact[M]", self._built[step.fingerprint])  # of the same stage
        inputs = {name: self.build(before) for name, before in step.inputs.items()}
        with disk_errors(self.root):
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
        lock = lock_of(folder, step.fingerprint)
        if who := holder(lock):
            log.info("%s: being computed by %s; waiting for it", step.stage.name, who)
        with held(lock, run=self.run):
            yield

    def _run(self, step: Step[M], inputs: Mapping[str, Artifact]) -> Artifact[M]:
        builds = {name: InputBuild(a.fingerprint, a.build) for name, a in inputs.items()}
        part = self._part(step)
        record = self._finished(part, builds)
        if record is None:
            self._prepare(step, part, builds)
            record = self._work(step, inputs, builds, part)
            write_record(part, record)
        final = self.path(step)
        for old in final.parent.glob(f"*{step.fingerprint}"):  # of other inputs, or without a record
            set_aside(old, "superseded")
        part.rename(final)
        sync_folder(final.parent)
        if (mark := again_mark(final.parent, step.fingerprint)).exists():
            set_aside(mark, "superseded")
        return _artifact(step, final, record)

    def _work(self, step: Step[M], inputs: Mapping[str, Artifact], builds: Builds, part: Path) -> Record:
        """Run the stage; afterwards all its files are on the disk."""
        self.monitor.started(step)
        began = time.monotonic()
        with self._opened(step) as ws:
            metrics = step.stage.work(ws, **inputs, **step.values)
        seconds = round(time.monotonic() - began, 2)
        sync_tree(part)
        files = digests(part)
        product = {name: digest for name, digest in files.items() if step.stage.makes(name)}
        return Record(
            stage=step.stage.name,
            fingerprint=step.fingerprint,
            build=build_from(product, identifying(metrics)),
            identity=step.identity,
            inputs=builds,
            metrics=asdict(cast(Any, metrics)),
            files=files,
            seconds=seconds,
            provenance=provenance(),
            servers=servers(step.values),
            revisions=revisions(step.values),
        )

    def _finished(self, part: Path, builds: Builds) -> Record | None:
        """The record of a partial folder whose process ended just before it was renamed; None where there is work left.
        A folder that is not what its record says is set aside."""
        if not (part / RECORD).exists():
            return None
        try:
            record = read_record(part)
            if record.inputs != builds:
                return None
            verify(part, record.stage, record.files)
        except InputError as error:
            log.warning("%s: set aside as %s, because %s", part, set_aside(part, "damaged").name, error)
            return None
        return record

    @contextmanager
    def _opened(self, step: Step) -> Generator[Workspace]:
        """The workspace of a step that begins: the one in which work was done ahead, if any. Rows that it finishes go
        to the later steps that can work on them ahead, and have no result yet."""
        ws = self.overlap.taken_over(step) or self._workspace(step)
        later = self.overlap.followers(step) if self.runtime.overlap else []
        ready = {follower: self._ready(follower, step) for follower in later if self._stored(follower) is None}
        with self.overlap.following({follower: what for follower, what in ready.items() if what}) as finished:
            yield replace(ws, finished=finished)

    def _ready(self, follower: Step, current: Step) -> Follower | None:
        """What a step can work with while another one computes rows for it; None where it lacks more than those."""
        others = {name: before for name, before in follower.inputs.items() if before.fingerprint != current.fingerprint}
        found = {name: artifact for name, before in others.items() if (artifact := self.find(before)) is not None}
        return Follower(self._workspace(follower), found) if found.keys() == others.keys() else None

    def _workspace(self, step: Step) -> Workspace:
        mark, judgements = again_mark(self._folder(step), step.fingerprint), self.judgements or self.root / "judgements"
        return Workspace(
            folder=self._part(step),
            runtime=self.runtime,
            replay=(mark if mark.exists() else self.root) / "replay",
            judgements=mark / "judgements" if mark.exists() else judgements,
            first_scores=judgements / "anchors",
            budget_usd=self.budget_usd,
            progress=StageProgress(self.monitor.progress),
            curve=lambda row: self.monitor.curve(step.stage.name, row),
        )

    def _prepare(self, step: Step, part: Path, builds: Builds) -> None:
        """Make the folder that a step works in. A partial result is resumed only if its inputs are unchanged."""
        inputs = self._folder(step) / f".{step.fingerprint}.inputs.json"
        content = {name: asdict(build) for name, build in builds.items()}
        if part.exists() and _json_or_none(inputs) != content:
            aside = set_aside(part, "superseded")
            log.info("%s: its inputs were rebuilt; the part that was done is kept in %s", step.stage.name, aside)
        remove_scratch(part)
        write_json(inputs, content)
        part.mkdir(exist_ok=True)


def _artifact(step: Step[M], path: Path, record: Record) -> Artifact[M]:
    metrics = read_metrics(step.stage.metrics, record.metrics, str(path / RECORD))
    return Artifact(stage=step.stage.name, path=path, fingerprint=step.fingerprint, build=record.build, metrics=metrics)


def _json_or_none(path: Path) -> object:
    """The content of a JSON file; None for an absent or torn one."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
