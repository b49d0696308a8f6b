"""lm-eval on a real model: thinking is removed, only stated stop strings cut, and its output becomes measures."""

import gc
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.benchmark import Measure
from evals.lm_eval.harness import LmEval, _documents, _measures
from evals.lm_eval.loading import _clear_default_until
from evals.lm_eval.thinking import never_closed
from reer.errors import InputError
from reer.models.local.checkpoints import FolderModel, TinyModel
from reer.models.local.model import LocalModel
from reer.models.protocols import Device
from reer.models.shared import kept
from tests.fakes.memory import is_freed, weights

CPU = Device("cpu", generate_rows=4)
KNOWN = {  # question → reply of the model below: thinking closed, no thinking, thinking not closed
    "ab": "<think>\nq\n\nStop: r\n</think>\n\none\n\ntwo",
    "cd": "one\n\ntwo",
    "ef": "<think>\none\n\ntwo one",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny random model, trained until it memorises three replies."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer: Any = AutoTokenizer.from_pretrained(TinyModel().fetch())
    student: Any = AutoModelForCausalLM.from_pretrained(TinyModel().fetch())
    texts = [
        [tokenizer.apply_chat_template([{"role": "user", "content": q}], tokenize=False, add_generation_prompt=True), a]
        for q, a in KNOWN.items()
    ]
    batch = tokenizer([prompt + reply + "<|im_end|>" for prompt, reply in texts], padding=True, return_tensors="pt")
    labels = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    for _ in range(90):
        student(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("learned")
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


COMMON = """
dataset_path: json
dataset_kwargs: {data_files: {test: said.jsonl}}
test_split: test
process_docs: !function words.numbered
doc_to_text: question
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
FILES = {
    "common": COMMON,
    "said.yaml": "include: common\ntask: said\ndoc_to_target: answer\n",
    "cut.yaml": 'include: common\ntask: cut\ndoc_to_target: one\ngeneration_kwargs: {until: ["Stop:", "\\n\\ntwo"]}\n',
    "blank.yaml": 'include: common\ntask: blank\ndoc_to_target: one\ngeneration_kwargs: {until: ["\\n\\n"]}\n',
    "rated.yaml": """include: common
task: rated
output_type: multiple_choice
doc_to_choice: ["one", "two"]
doc_to_target: number
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
""",
    "both.yaml": "group: both\ntask: [said, cut]\naggregate_metric_list: [{metric: exact_match, aggregation: mean}]\n",
    "mixed.yaml": "group: mixed\ntask: [said, rated]\n",
    "words.py": "def numbered(docs):\n    return docs.map(lambda row, i: {'number': i % 2}, with_indices=True)\n",
    "said.jsonl": "".join(json.dumps({"question": q, "answer": "one\n\ntwo"}) + "\n" for q in KNOWN),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def thinking(folder: Path) -> LmEval:
    return LmEval(
        tasks=("said",), folder=str(folder), apply_chat_template=True, max_tokens=60, think_end_token="</think>"
    )


def here(folder: Path) -> LocalModel:
    """The model of a folder in process."""
    return LocalModel(FolderModel(str(folder)))


def values(found: list[Measure]) -> dict[str, float | None]:
    return {measure.metric: measure.value for measure in found}


def test_a_task_is_scored_on_the_text_after_the_thinking(model: Path, thinking: LmEval) -> None:
    found, table = thinking.evaluate(here(model), CPU)
    assert table["said/exact_match"] == {"said-0": 1.0, "said-1": 1.0, "said-2": 0.0}
    assert table["said/thinking_unclosed"] == {"said-0": 0.0, "said-1": 0.0, "said-2": 1.0}
    assert values(found) == {"said/exact_match": pytest.approx(2 / 3), "said/thinking_unclosed": pytest.approx(1 / 3)}
    assert all((measure.scored, measure.total) == (3, 3) for measure in found)


def test_weights_that_were_kept_are_freed_before_lm_eval_loads_them(model: Path, thinking: LmEval) -> None:
    with kept():
        before = weights(here(model))
        thinking.evaluate(here(model), CPU)
        assert is_freed(before)


def test_lm_eval_alone_would_have_cut_at_the_first_blank_line(model: Path, folder: Path) -> None:
    """The effect of the default `until` on the same task and model, and of unclosed thinking."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    data = f"dataset_kwargs: {{data_files: {{test: {folder}/said.jsonl}}}}\n"
    (folder / "alone.yaml").write_text(FILES["said.yaml"].replace("said", "alone") + data)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    made: Any = HFLM
    lm = made(pretrained=str(model), device="cpu", batch_size=4, enable_thinking=True, think_end_token="</think>")
    run: Any = simple_evaluate
    out = run(
        lm,
        tasks=["alone"],
        task_manager=manager,
        apply_chat_template=True,
        bootstrap_iters=0,
        gen_kwargs={"max_gen_toks": 60},
    )
    replies = {sample["doc_id"]: sample["resps"][0][0] for sample in out["samples"]["alone"]}
    assert replies == {0: "<think>\nq", 1: "one", 2: "<think>\none"}
    task = manager.load(["alone"])["tasks"]["alone"]
    assert task.config.generation_kwargs["until"] == ["\n\n"]
    _clear_default_until(task, {})
    assert task.config.generation_kwargs["until"] == [], (
        "the same holds for a task of lm-eval itself, of which only the file is known"
    )


@pytest.mark.parametrize("task", ["cut", "blank"])
def test_stated_stop_strings_end_answers_but_not_thinking(model: Path, thinking: LmEval, task: str) -> None:
    _, table = replace(thinking, tasks=(task,)).evaluate(here(model), CPU)
    assert list(table[f"{task}/exact_match"].values()) == [1.0, 1.0, 0.0]


def test_rating_tasks_run_without_thinking(model: Path, thinking: LmEval) -> None:
    found, table = replace(thinking, tasks=("rated", "said"), limit=2).evaluate(here(model), CPU)
    assert list(values(found)) == ["rated/acc", "said/exact_match", "said/thinking_unclosed"]
    assert table["said/exact_match"] == {"said-0": 1.0, "said-1": 1.0}
    assert set(table["rated/acc"].values()) <= {0.0, 1.0}


def test_a_group_has_its_own_measure(model: Path, thinking: LmEval) -> None:
    found, _ = replace(thinking, tasks=("both",)).evaluate(here(model), CPU)
    (whole,) = [measure for measure in found if measure.metric == "both/exact_match"]
    assert (whole.value, whole.total) == (pytest.approx(2 / 3), 6)


def test_without_think_end_token_thinking_is_part_of_the_answer(model: Path, thinking: LmEval) -> None:
    found, table = replace(thinking, think_end_token=None).evaluate(here(model), CPU)
    assert list(values(found)) == ["said/exact_match"]
    assert list(table["said/exact_match"].values()) == [0.0, 1.0, 0.0]


def test_the_model_is_released(model: Path, thinking: LmEval) -> None:
    from transformers import PreTrainedModel

    def alive() -> int:
        return sum(issubclass(type(thing), PreTrainedModel) for thing in gc.get_objects())

    gc.collect()
    before = alive()
    thinking.evaluate(here(model), CPU)
    assert alive() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"tasks": ("sadi",)}, "got 'sadi' .*said", marks=pytest.mark.slow),  # indexes all tasks of lm-eval
        ({"tasks": ("mixed",)}, "group mixed has .* want groups of one kind"),
        ({"max_tokens": 8192}, "want less than the model's context of 8192, got 8192"),
        ({"think_end_token": "<|im_end|>"}, "want a closing tag"),
        ({"tasks": ()}, "at least one task"),
    ],
)
def test_invalid_settings_are_refused_with_a_reason(
    model: Path, thinking: LmEval, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        replace(thinking, **change).evaluate(here(model), CPU)


def test_a_missing_package_of_a_task_is_reported(model: Path, thinking: LmEval, folder: Path) -> None:
    (folder / "words.py").write_text("import absent_from_everywhere\n")
    with pytest.raises(InputError, match=r"a task of said needs a package.*absent_from_everywhere"):
        thinking.evaluate(here(model), CPU)


def test_a_token_that_decoding_drops_is_refused(model: Path, thinking: LmEval, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["</think>"]})
    weights: Any = AutoModelForCausalLM.from_pretrained(model)
    weights.resize_token_embeddings(len(tokenizer))
    for thing in (tokenizer, weights):
        thing.save_pretrained(tmp_path / "special")
    with pytest.raises(InputError, match="a special token of this tokenizer"):
        thinking.evaluate(here(tmp_path / "special"), CPU)


