"""Weights & Biases as a mirror of the local record: the only `import wandb`.

A run whose W&B does not start, or fails half-way, has the same results; when the command is run again, what W&B does
not have yet is mirrored from the record, and nothing is sent twice (`mirrored.json` in the run's folder). The step axis
of each metric is our own (`train/step`, `refine/pair`, `grade/item`), never W&B's.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal, cast

import psutil
from filelock import FileLock, Timeout
from pydantic import ValidationError

from evals.benchmark import Measure, Verdict
from experiments.experiment import Experiment
from experiments.stages.data import PairsMetrics
from experiments.stages.evaluation import GradeMetrics, ScoreMetrics
from experiments.stages.synthesis import RefineMetrics
from experiments.stages.training import TrainMetrics
from experiments.store.fingerprint import fingerprint
from experiments.store.metrics import StageMetrics
from experiments.store.runs import fingerprints
from experiments.store.step import Artifact, StepName, Steps
from experiments.tracking.tracker import FailSafeTracker, NullTracker, Tracker, TrackingFailed
from reer.files import adapter, write_json
from reer.text import join_segments
from reer.types import Pair, Refinement

log = logging.getLogger(__name__)
AXES = {"train": "step", "refine": "pair", "gain": "segment", "grade": "item"}
TABLE_ROWS = 50
HANG_SECONDS = 120.0  # more than W&B's own limits of 30 s for the start and 60 s for the end of a run
TAG_CHARACTERS = 64  # the most W&B takes
TEXT_COLUMNS = ("query", "solution", "thinking_before", "thinking_after")
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
Mode = Literal["online", "offline"]


def tags_of(exp: Experiment) -> list[str]:
    """The tags by which the runs table is filtered."""
    tags = [f"arm:{exp.name}", f"scale:{exp.scale.name}", *(["baseline"] if exp.name == exp.baseline else [])]
    return [tag[:TAG_CHARACTERS] for tag in tags]


@contextmanager
def wandb_calls() -> Iterator[None]:
    """Around calls of W&B and nothing else: turns what these raise into TrackingFailed. W&B has no common class of its
    errors, and raises ValueError and RuntimeError for rejected settings and for a lost connection to its process. A
    call that has not returned after `HANG_SECONDS` waits for that process, which is then ended, so that the call
    fails."""
    watchdog = threading.Timer(HANG_SECONDS, _end_wandb_core)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except Exception as error:
        of_wandb = type(error).__module__.partition(".")[0] == "wandb"
        if of_wandb or isinstance(error, OSError | ValueError | RuntimeError | ImportError):
            raise TrackingFailed(f"{type(error).__name__}: {error}") from error
        raise
    finally:
        watchdog.cancel()


def _end_wandb_core() -> None:
    """Kill the process through which this one reaches W&B: one that hangs answers no request to end."""
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if child.name() == "wandb-core":
                child.kill()


class WandbRun:
    """One W&B run for one arm and seed. It holds `lock` until it is finished."""

    def __init__(self, exp: Experiment, plan: Mapping[str, object], steps: Steps, mode: Mode, lock: FileLock) -> None:
        self.lock = lock
        self.live: set[str] = set()
        self.pairs: dict[str, Pair] = {}
        folder = Path(exp.runtime.root)
        folder.mkdir(parents=True, exist_ok=True)
        ids = fingerprints(steps)
        for name in OF_OTHER_RUNS:
            os.environ.pop(name, None)
        with wandb_calls():
            import wandb
            from wandb.sdk.lib.import_hooks import unregister_all_post_import_hooks

            settings = wandb.Settings(
                console="off",
                disable_git=True,
                x_disable_meta=True,
                init_timeout=30,
                finish_timeout=60,
                silent=True,
                sagemaker_disable=True,
            )
            self.run = wandb.init(
                project=exp.tracking.project,
                entity=exp.tracking.entity,
                group=exp.tracking.group or exp.scale.name,
                id=f"reer-{fingerprint([exp.run_name, {**ids}])}",
                name=exp.run_name,
                job_type="experiment",
                mode=mode,
                dir=str(folder),
                resume="allow",
                reinit="finish_previous",
                tags=tags_of(exp),
                config={**plan, "ids": ids},
                settings=settings,
            )
            # W&B counts the imports of libraries; once its process is gone, that would make every one of them fail.
            unregister_all_post_import_hooks()
            self.where: str | None = self.run.url if mode == "online" else str(Path(self.run.dir).parent)
            for stage, axis in AXES.items():
                self.run.define_metric(f"{stage}/{axis}", hidden=True)
                # The summary holds the numbers of the record, not the last row of the curve.
                self.run.define_metric(f"{stage}/*", step_metric=f"{stage}/{axis}", summary="none")
        destination = f"{mode} {exp.tracking.entity}/{exp.tracking.project}/{self.run.id}"
        self.ledger = SyncLedger(exp.folder / "mirrored.json", destination)

    def curve(self, stage: str, row: Mapping[str, float]) -> None:
        """A row of a running stage, as it comes."""
        self.live.add(stage)
        self._log({f"{stage}/{key}": value for key, value in row.items()})

    def stage(self, name: StepName, artifact: Artifact) -> None:
        """A finished stage: its numbers, rows and tables. A curve that was not sent live is sent from the record."""
        prefix, digest = "/".join(filter(None, name)), f"{artifact.fingerprint}-{artifact.build}"
        numbers = {f"{prefix}/{key}": value for key, value in scalars(artifact.metrics).items()}
        with wandb_calls():
            self.run.summary.update({f"digest/{prefix}": digest, **numbers})
        metrics = artifact.metrics
        if isinstance(metrics, PairsMetrics):
            self.pairs = {pair.id: pair for pair in artifact.rows(Pair)}
        if self.ledger.has(name, digest):
            return
        if isinstance(metrics, TrainMetrics) and artifact.stage not in self.live:
            for row in (artifact.path / "curve.jsonl").read_text(encoding="utf-8").split("\n"):
                if row:
                    self.curve("train", json.loads(row))
        elif isinstance(metrics, RefineMetrics):
            self._refinements(artifact.rows(Refinement), metrics)
        elif isinstance(metrics, GradeMetrics):
            self._verdicts(prefix, artifact)
        self.ledger.add(name, digest)

    def _refinements(self, rows: list[Refinement], metrics: RefineMetrics) -> None:
        """Each pair's scores, their distributions, the mean gain at each segment, and examples to read."""
        import wandb

        for number, row in enumerate(rows):
            scores = {"draft_score": row.draft_score, "score": row.score, "gain": row.draft_score - row.score}
            accepted = sum(edit.chosen is not None for edit in row.trace())
            self.curve("refine", {"pair": number, **scores, "accepted": accepted, "segments": len(row.segments)})
        for segment, mean in metrics.mean_gain_by_segment.items():
            self.curve("gain", {"segment": int(segment), "mean": mean})
        examples: list[tuple[str | float, ...]] = []
        for row in rows[:TABLE_ROWS]:
            pair, before, after = self.pairs[row.pair_id], join_segments(row.draft), join_segments(row.segments)
            examples.append((pair.query, pair.solution, before, after, row.draft_score, row.score, row.stopped))
        by_name = {"score_before": [row.draft_score for row in rows], "score_after": [row.score for row in rows]}
        with wandb_calls():
            table = wandb.Table(columns=[*TEXT_COLUMNS, "score_before", "score_after", "stopped"])
            for example in examples:
                table.add_data(*example)
            shapes = {f"distributions/{name}": wandb.Histogram(values) for name, values in by_name.items() if values}
            self.run.log({"tables/trajectories": table, **shapes})

    def _verdicts(self, prefix: str, artifact: Artifact) -> None:
        """The scores of each item, and verdicts to read."""
        import wandb

        scores = json.loads((artifact.path / "scores.json").read_text(encoding="utf-8"))
        for number, item_id in enumerate(sorted({item_id for column in scores.values() for item_id in column})):
            known = {f"{prefix}/{metric}": column.get(item_id) for metric, column in scores.items()}
            self._log({"grade/item": number, **{key: value for key, value in known.items() if value is not None}})
        verdicts = artifact.rows(Verdict)[:TABLE_ROWS]
        with wandb_calls():
            table = wandb.Table(columns=["item_id", "criterion", "scores", "why", "reply"])
            for v in verdicts:
                table.add_data(v.item_id, v.criterion, json.dumps(v.scores), v.why, v.reply)
            self.run.log({f"tables/{prefix.replace('/', '_')}": table})

    def _log(self, row: Mapping[str, float]) -> None:
        with wandb_calls():
            self.run.log(dict(row))

    def summary(self, values: Mapping[str, float]) -> None:
        """Numbers of the run as a whole, by path."""
        with wandb_calls():
            self.run.summary.update(dict(values))

    def finish(self, exit_code: int) -> None:
        with wandb_calls():
            self.run.finish(exit_code=exit_code)
        self.lock.release()

    def abandon(self) -> None:
        with wandb_calls():
            import wandb

            self.lock.release()
            wandb.teardown(exit_code=1)


