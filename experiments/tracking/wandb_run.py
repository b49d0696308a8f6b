"""Weights & Biases as a mirror of the local record.

A run whose W&B does not start, or fails half-way, has the same results; when the command is run again, what W&B does
not have yet is mirrored from the record, and nothing is sent twice. Each curve has an axis of its own (`train/step`,
`refine/done`), never W&B's. The summary of a finished run is its row of the table; every other number is in a table.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from experiments.experiment import Experiment
from experiments.metrics import training
from experiments.report.exports.row import summary_row
from experiments.store.failures import Failure
from experiments.store.fingerprint import Json, fingerprint
from experiments.store.runs import Result, fingerprints, identity_of
from experiments.store.step import Artifact, StepName, Steps
from experiments.store.store import Store
from experiments.tracking.artifacts import Product, artifact_of, products
from experiments.tracking.client import add_tag, arrived_rows, stored_run, wandb_calls
from experiments.tracking.curves import Curves
from experiments.tracking.destination import Destination, answers, destination, remember_unreachable
from experiments.tracking.ledger import SUPERSEDED, Ledger, Mirror, next_mirror
from experiments.tracking.rows import LOCK, arm_of, comparison_at, send_rows
from experiments.tracking.settings import settings_of
from experiments.tracking.tables import Table, tables_of
from experiments.tracking.tracker import FailSafeTracker, NullTracker, Tracker, TrackingFailed
from reer.errors import InputError
from reer.files import write_json
from reer.processes import interrupt_self, interruptible

if TYPE_CHECKING:
    from wandb import Run

log = logging.getLogger(__name__)
POLL_SECONDS = 60.0  # between two looks for the tag that stops a run
CANCEL = "cancel"
INIT_SECONDS, FINISH_SECONDS = 30, 60
OF_OTHER_RUNS = (
    "WANDB_FORK_FROM",
    "WANDB_LAUNCH",
    "WANDB_RESUME",
    "WANDB_RESUME_FROM",
    "WANDB_RUN_ID",
    "WANDB_SERVICE",
    "WANDB_SWEEP_ID",
)
"""Variables that would make this run a part of another one, or tie it to the wandb-core of another process."""


class WandbRun:
    """One W&B run for one arm and seed. It holds `lock` until it is finished."""

    def __init__(self, exp: Experiment, to: Destination, mirror: Mirror, ledger: Ledger, lock: FileLock) -> None:
        self.exp, self.to, self.ledger, self.lock = exp, to, ledger, lock
        self.rows = arrived_rows(mirror.path) if mirror in ledger.mirrors else []
        self.watching = ExitStack()
        self.run = _started(exp, to, mirror)
        self.curves = Curves(self.run, self.rows)
        self.reused = set[str]()  # fingerprints of stages that another run has computed
        self.where: str | None = self.run.url if self.online else str(Path(self.run.dir).parent)
        folder = None if self.online else os.path.relpath(Path(self.run.dir).parent, exp.runtime.root)
        self.mirror = replace(mirror, entity=self.run.entity or to.entity, folder=folder)

    @property
    def online(self) -> bool:
        return self.to.mode == "online"

    def begin(self, plan: Mapping[str, Json], steps: Steps) -> None:
        """Describe the run: settings, tags, and the plan as a file."""
        self.ledger.put(self.mirror)
        with wandb_calls():
            self.run.config.update(settings_of(self.exp, plan, steps, self.to), allow_val_change=True)
            self.run.tags = tuple(dict.fromkeys((*(t for t in self.run.tags or () if t != CANCEL), *self.to.tags)))
            if "failure" in dict(self.run.summary):
                del self.run.summary["failure"]
            write_json(Path(self.run.dir) / "plan.json", plan)
            self.run.save(str(Path(self.run.dir) / "plan.json"), base_path=self.run.dir, policy="now")
        if self.online:
            for old in self.ledger.mirrors:
                if old.superseded and old.online:
                    add_tag(old.path, SUPERSEDED)
            ended = threading.Event()
            self.watching.enter_context(interruptible())
            self.watching.callback(ended.set)
            threading.Thread(target=_stop_when_cancelled, args=(self.mirror.path, ended), daemon=True).start()

    def curve(self, step: str, row: Mapping[str, float]) -> None:
        """A row of a running step, as it comes."""
        self.curves.add(step, row)

    def stage(self, name: StepName, artifact: Artifact, cached: bool) -> None:
        """A finished stage. Rows of its curve that W&B does not have are sent from the record."""
        if cached and str(name) not in self.mirror.stages:
            self.reused.add(artifact.fingerprint)
        self.curves.end(str(name))
        if name.stage == training.TRAIN.name:
            for row in _recorded_curve(artifact.path / "curve.jsonl"):
                self.curves.fill(str(name), row)
        digests = {**self.mirror.stages, str(name): digest_of(artifact)}
        self.mirror = replace(self.mirror, stages=digests)
        self.ledger.change(self.mirror)

    def result(self, result: Result) -> None:
        """The row of the table, all tables, and the artifacts."""
        with reported("W&B gets no results of this run"):
            self._show(result)

    def _show(self, result: Result) -> None:
        comparison = comparison_at(self.exp.runtime.runs, result.scale, result.seed, result.identity)
        if comparison is None:
            return
        arm, first = arm_of(comparison, result), comparison.arms[0]
        row = summary_row(comparison, arm)
        with wandb_calls():
            self.run.summary.update(dict(row))
        self.mirror = replace(self.mirror, row=row, row_sent=True)
        for key, table in tables_of(self.exp, arm, first.result if first.is_baseline else None).items():
            if not any(key in row for row in self.rows):
                self._table(key, table)
        for product in products(result):
            self._artifact(product)

    def _table(self, key: str, table: Table) -> None:
        with wandb_calls():
            import wandb

            wandb.Table.MAX_ROWS = wandb.Table.MAX_ARTIFACT_ROWS  # pyright: ignore[reportAttributeAccessIssue]
            content = wandb.Table(columns=list(table.columns), allow_mixed_types=True)
            for row in table.rows:
                content.add_data(*row)
            self.run.log({key: content})

    def _artifact(self, product: Product) -> None:
        """An output of this run, or an input where another run has made it. (W&B offline knows no inputs.)"""
        aliases = ["latest", product.alias]
        with wandb_calls():
            if self.online and product.record.fingerprint in self.reused:
                self.run.use_artifact(artifact_of(product), aliases=aliases)
            else:
                self.run.log_artifact(artifact_of(product), aliases=aliases)

    def failed(self, failure: Failure) -> None:
        """Why the run ends without a result, in its summary."""
        with wandb_calls():
            self.run.summary["failure"] = str(failure)

    def preempting(self) -> None:
        with wandb_calls():
            self.run.mark_preempting()

    def finish(self, exit_code: int) -> None:
        """The end of the run; afterwards the rows of the other arms of its scale and seed are brought up to date."""
        self.watching.close()
        with wandb_calls():
            self.run.finish(exit_code=exit_code)
        self.ledger.change(self.mirror)
        self.lock.release()
        if exit_code == 0:
            self._bring_rows()

    def _bring_rows(self) -> None:
        """The rows of all arms, also of those that ended since this run's own row was made."""
        with reported("the rows of the table are not brought up to date"):
            exp = self.exp
            comparison = comparison_at(exp.runtime.runs, exp.scale.name, exp.seed, identity_of(exp))
            if comparison is not None:
                send_rows(comparison, self.online)

    def abandon(self) -> None:
        self.watching.close()
        with wandb_calls():
            import wandb

            self.lock.release()
            wandb.teardown(exit_code=1)


