"""lm-eval tasks on a trained model: declared tasks, its own scoring, scalars into the same record."""

from __future__ import annotations

import hashlib
import io
import tempfile
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from evals.benchmark import ItemScores, Measure
from reer.models.local import pick_device
from reer.models.protocols import Device
from reer.types import InputError

BUNDLED = Path(__file__).parent / "data" / "lm_tasks"


@dataclass(frozen=True)
class LmEval:
    """Tasks by name: lm-eval's own, or those of `folder` (YAML files beside their data; relative data paths are read
    from there). `limit` bounds documents per task."""

    tasks: tuple[str, ...]
    folder: str | None = field(default=None, metadata={"identity": False})
    limit: int | None = None
    apply_chat_template: bool = False
    max_tokens: int = 2048

    def __post_init__(self) -> None:
        if not self.tasks:
            raise InputError("benchmark lm_eval: want at least one task name, got none")

    @property
    def name(self) -> str:
        return "lm_eval"

    def _folder(self) -> Path:
        return Path(self.folder) if self.folder else BUNDLED

    def identity(self) -> dict[str, Any]:
        files = sorted(file for file in self._folder().iterdir() if file.suffix in (".yaml", ".jsonl", ".py"))
        data = hashlib.sha256(b"\x1e".join(file.read_bytes() for file in files)).hexdigest()[:16]
        settings = [list(self.tasks), self.limit, self.apply_chat_template, self.max_tokens]
        return {"data": data, "settings": settings}

    def evaluate(self, model: Path, device: Device) -> tuple[list[Measure], ItemScores]:
        """Run the tasks on the model in a folder: a Measure for each metric of each task, and each document's value."""
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        run, model_of = cast(Any, simple_evaluate), cast(Any, HFLM)  # decorators hide their signatures
        lm = model_of(pretrained=str(model), dtype="auto", batch_size=device.generate_rows, device=pick_device(device))
        # Its progress bars and remarks ignore the switches that quiet libraries; errors still come through.
        with tempfile.TemporaryDirectory() as scratch, redirect_stderr(io.StringIO()):
            local = _with_absolute_data(self._folder(), Path(scratch))
            manager = TaskManager(include_path=str(local), include_defaults=not set(self.tasks) <= _names(local))
            out = run(
                lm, tasks=list(self.tasks), task_manager=manager, limit=self.limit, log_samples=True, bootstrap_iters=0,
                apply_chat_template=self.apply_chat_template, gen_kwargs=f"max_gen_toks={self.max_tokens}",
            )  # fmt: skip
        found = [measure for task in self.tasks for measure in _measures(task, out)]
        return found, {k: v for task in self.tasks for k, v in _documents(task, out).items()}


def _names(folder: Path) -> set[str]:
    return {yaml.safe_load(file.read_text(encoding="utf-8"))["task"] for file in folder.glob("*.yaml")}


def _with_absolute_data(folder: Path, scratch: Path) -> Path:
    """Copies of the task files whose data paths do not depend on the working directory."""
    for file in folder.glob("*.yaml"):
        task = yaml.safe_load(file.read_text(encoding="utf-8"))
        files = (task.get("dataset_kwargs") or {}).get("data_files") or {}
        for split, path in files.items():
            files[split] = str((folder / path).resolve())
        (scratch / file.name).write_text(yaml.safe_dump(task, allow_unicode=True), encoding="utf-8")
    return scratch


def _measures(task: str, out: dict[str, Any]) -> list[Measure]:
    documents = len({sample["doc_id"] for sample in out["samples"][task]})  # one sample for each document and filter
    measures = []
    for name, value in out["results"][task].items():
        metric, _, kept_by = name.partition(",")
        if isinstance(value, int | float) and kept_by and not metric.endswith("_stderr"):
            number = float(value)
            called = f"lm_eval/{_called(task, metric, kept_by)}"
            measures.append(Measure(called, number, number, number, number, documents, documents))
    return measures


def _called(task: str, metric: str, kept_by: str) -> str:
    """`task/metric`, with the answer filter that lm-eval applied where there is one (`exact_match@strict-match`)."""
    return f"{task}/{metric}" if kept_by == "none" else f"{task}/{metric}@{kept_by}"


def _documents(task: str, out: dict[str, Any]) -> ItemScores:
    """metric → document → value, where lm-eval keeps one number per document."""
    table: ItemScores = {}
    for sample in out["samples"][task]:
        for metric in sample["metrics"]:
            if isinstance(sample[metric], int | float):
                column = table.setdefault(_called(task, metric, sample["filter"]), {})
                column[f"{task}-{sample['doc_id']}"] = float(sample[metric])
    return table
