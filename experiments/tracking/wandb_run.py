"""Weights & Biases as a mirror of the local record: the only `import wandb`.

A run whose W&B refuses to start, or dies half-way, has the same results; the next time the command is issued, what
W&B has not seen is mirrored from the record, and what it has seen is not sent twice (`mirrored.json` in the run's
folder knows). The step axis of each metric is our own (`train/step`, `refine/pair`, `grade/item`), never W&B's.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal

from evals.benchmark import Verdict
from experiments.experiment import Experiment
from experiments.store.fingerprint import fingerprint
from experiments.store.stages import Artifact, Step
from reer.files import write_json
from reer.text import join_segments
from reer.types import Pair, Refinement

log = logging.getLogger(__name__)
AXES = {"train": "step", "refine": "pair", "gain": "segment", "grade": "item"}
TABLE_ROWS = 50
Mode = Literal["online", "offline"]


class NullTracker:
    """No tracking at all."""

    where: str | None = None

    def curve(self, stage: str, row: Mapping[str, float]) -> None: ...

    def stage(self, name: str, step: Step, artifact: Artifact, cached: bool) -> None: ...

    def summary(self, values: Mapping[str, Any]) -> None: ...

    def finish(self, exit_code: int) -> None: ...


def tags_of(x: Experiment) -> list[str]:
    """What the runs table is filtered by; W&B takes 64 characters a tag."""
    tags = [f"arm:{x.name}", f"scale:{x.scale.name}", *(["baseline"] if x.name == x.baseline else [])]
    return [tag[:64] for tag in tags]


class FailSafeTracker(NullTracker):
    """A tracker behind a fuse: what W&B raises is told once, then the run goes on without it, untracked."""

    def __init__(self, tracker: NullTracker) -> None:
        self.tracker, self.where = tracker, tracker.where

    def curve(self, stage: str, row: Mapping[str, float]) -> None:
        self._try(lambda: self.tracker.curve(stage, row))

    def stage(self, name: str, step: Step, artifact: Artifact, cached: bool) -> None:
        self._try(lambda: self.tracker.stage(name, step, artifact, cached))

    def summary(self, values: Mapping[str, Any]) -> None:
        self._try(lambda: self.tracker.summary(values))

    def finish(self, exit_code: int) -> None:
        self._try(lambda: self.tracker.finish(exit_code))

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except failures() as error:
            log.warning("W&B failed (%s: %s); the local record goes on without it", type(error).__name__, error)
            log.warning("issue the same command again to mirror this run from its record")
            self.tracker, self.where = NullTracker(), None


def failures() -> tuple[type[Exception], ...]:
    """What W&B raises when it cannot go on: its own errors, and those of the connection to its process."""
    import wandb

    return (wandb.Error, OSError, ValueError, RuntimeError)


class WandbRun(NullTracker):
    """One W&B run for one arm and seed."""

    def __init__(self, x: Experiment, plan: Mapping[str, Any], steps: Mapping[str, Step], mode: Mode) -> None:
        import wandb

        self.live: set[str] = set()
        self.pairs: dict[str, Pair] = {}
        folder = Path(x.runtime.root)
        folder.mkdir(parents=True, exist_ok=True)
        id = fingerprint([x.run_name, {name: step.fingerprint for name, step in steps.items()}])
        settings = wandb.Settings(
            console="off", disable_git=True, x_disable_meta=True, init_timeout=30, finish_timeout=60, silent=True
        )
        self.run = wandb.init(
            project=x.tracking.project,
            entity=x.tracking.entity,
            group=x.tracking.group or x.scale.name,
            id=f"reer-{id}",
            name=x.run_name,
            job_type="experiment",
            mode=mode,
            dir=str(folder),
            resume="allow",
            reinit="finish_previous",
            tags=tags_of(x),
            config={**plan, "ids": {name: step.fingerprint for name, step in steps.items()}},
            settings=settings,
        )
        self.where = self.run.url if mode == "online" else str(Path(self.run.dir).parent)
        self.seen = Seen(x.folder / "mirrored.json", f"{mode} {x.tracking.entity}/{x.tracking.project}/{self.run.id}")
        for stage, axis in AXES.items():
            self.run.define_metric(f"{stage}/{axis}", hidden=True)
            # The summary holds what the record says of a stage, not the last row of its curve.
            self.run.define_metric(f"{stage}/*", step_metric=f"{stage}/{axis}", summary="none")

    def curve(self, stage: str, row: Mapping[str, float]) -> None:
        """A row of a running stage, as it comes."""
        self.live.add(stage)
        self.run.log({f"{stage}/{key}": value for key, value in row.items()})

    def stage(self, name: str, step: Step, artifact: Artifact, cached: bool) -> None:
        """A finished stage: its numbers, its rows and tables; curves not seen live are mirrored from the record."""
        prefix, digest = name.replace(":", "/"), f"{artifact.fingerprint}-{artifact.build}"
        self.run.summary[f"digest/{prefix}"] = digest
        self.run.summary.update({f"{prefix}/{key}": value for key, value in scalars(artifact.metrics).items()})
        if step.stage == "pairs":
            self.pairs = {pair.id: pair for pair in artifact.rows(Pair)}
        if self.seen.has(name, digest):
            return
        if step.stage == "train" and step.stage not in self.live:
            for line in (artifact.path / "curve.jsonl").read_text(encoding="utf-8").split("\n"):
                if line:
                    self.curve("train", json.loads(line))
        if step.stage == "refine":
            self._refinements(artifact)
        if step.stage == "grade":
            self._verdicts(prefix, artifact)
        self.seen.add(name, digest)

    def _refinements(self, artifact: Artifact) -> None:
        """Each pair's scores, their distributions, the mean gain at each segment, and examples to read."""
        import wandb

        rows = artifact.rows(Refinement)
        for number, row in enumerate(rows):
            scores = {"draft_score": row.draft_score, "score": row.score, "gain": row.draft_score - row.score}
            accepted = sum(edit.chosen is not None for edit in row.trace())
            self.curve("refine", {"pair": number, **scores, "accepted": accepted, "segments": len(row.segments)})
        for segment, mean in artifact.metrics.get("mean_gain_by_segment", {}).items():
            self.curve("gain", {"segment": int(segment), "mean": mean})
        texts = ("query", "solution", "thinking_before", "thinking_after")
        table = wandb.Table(columns=[*texts, "score_before", "score_after", "stopped"])
        for row in rows[:TABLE_ROWS]:
            pair, texts = self.pairs[row.pair_id], (join_segments(row.draft), join_segments(row.segments))
            table.add_data(pair.query, pair.solution, *texts, row.draft_score, row.score, row.stopped)
        scores = {"score_before": [row.draft_score for row in rows], "score_after": [row.score for row in rows]}
        shapes = {f"distributions/{name}": wandb.Histogram(found) for name, found in scores.items() if found}
        self.run.log({"tables/trajectories": table, **shapes})

    def _verdicts(self, prefix: str, artifact: Artifact) -> None:
        import wandb

        scores = json.loads((artifact.path / "scores.json").read_text(encoding="utf-8"))
        ids = sorted({id for column in scores.values() for id in column})
        for number, id in enumerate(ids):
            known = {f"{prefix}/{metric}": column.get(id) for metric, column in scores.items()}
            self.run.log({"grade/item": number, **{key: value for key, value in known.items() if value is not None}})
        table = wandb.Table(columns=["item_id", "criterion", "scores", "why", "reply"])
        for verdict in artifact.rows(Verdict)[:TABLE_ROWS]:
            table.add_data(verdict.item_id, verdict.criterion, json.dumps(verdict.scores), verdict.why, verdict.reply)
        self.run.log({f"tables/{prefix.replace('/', '_')}": table})

    def summary(self, values: Mapping[str, Any]) -> None:
        """Numbers of the run as a whole, nested ones by path."""
        self.run.summary.update(scalars(values))

    def finish(self, exit_code: int) -> None:
        self.run.finish(exit_code=exit_code)