class SyncLedger:
    """The stages whose rows a W&B run already has, kept beside the local record, so that a resumed run sends none
    twice."""

    def __init__(self, path: Path, run: str) -> None:
        self.path, self.run, self.runs = path, run, _read_ledger(path)

    def has(self, name: StepName, digest: str) -> bool:
        return self.runs.get(self.run, {}).get(str(name)) == digest

    def add(self, name: StepName, digest: str) -> None:
        self.runs.setdefault(self.run, {})[str(name)] = digest
        write_json(self.path, self.runs)


def _read_ledger(path: Path) -> dict[str, dict[str, str]]:
    try:
        return adapter(dict[str, dict[str, str]]).validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValidationError:
        log.warning("%s is damaged: W&B may get rows of this run a second time", path)
        return {}


def scalars(metrics: StageMetrics) -> dict[str, float]:
    """Metrics as flat numbers: nested ones by path, measures by name with their coverage; None is left out."""
    if isinstance(metrics, ScoreMetrics):
        values = asdict(metrics)
        del values["measures"]
        return flat(values) | {k: v for measure in metrics.measures for k, v in _measure_scalars(measure).items()}
    return flat(asdict(cast(Any, metrics)))


def _measure_scalars(measure: Measure) -> dict[str, float]:
    named = {
        measure.name: measure.value,
        f"{measure.name}/coverage": measure.coverage,
        f"{measure.name}/of_scored": measure.mean_of_scored,
    }
    return {name: value for name, value in named.items() if value is not None}


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, float]:
    """The numbers in nested mappings by path; all else is left out."""
    numbers: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            numbers |= flat(cast(Mapping[str, object], value), f"{prefix}{key}/")
        elif isinstance(value, int | float):
            numbers[f"{prefix}{key}"] = value
    return numbers