@contextmanager
def reported(what: str) -> Iterator[None]:
    """Say that a damaged result keeps something from W&B; the run goes on."""
    try:
        yield
    except InputError as error:
        log.warning("%s: %s", what, error)


def digest_of(artifact: Artifact) -> str:
    """What identifies a stage result and its content."""
    return f"{artifact.fingerprint}-{artifact.build}"


def _started(exp: Experiment, to: Destination, mirror: Mirror) -> Run:
    folder = Path(exp.runtime.root)
    folder.mkdir(parents=True, exist_ok=True)
    for name in OF_OTHER_RUNS:
        os.environ.pop(name, None)
    os.environ.setdefault("WANDB_SILENT", "true")  # what it says while it starts is not about the run
    with wandb_calls():
        import wandb
        from wandb.sdk.lib.import_hooks import unregister_all_post_import_hooks

        settings = wandb.Settings(
            console="off",
            disable_git=True,
            x_disable_meta=True,
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
            silent=True,
            sagemaker_disable=True,
        )
        run = wandb.init(
            project=to.project,
            entity=to.entity,
            group=to.group,
            id=mirror.id,
            name=exp.run_name if mirror.number == 1 else f"{exp.run_name} (attempt {mirror.number})",
            job_type="experiment",
            mode="online" if to.mode == "online" else "offline",
            dir=str(folder),
            resume="allow",
            reinit="finish_previous",
            settings=settings,
        )
        # W&B counts the imports of libraries; once its process is gone, that would make every one of them fail.
        unregister_all_post_import_hooks()
        return run


