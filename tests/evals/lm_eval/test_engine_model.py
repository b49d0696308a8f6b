"""lm-eval on a served model: the same scores as on the same model in process."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evals.lm_eval.engine_model import _sampling, engine_model
from evals.lm_eval.harness import LmEval
from reer.errors import InputError
from reer.models.engines.wire import Rated, Writing, Written
from reer.models.local.checkpoints import TinyModel
from reer.models.local.model import LocalModel, LocalSession
from reer.models.protocols import Device
from tests.fakes.engines import device, tiny

CPU = Device("cpu", generate_rows=4)
COMMON = """dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
doc_to_text: "{{question}}"
"""
FILES = {
    "chosen.yaml": COMMON
    + 'task: chosen\noutput_type: multiple_choice\ndoc_to_choice: [" one", " two"]\ndoc_to_target: 0\n'
    + "metric_list: [{metric: acc}]\n",
    "said.yaml": COMMON
    + 'task: said\noutput_type: generate_until\ndoc_to_target: one\ngeneration_kwargs: {until: ["e"]}\n'
    + "metric_list: [{metric: exact_match}]\n",
    "rolled.yaml": COMMON
    + "task: rolled\noutput_type: loglikelihood_rolling\ndoc_to_target: '{{question}}'\n"
    + "metric_list: [{metric: word_perplexity}]\n",
    "rows.jsonl": "".join(json.dumps({"question": question}) + "\n" for question in ("What is it?", "ab", "Why? " * 9)),
}


@dataclass
class Served:
    """A session like that of an engine, computed by the tiny model in process."""

    session: LocalSession

    def __post_init__(self) -> None:
        self.name, self.tokens, self.limit = self.session.name, self.session.tokens, self.session.limit
        self.ends = tuple(sorted(self.session.ends))

    def rate(self, pairs: Sequence[tuple[list[int], list[int]]]) -> Iterator[tuple[int, Rated]]:
        for i, (context, answer) in enumerate(pairs):
            rows = self._logprobs([*context, *answer])[len(context) - 1 : -1]
            nats = tuple(-float(row[token]) for row, token in zip(rows, answer, strict=True))
            yield i, Rated(nats, [int(row.argmax()) for row in rows] == answer)

    def write(self, asked: Sequence[Writing], groups: Sequence[str]) -> Iterator[tuple[int, Written]]:
        for i, writing in enumerate(asked):
            ids: list[int] = []
            while len(ids) < writing.limit and not set(ids[-1:]) & set(writing.ends):
                ids.append(int(self._logprobs([*writing.context, *ids])[-1].argmax()))
            yield i, Written(tuple(ids), "stop" if ids[-1] in writing.ends else "length")

    def _logprobs(self, ids: list[int]) -> Any:
        import torch

        with torch.inference_mode():
            return self.session.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)


@pytest.fixture
def tasks(tmp_path: Path) -> LmEval:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return LmEval(tasks=("chosen", "said", "rolled"), folder=str(tmp_path), max_tokens=12)


def test_both_ways_give_the_same_scores(tasks: LmEval) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    def samples(lm: Any) -> dict[str, Any]:
        manager = TaskManager(include_path=tasks.folder, include_defaults=False)
        out: Any = simple_evaluate(
            lm,
            tasks=list(tasks.tasks),
            task_manager=manager,
            log_samples=True,
            bootstrap_iters=0,
            gen_kwargs={"max_gen_toks": 12},  # pyright: ignore[reportArgumentType]
        )
        return {task: [each["resps"] for each in rows] for task, rows in out["samples"].items()}

    served: Any = HFLM
    wanted = samples(served(pretrained=str(TinyModel().fetch()), device="cpu", dtype="float32", batch_size=2))
    with LocalModel(TinyModel()).open_here(CPU) as session:
        lm: Any = engine_model(Served(session))  # pyright: ignore[reportArgumentType]
        found = samples(lm)
    assert found["said"] == wanted["said"]
    for task in ("chosen", "rolled"):
        numbers, others = (flat(side[task]) for side in (found, wanted))
        assert numbers == pytest.approx(others, rel=1e-4)


def flat(values: Any) -> list[float]:
    return (
        [number for value in values for number in flat(value)] if isinstance(values, list | tuple) else [float(values)]
    )


def test_tasks_run_on_the_servers_of_an_engine(tasks: LmEval) -> None:
    found, table = tasks.evaluate(tiny(), device())
    names = {measure.metric for measure in found}
    assert {"chosen/acc", "said/exact_match", "rolled/word_perplexity"} <= names
    assert set(table["chosen/acc"]) == {"chosen-0", "chosen-1", "chosen-2"}


def test_a_setting_that_engines_are_not_asked_for_is_refused() -> None:
    with pytest.raises(InputError, match="a task samples with repetition_penalty"):
        _sampling({"do_sample": True, "temperature": 1.0, "until": [], "repetition_penalty": 1.2}, 8)