def open_tracking(exp: Experiment, plan: Mapping[str, object], steps: Steps) -> Tracker:
    """The tracker that the configuration and W&B's own variables ask for. No tracking, and a line that says why, where
    W&B cannot start or another process mirrors the same run."""
    mode = _mode(exp.tracking.mode)
    if mode == "silent":
        return NullTracker()
    lock = FileLock(exp.folder / ".mirrored.lock")
    try:
        lock.acquire(timeout=0)
        return FailSafeTracker(WandbRun(exp, plan, steps, mode, lock))
    except Timeout:
        log.info("%s: another process mirrors this run to W&B, so this one does not", exp.run_name)
    except TrackingFailed as error:
        log.warning("W&B could not start (%s); the run continues without it", error)
        lock.release()
    return NullTracker()


def _mode(wanted: Literal["auto", "online", "offline", "silent"]) -> Mode | Literal["silent"]:
    """What to do, after W&B's own variables: one that disables W&B always counts, another mode where it is `auto`."""
    own = os.environ.get("WANDB_MODE", "").lower()
    disabled = os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "on")
    if wanted != "silent" and (disabled or own == "disabled"):
        log.info("W&B is disabled by %s; tracking=silent says the same", "WANDB_DISABLED" if disabled else "WANDB_MODE")
        return "silent"
    if wanted != "auto":
        return wanted
    return "offline" if own in ("offline", "dryrun") or not _has_key() else "online"


def _has_key() -> bool:
    """True if the environment or netrc holds a W&B key; reads files only and never prompts."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0].split(":")[0]
    try:
        return netrc().authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
