"""Weights & Biases as a mirror of the local record: the only `import wandb`.

A run that W&B refuses, or that dies half-way, has the same results; what was computed before is mirrored from the
record. The step axis of each metric is our own (`train/step`, `refine/pair`, `grade/item`), never W&B's.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal

from evals.benchmark import Verdict
from experiments.experiment import Experiment
from experiments.identity import fingerprint
from experiments.store import Artifact, Step
from reer.text import join_segments
from reer.types import Refinement

log = logging.getLogger(__name__)
AXES = {"train": "step", "refine": "pair", "grade": "item"}
TABLE_ROWS = 50
Mode = Literal["online", "offline"]


class Silent:
    """No tracking at all."""

    where: str | None = None

    def curve(self, stage: str, row: Mapping[str, float]) -> None: ...

    def stage(self, name: str, step: Step, artifact: Artifact, cached: bool) -> None: ...

    def finish(self, exit_code: int) -> None: ...


def tags_of(x: Experiment) -> list[str]:
    """What the runs table is filtered by; W&B takes 64 characters a tag."""
    tags = [f"arm:{x.name}", f"scale:{x.scale.name}", *(["baseline"] if x.name == x.baseline else [])]
    return [tag[:64] for tag in tags]


class WandbRun(Silent):
    """One W&B run for one arm and seed."""

    def __init__(self, x: Experiment, plan: Mapping[str, Any], steps: Mapping[str, Step], mode: Mode) -> None:
        import wandb

        self.live: set[str] = set()
        folder = Path(x.runtime.root)
        folder.mkdir(parents=True, exist_ok=True)
        id = fingerprint([x.run_name, {name: step.fingerprint for name, step in steps.items()}])
        settings = wandb.Settings(
            console="off", disable_git=True, x_disable_meta=True, init_timeout=30, finish_timeout=60, silent=True
        )
        self.run = wandb.init(
            project=x.tracking.project, entity=x.tracking.entity, group=x.tracking.group or x.scale.name,
            id=f"reer-{id}", name=x.run_name, job_type="experiment", mode=mode, dir=str(folder), resume="allow",
            reinit="finish_previous",
            tags=tags_of(x),
            config={**plan, "ids": {name: step.fingerprint for name, step in steps.items()}}, settings=settings,
        )  # fmt: skip
        self.where = self.run.url if mode == "online" else str(Path(self.run.dir).parent)
        for stage, axis in AXES.items():
            self.run.define_metric(f"{stage}/{axis}", hidden=True)
            self.run.define_metric(f"{stage}/*", step_metric=f"{stage}/{axis}")

    def curve(self, stage: str, row: Mapping[str, float]) -> None:
        """A row of a running stage, as it comes."""
        self.live.add(stage)
        self.run.log({f"{stage}/{key}": value for key, value in row.items()})

    def stage(self, name: str, step: Step, artifact: Artifact, cached: bool) -> None:
        """A finished stage: its numbers, its rows and tables; curves not seen live are mirrored from the record."""
        prefix = name.replace(":", "/")
        self.run.summary[f"digest/{prefix}"] = f"{artifact.fingerprint}-{artifact.build}"
        self.run.summary.update({f"{prefix}/{key}": value for key, value in scalars(artifact.metrics).items()})
        if step.stage == "train" and step.stage not in self.live:
            for line in (artifact.path / "curve.jsonl").read_text(encoding="utf-8").split("\n"):
                if line:
                    self.curve("train", json.loads(line))
        if step.stage == "refine":
            self._refinements(step, artifact)
        if step.stage == "grade":
            self._verdicts(prefix, artifact)

    def _refinements(self, step: Step, artifact: Artifact) -> None:
        import wandb

        rows = artifact.rows(Refinement)
        for number, row in enumerate(rows):
            scores = {"draft_score": row.draft_score, "score": row.score, "gain": row.draft_score - row.score}
            accepted = sum(edit.chosen is not None for edit in row.edits)
            self.curve("refine", {"pair": number, **scores, "accepted": accepted, "segments": len(row.segments)})
        table = wandb.Table(columns=["pair_id", "before", "after", "score_before", "score_after", "stopped"])
        for row in rows[:TABLE_ROWS]:
            texts = (join_segments(row.draft), join_segments(row.segments))
            table.add_data(row.pair_id, *texts, row.draft_score, row.score, row.stopped)
        self.run.log({"tables/trajectories": table})

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

    def finish(self, exit_code: int) -> None:
        self.run.finish(exit_code=exit_code)


def scalars(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Metrics as flat numbers: nested counts by path, measures by name with their coverage; None is left out."""
    flat: dict[str, float] = {}
    for key, value in metrics.items():
        if key == "measures":
            for measure in value:
                named = {"": measure["value"], "coverage": measure["coverage"], "of_scored": measure["mean_of_scored"]}
                flat |= {f"{measure['name']}/{k}".rstrip("/"): v for k, v in named.items() if v is not None}
        elif isinstance(value, Mapping):
            flat |= scalars(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            flat[f"{prefix}{key}"] = value
    return flat


def open_tracking(x: Experiment, plan: Mapping[str, Any], steps: Mapping[str, Step]) -> Silent:
    """The tracker the configuration asks for; if W&B cannot start, a warning and none."""
    mode = x.tracking.mode
    if mode == "auto":
        mode = "online" if _has_key() else "offline"
    if mode == "silent":
        return Silent()
    import wandb

    try:
        return WandbRun(x, plan, steps, mode)
    except (wandb.Error, OSError, ValueError) as error:
        log.warning("W&B could not start (%s); the local record goes on without it", error)
        return Silent()


def _has_key() -> bool:
    """True if the environment or netrc holds a W&B key; looking costs no network and never prompts."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0].split(":")[0]
    try:
        return netrc().authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