@pytest.mark.parametrize(
    ("context", "reply", "lost"),
    [
        ("Q", "<think>a", True),
        ("Q", " \n<think>a", True),
        ("Q<think>\n", "a", True),
        ("Q<think>\n", "a</think>b", False),
        ("Q", "<think>a</think>b", False),
        ("Q", "<think>a</think>b <think>", False),
        ("Q: put it into <think> tags", "a", False),
        ("Q", "I write <think> here", False),
        ("Q", "", False),
    ],
)
def test_thinking_that_is_opened_and_not_closed_is_detected(context: str, reply: str, lost: bool) -> None:
    assert never_closed(context, reply, "</think>") is lost


def test_settings_at_their_default_do_not_change_the_identity(folder: Path) -> None:
    plain = LmEval(tasks=("everyday",))
    assert plain.identity() == {"data": "905af6c9c0ba0aa8", "settings": [["everyday"], None, False, 2048]}
    assert replace(plain, think_end_token="</think>").identity() != plain.identity()
    mine = LmEval(tasks=("said",), folder=str(folder))
    before = mine.identity()
    (folder / "common").write_text(COMMON + "\nnum_fewshot: 1\n")
    assert mine.identity() != before, "an included file is part of what a task is"


OUT = {
    "results": {
        "sums": {
            "alias": "sums",
            "exact_match,strict-match": 0.5,
            "exact_match_stderr,strict-match": 0.5,
            "exact_match,flexible-extract": 1.0,
            "exact_match_stderr,flexible-extract": 0.0,
            "acc,none": 0.5,
        }
    },
    "samples": {
        "sums": [
            {"doc_id": 0, "filter": "strict-match", "metrics": ["exact_match"], "exact_match": 1.0},
            {"doc_id": 1, "filter": "strict-match", "metrics": ["exact_match"], "exact_match": 0.0},
            {"doc_id": 0, "filter": "flexible-extract", "metrics": ["exact_match"], "exact_match": 1.0},
            {"doc_id": 1, "filter": "flexible-extract", "metrics": ["exact_match"], "exact_match": 1.0},
            {"doc_id": 0, "filter": "none", "metrics": ["acc", "text"], "acc": 1, "text": "not a number"},
            {"doc_id": 1, "filter": "none", "metrics": ["acc"], "acc": math.nan},
        ]
    },
}


def test_each_answer_filter_has_its_own_measure() -> None:
    found = {str(m.name): (m.value, m.scored, m.total) for m in _measures("sums", OUT)}
    assert found == {
        "lm_eval/sums/exact_match@strict-match": (0.5, 2, 2),
        "lm_eval/sums/exact_match@flexible-extract": (1.0, 2, 2),
        "lm_eval/sums/acc": (0.5, 1, 2),
    }


def test_document_values_are_separated_by_filter() -> None:
    assert _documents("sums", OUT) == {
        "sums/exact_match@strict-match": {"sums-0": 1.0, "sums-1": 0.0},
        "sums/exact_match@flexible-extract": {"sums-0": 1.0, "sums-1": 1.0},
        "sums/acc": {"sums-0": 1.0, "sums-1": None},
    }
