"""lm-eval tasks on a trained model: declared tasks, its own scoring, scalars into the same record."""

from __future__ import annotations

import gc
import hashlib
import io
import math
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from evals.benchmark import ItemScores, Measure
from evals.lm_eval.loading import Chosen, load
from evals.lm_eval.thinking import CLOSING_TAG, thinking_model
from reer.errors import InputError
from reer.models.local.model import pick_device
from reer.models.protocols import Device

BUNDLED = Path(__file__).parents[1] / "data" / "lm_tasks"
Unclosed = Mapping[tuple[str, int], list[bool]]  # by task and document, one for each reply


@dataclass(frozen=True)
class LmEval:
    """Tasks, tags or groups by name: lm-eval's own, or those of `folder` (YAML files beside their data; relative data
    paths are read from there). `limit` bounds documents per task, the first ones; `max_tokens` takes the place of what
    tasks state. Everything else is as a task states it; one that states no stop strings has none.

    With `think_end_token` (a closing tag such as `</think>`) tasks that generate run with the chat template's thinking
    on and are scored on what follows the tag; see `evals.lm_eval.thinking`. A reply cut inside its thinking is an empty
    answer, where lm-eval scores it whole, and its share is a measure of its own, `<task>/thinking_unclosed`. Tasks that
    rate given texts run without, since lm-eval refuses to rate with thinking on.
    """

    tasks: tuple[str, ...]
    folder: str | None = field(default=None, metadata={"identity": False})
    limit: int | None = None
    apply_chat_template: bool = False
    max_tokens: int = 2048
    think_end_token: str | None = None

    def __post_init__(self) -> None:
        if not self.tasks:
            raise InputError("benchmark lm_eval: want at least one task name, got none")
        if self.think_end_token is not None and not CLOSING_TAG.fullmatch(self.think_end_token):
            raise InputError(
                f"benchmark lm_eval: think_end_token wants a closing tag, got {self.think_end_token!r}; give one such "
                "as </think>: without its slash it is what opens the thinking"
            )

    @property
    def name(self) -> str:
        return "lm_eval"

    def _folder(self) -> Path:
        return Path(self.folder) if self.folder else BUNDLED

    def identity(self) -> dict[str, Any]:
        files = (file for file in self._folder().rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        data = hashlib.sha256(b"\x1e".join(file.read_bytes() for file in sorted(files))).hexdigest()[:16]
        settings = [list(self.tasks), self.limit, self.apply_chat_template, self.max_tokens]
        thinking = [self.think_end_token] if self.think_end_token is not None else []
        return {"data": data, "settings": settings + thinking}

    def evaluate(self, model: Path, device: Device) -> tuple[list[Measure], ItemScores]:
        """Run the tasks on the model in a folder: a Measure for each metric of each task, and each document's value."""
        # Its progress bars and remarks ignore the switches that quiet libraries; errors still come through.
        with redirect_stderr(io.StringIO()):
            chosen = load(self.tasks, self._folder())
            out, replies = self._run(chosen, model, device)
        _free(pick_device(device))
        lost, shares = _unclosed(replies)
        found = [measure for name in chosen.names for measure in _measures(name, out)]
        table = {k: v for name in chosen.names if name in out["samples"] for k, v in _documents(name, out).items()}
        return found + lost, table | shares

    def _run(self, chosen: Chosen, model: Path, device: Device) -> tuple[dict[str, Any], Unclosed]:
        """lm-eval's own output for both kinds of tasks, on one loaded model, which nobody holds when this returns; and
        which replies never came to an answer."""
        from lm_eval.models.huggingface import HFLM

        rows = device.generate_rows
        lm = cast(Any, HFLM)(pretrained=str(model), dtype="auto", batch_size=rows, device=pick_device(device))
        if chosen.writing and lm.max_length <= self.max_tokens:
            raise InputError(
                f"benchmark lm_eval: max_tokens is {self.max_tokens}, and the model's whole context {lm.max_length}; "
                "set max_tokens to less, so that the prompt has room"
            )
        rated = self._evaluated(lm, chosen.rating, chosen.manager)
        if chosen.writing and self.think_end_token is not None:
            lm = thinking_model(lm, self.think_end_token, rows)
        written = self._evaluated(lm, chosen.writing, chosen.manager)
        out = {part: {**rated[part], **written[part]} for part in ("results", "samples")}
        return out, lm.unclosed if chosen.writing and self.think_end_token is not None else {}

    def _evaluated(self, lm: Any, tasks: tuple[Any, ...], manager: Any) -> dict[str, Any]:
        from lm_eval import simple_evaluate

        if not tasks:
            return {"results": {}, "samples": {}}
        run = cast(Any, simple_evaluate)  # decorators hide its signature
        return run(
            lm,
            tasks=list(tasks),
            task_manager=manager,
            limit=self.limit,
            log_samples=True,
            bootstrap_iters=0,
            apply_chat_template=self.apply_chat_template,
            gen_kwargs={"max_gen_toks": self.max_tokens},
        )


def _free(device: str) -> None:
    """Give the memory of a model that nobody holds any more back; lm-eval's objects refer to each other in circles."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def _measures(name: str, out: Mapping[str, Any]) -> list[Measure]:
    """Of a task, or of a group that lm-eval aggregates."""
    documents = _document_count(name, out)
    measures = []
    for metric, value in out["results"][name].items():
        metric, _, kept_by = metric.partition(",")
        if isinstance(value, int | float) and kept_by and not metric.endswith("_stderr"):
            number = _number(value)
            scored = documents - _unscored(name, metric, kept_by, out) if number is not None else 0
            called = f"lm_eval/{_called(name, metric, kept_by)}"
            measures.append(Measure(called, number, number, number, number, scored, documents))
    return measures


def _number(value: float) -> float | None:
    """lm-eval's way to say that there is none is NaN."""
    return None if math.isnan(value) else float(value)


def _unscored(name: str, metric: str, kept_by: str, out: Mapping[str, Any]) -> int:
    """Documents of a task without a score for a metric, which its `nanmean` leaves out."""
    if name not in out["samples"]:
        return 0  # a group
    values = [s[metric] for s in out["samples"][name] if s["filter"] == kept_by and metric in s["metrics"]]
    return sum(isinstance(value, float) and math.isnan(value) for value in values)


def _document_count(name: str, out: Mapping[str, Any]) -> int:
    """A task keeps one sample for each document and answer filter; a group says how many documents it has."""
    if name in out["samples"]:
        return len({sample["doc_id"] for sample in out["samples"][name]})
    group = out["results"][name]  # without this count where lm-eval aggregates nothing
    return int(group["sample_len"]) if "sample_len" in group else 0


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
                column[f"{task}-{sample['doc_id']}"] = _number(sample[metric])
    return table


def _unclosed(replies: Unclosed) -> tuple[list[Measure], ItemScores]:
    """The share of each document's replies, and of each task's documents, that are thinking without an answer."""
    table: ItemScores = {}
    for (task, document), lost in replies.items():
        share = math.fsum(lost) / len(lost)
        table.setdefault(f"{task}/thinking_unclosed", {})[f"{task}-{document}"] = share
    means = {name: math.fsum(v or 0.0 for v in column.values()) / len(column) for name, column in table.items()}
    found = [Measure(f"lm_eval/{k}", m, m, m, m, len(table[k]), len(table[k])) for k, m in means.items()]
    return found, table
