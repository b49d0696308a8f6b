"""Runs lm-eval tasks on a trained model: its tasks and its scoring, with the results as measures."""

from __future__ import annotations

import gc
import hashlib
import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import PositiveInt

from evals.benchmark import ItemScores, JudgedBenchmark, Measure
from evals.lm_eval.engine_model import engine_model
from evals.lm_eval.loading import LoadedTasks, load
from evals.lm_eval.thinking import CLOSING_TAG, thinking_model
from reer.errors import InputError
from reer.models.engines.session import EngineSession
from reer.models.local.model import LocalModel, pick_device
from reer.models.protocols import Device
from reer.models.shared import release

if TYPE_CHECKING:
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

NAME = "lm_eval"
BUNDLED = Path(__file__).parents[1] / "data" / "lm_tasks"
Unclosed = Mapping[tuple[str, int], list[bool]]  # (task, document) → for each reply, whether its thinking is unclosed


@dataclass(frozen=True, kw_only=True)
class LmEval:
    """Tasks, tags or groups by name: lm-eval's own, or those in `folder` (YAML files with their data; relative data
    paths are relative to the folder). `limit` keeps the first documents of each task; `max_tokens` replaces the limit
    that tasks state. Everything else is as the task states it; a task without stop strings has none.

    With `think_end_token` (a closing tag such as `</think>`), tasks that generate run with the chat template's thinking
    enabled and are scored on the text after the tag; see `evals.lm_eval.thinking`. A reply that ends inside its
    thinking is an empty answer (lm-eval would score it in full), and the share of such replies is a separate measure,
    `<task>/thinking_unclosed`. Tasks that rate given texts run without thinking, since lm-eval refuses to enable it.
    """

    tasks: tuple[str, ...]
    folder: str | None = field(default=None, metadata={"identity": False})
    limit: PositiveInt | None = None
    apply_chat_template: bool = False
    max_tokens: PositiveInt = 2048
    think_end_token: str | None = None

    def __post_init__(self) -> None:
        if not self.tasks:
            raise InputError("benchmark lm_eval: tasks: want at least one task name, got none")
        if self.think_end_token is not None and not CLOSING_TAG.fullmatch(self.think_end_token):
            raise InputError(
                f"benchmark lm_eval: think_end_token: want a closing tag such as </think>, "
                f"got {self.think_end_token!r}; the opening tag is derived from it"
            )

    @property
    def name(self) -> str:
        return NAME

    def _folder(self) -> Path:
        return Path(self.folder) if self.folder else BUNDLED

    def at_most(self, limit: int | None) -> LmEval:
        """The same tasks with no more documents each than a limit."""
        smaller = limit is not None and (self.limit is None or limit < self.limit)
        return replace(self, limit=limit) if smaller else self

    def identity(self) -> dict[str, Any]:
        files = (file for file in self._folder().rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        data = hashlib.sha256(b"\x1e".join(file.read_bytes() for file in sorted(files))).hexdigest()[:16]
        settings = [list(self.tasks), self.limit, self.apply_chat_template, self.max_tokens]
        thinking = [self.think_end_token] if self.think_end_token is not None else []
        return {"data": data, "settings": settings + thinking}

    def evaluate(self, model: LocalModel, device: Device) -> tuple[list[Measure], ItemScores]:
        """Run the tasks on a model, in process in the precision that it was saved in. Returns a measure per metric of a
        task, and document values."""
        # lm-eval's progress bars and remarks ignore the usual switches; exceptions still propagate.
        with redirect_stderr(io.StringIO()):
            chosen = load(self.tasks, self._folder())
            with _opened(model, device) as lm:
                out, replies = self._run(chosen, lm, device.generate_rows)
                del lm
        _free(pick_device(device))
        unclosed, shares = _unclosed(replies)
        measures = [measure for name in chosen.names for measure in _measures(name, out)]
        table = {k: v for name in chosen.names if name in out["samples"] for k, v in _documents(name, out).items()}
        return measures + unclosed, table | shares

    def _run(self, chosen: LoadedTasks, lm: Any, rows: int) -> tuple[dict[str, Any], Unclosed]:
        """lm-eval's output for both kinds of tasks on one loaded model, and which replies have unclosed thinking. No
        reference to the model is kept."""
        if chosen.generating and lm.max_length <= self.max_tokens:
            raise InputError(
                f"benchmark lm_eval: max_tokens: want less than the model's context of {lm.max_length}, got "
                f"{self.max_tokens}; lower it to leave room for the prompt"
            )
        rated = self._evaluated(lm, chosen.rating, chosen.manager)
        if chosen.generating and self.think_end_token is not None:
            lm = thinking_model(lm, self.think_end_token, rows)
        generated = self._evaluated(lm, chosen.generating, chosen.manager)
        out = {part: {**rated[part], **generated[part]} for part in ("results", "samples")}
        return out, lm.unclosed if chosen.generating and self.think_end_token is not None else {}

    def _evaluated(self, lm: LM, tasks: tuple[Any, ...], manager: TaskManager) -> dict[str, Any]:
        """What lm-eval's `simple_evaluate` does with these tasks (0.4.13), without its report on the environment, which
        asks pip and other programs for seconds and is in the stage's record already."""
        from lm_eval.evaluator import DEFAULT_OTHER_SEED, evaluate

        if not tasks:
            return {"results": {}, "samples": {}}
        loaded = cast(Any, manager).load(list(tasks))
        for task in loaded["tasks"].values():
            if task.get_config("output_type") == "generate_until":
                task.set_config(key="generation_kwargs", value={"max_gen_toks": self.max_tokens}, update=True)
            if task.get_config("num_fewshot") is None:
                task.set_config(key="num_fewshot", value=0)
            task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
        _seed()
        run = cast(Any, evaluate)  # decorators hide its signature
        return run(
            lm=lm,
            task_dict=loaded,
            limit=self.limit,
            log_samples=True,
            bootstrap_iters=0,
            apply_chat_template=self.apply_chat_template,
        )


def _seed() -> None:
    """The seeds that lm-eval sets before it evaluates."""
    import random

    import numpy as np
    import torch
    from lm_eval.evaluator import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    torch.manual_seed(DEFAULT_OTHER_SEED)


AnyBenchmark = JudgedBenchmark | LmEval  # an experiment's choices, distinguished by isinstance


@contextmanager
def _opened(model: LocalModel, device: Device) -> Iterator[Any]:
    """The model as one of lm-eval's: loaded here, or behind the engine's servers."""
    if model.engine != "transformers":
        with model.open(device) as session:
            yield engine_model(cast(EngineSession, session))
        return
    from lm_eval.models.huggingface import HFLM

    release()  # the same weights, where they were kept, and whatever else nobody uses
    yield cast(Any, HFLM)(
        pretrained=str(model.checkpoint.fetch()),
        dtype="auto",
        batch_size=device.generate_rows,
        device=pick_device(device),
        trust_remote_code=False,
    )


def _free(device: str) -> None:
    """Release the memory of an unreferenced model; lm-eval's objects contain reference cycles."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def _measures(name: str, out: Mapping[str, Any]) -> list[Measure]:
    """The measures of a task, or of a group that lm-eval aggregates."""
    documents = _document_count(name, out)
    measures = []
    for metric, value in out["results"][name].items():
        metric, _, answer_filter = metric.partition(",")
        if isinstance(value, int | float) and answer_filter and not metric.endswith("_stderr"):
            number = _number(value)
            scored = documents - _unscored(name, metric, answer_filter, out) if number is not None else 0
            measures.append(_measure(_metric_name(name, metric, answer_filter), number, scored, documents))
    return measures


def _measure(metric: str, value: float | None, scored: int, total: int) -> Measure:
    """A value that lm-eval aggregated: its range is unknown, so no bounds are added for unscored documents."""
    return Measure(
        benchmark=NAME,
        metric=metric,
        value=value,
        mean_of_scored=value,
        low=value,
        high=value,
        scored=scored,
        total=total,
    )


def _number(value: float) -> float | None:
    """lm-eval reports a missing value as NaN."""
    return None if math.isnan(value) else float(value)


def _unscored(name: str, metric: str, answer_filter: str, out: Mapping[str, Any]) -> int:
    """How many documents of a task have no score for a metric; its `nanmean` leaves them out."""
    if name not in out["samples"]:
        return 0  # a group
    values = [s[metric] for s in out["samples"][name] if s["filter"] == answer_filter and metric in s["metrics"]]
    return sum(isinstance(value, float) and math.isnan(value) for value in values)


def _document_count(name: str, out: Mapping[str, Any]) -> int:
    """A task has one sample per document and answer filter; a group states its number of documents."""
    if name in out["samples"]:
        return len({sample["doc_id"] for sample in out["samples"][name]})
    group = out["results"][name]  # lm-eval omits the count if it aggregates nothing
    return int(group["sample_len"]) if "sample_len" in group else 0


def _metric_name(task: str, metric: str, answer_filter: str) -> str:
    """`task/metric`, with the answer filter that lm-eval applied, if any (`exact_match@strict-match`)."""
    return f"{task}/{metric}" if answer_filter == "none" else f"{task}/{metric}@{answer_filter}"


def _documents(task: str, out: dict[str, Any]) -> ItemScores:
    """Metric → document → value, for metrics with one number per document."""
    table: ItemScores = {}
    for sample in out["samples"][task]:
        for metric in sample["metrics"]:
            if isinstance(sample[metric], int | float):
                column = table.setdefault(_metric_name(task, metric, sample["filter"]), {})
                column[f"{task}-{sample['doc_id']}"] = _number(sample[metric])
    return table


def _unclosed(replies: Unclosed) -> tuple[list[Measure], ItemScores]:
    """Per document the share of replies that are thinking without an answer, and its mean per task."""
    table: ItemScores = {}
    for (task, document), unclosed in replies.items():
        share = math.fsum(unclosed) / len(unclosed)
        table.setdefault(f"{task}/thinking_unclosed", {})[f"{task}-{document}"] = share
    means = {name: math.fsum(v or 0.0 for v in column.values()) / len(column) for name, column in table.items()}
    return [_measure(name, mean, len(table[name]), len(table[name])) for name, mean in means.items()], table