class Seen:
    """Which stages' rows one W&B run has, kept beside the local record: a run that is gone on with sends none twice."""

    def __init__(self, path: Path, run: str) -> None:
        self.path, self.run = path, run
        self.runs: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def has(self, stage: str, digest: str) -> bool:
        return self.runs.get(self.run, {}).get(stage) == digest

    def add(self, stage: str, digest: str) -> None:
        self.runs.setdefault(self.run, {})[stage] = digest
        write_json(self.path, self.runs)


def scalars(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Metrics as flat numbers: nested counts by path, measures by name with their coverage; None is left out."""
    flat: dict[str, float] = {}
    for key, value in metrics.items():
        if key == "measures":
            for measure in value:
                named = {"": measure["value"], "coverage": measure["coverage"], "of_scored": measure["mean_of_scored"]}
                flat |= {
                    f"{measure['benchmark']}/{measure['metric']}/{k}".rstrip("/"): v
                    for k, v in named.items()
                    if v is not None
                }
        elif isinstance(value, Mapping):
            flat |= scalars(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            flat[f"{prefix}{key}"] = value
    return flat


def open_tracking(x: Experiment, plan: Mapping[str, Any], steps: Mapping[str, Step]) -> NullTracker:
    """The tracker the configuration asks for; if W&B cannot start, a warning and none."""
    mode = x.tracking.mode
    if mode == "auto":
        mode = "online" if _has_key() else "offline"
    if mode == "silent":
        return NullTracker()
    try:
        return FailSafeTracker(WandbRun(x, plan, steps, mode))
    except failures() as error:
        log.warning("W&B could not start (%s); the local record goes on without it", error)
        return NullTracker()


def _has_key() -> bool:
    """True if the environment or netrc holds a W&B key; looking costs no network and never prompts."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0].split(":")[0]
    try:
        return netrc().authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