def _recorded_curve(file: Path) -> Iterator[Mapping[str, float]]:
    for line in file.read_text(encoding="utf-8").split("\n"):
        if line:
            yield json.loads(line)


def _stop_when_cancelled(path: str, ended: threading.Event) -> None:
    """Interrupt this process, as Ctrl-C does, once the W&B run at `path` is tagged `cancel`."""
    while not ended.wait(POLL_SECONDS):
        try:
            tags = stored_run(path).tags
        except TrackingFailed as error:
            log.info("W&B did not say whether this run is cancelled (%s)", error)
            continue
        if CANCEL in tags and not ended.is_set():
            log.warning("W&B: this run is tagged %r, so it stops; the same command resumes it", CANCEL)
            interrupt_self()
            return


def open_tracking(exp: Experiment, plan: Mapping[str, Json], steps: Steps) -> Tracker:
    """The tracker that the configuration and W&B's own variables ask for. No tracking, and a line that says why, where
    W&B cannot start or another process mirrors the same run."""
    to = destination(exp)
    if to.mode == "silent":
        return NullTracker()
    lock = FileLock(exp.folder / LOCK)
    try:
        lock.acquire(timeout=0)
        return FailSafeTracker(_opened(exp, plan, steps, to, lock))
    except Timeout:
        log.info("%s: another process mirrors this run to W&B, so this one does not", exp.run_name)
    except TrackingFailed as error:
        log.warning("W&B could not start (%s); the run continues without it", error)
        lock.release()
    return NullTracker()


def _opened(exp: Experiment, plan: Mapping[str, Json], steps: Steps, to: Destination, lock: FileLock) -> WandbRun:
    """The W&B run, offline where W&B cannot be reached."""
    root = Path(exp.runtime.root)
    if to.mode == "online" and not answers(root):
        to = replace(to, mode="offline")
    try:
        return _begun(exp, plan, steps, to, lock)
    except TrackingFailed as error:
        if to.mode == "offline":
            raise
        log.warning("W&B could not start online (%s), so this run is tracked offline; `reer sync` sends it", error)
        remember_unreachable(root)
        _forget_failed_start()
    return _begun(exp, plan, steps, replace(to, mode="offline"), lock)


def _forget_failed_start() -> None:
    """End W&B's process, which still holds the id of the run that did not start."""
    with suppress(TrackingFailed), wandb_calls():
        import wandb

        wandb.teardown()


def _begun(exp: Experiment, plan: Mapping[str, Json], steps: Steps, to: Destination, lock: FileLock) -> WandbRun:
    ledger, store = Ledger(exp.folder), Store(root=exp.runtime.store, runtime=exp.runtime)
    found = {str(name): store.find(step) for name, step in steps.items()}
    stored = {name: digest_of(artifact) for name, artifact in found.items() if artifact is not None}
    wanted = Mirror(
        experiment=f"reer-{fingerprint([exp.run_name, {**fingerprints(steps)}])}",
        number=1,
        project=to.project,
        entity=to.entity,
        online=to.mode == "online",
    )
    run = WandbRun(exp, to, next_mirror(ledger.mirrors, wanted, stored), ledger, lock)
    run.begin(plan, steps)
    return run


def is_mirrored(exp: Experiment) -> bool:
    """Whether W&B has a finished run, as far as it is asked for now: a run that was tracked offline is not mirrored
    where online tracking is wanted."""
    mode, mirror = destination(exp).mode, Ledger(exp.folder).current
    return mode == "silent" or (mirror is not None and (mirror.online or mode == "offline"))
