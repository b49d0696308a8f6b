"""Answers and their grades: what counts as scored."""

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from evals.benchmark import Benchmark, Response
from evals.held_out import HeldOutText
from evals.judging.judge import Judge
from evals.judging.verdicts import EMPTY_ANSWER
from experiments.metrics.evaluation import GenerateMetrics, GradeMetrics, HeldOutScoreMetrics
from experiments.stages import evaluation
from experiments.store.metrics import RowMetrics, StageMetrics
from experiments.store.step import StageKey, stage
from experiments.store.workspace import Workspace
from reer.files import write_rows
from reer.models.local.checkpoints import TinyModel
from reer.training.chat_format import ChatFormat
from tests.fakes.plans import compose
from tests.fakes.stages import a_store

EMPTY = 3


@stage(StageKey("some_empty", GenerateMetrics), version=1)
def some_empty(ws: Workspace, *, benchmark: Benchmark) -> GenerateMetrics:
    """Answers of which the first ones hold nothing after their thinking."""
    texts = ["<think>\nnever closed" if n < EMPTY else f"text {n}" for n, _ in enumerate(benchmark.items())]
    responses = [Response.read(i.id, text, False, 3) for i, text in zip(benchmark.items(), texts, strict=True)]
    write_rows(ws.folder / "rows.jsonl", responses)
    return GenerateMetrics(
        rows=len(responses), empty_answers=EMPTY, truncated=0, unclosed_thinking=EMPTY, with_thinking=0, mean_tokens=3.0
    )


@dataclass(frozen=True)
class ModelMetrics(StageMetrics):
    def headline(self) -> str:
        return "a model"


@stage(StageKey("a_student", ModelMetrics), version=1)
def a_student(ws: Workspace, *, spec: TinyModel) -> ModelMetrics:
    """A folder as a training leaves it."""
    shutil.copytree(spec.fetch(), ws.folder / "model")
    return ModelMetrics()


@stage(StageKey("own_answers", GenerateMetrics), version=1)
def own_answers(ws: Workspace, *, benchmark: Benchmark) -> GenerateMetrics:
    """Answers with a thinking of two sentences, each naming its item."""
    responses = [
        Response.read(i.id, f"<think>\nThis is {i.id}. It ends there then.\n</think>\n\nDone.", False, 3)
        for i in benchmark.items()
    ]
    write_rows(ws.folder / "rows.jsonl", responses)
    return GenerateMetrics(
        rows=3, empty_answers=0, truncated=0, unclosed_thinking=0, with_thinking=3, mean_tokens=3.0, given_thinking=0
    )


def answered(root: Path, choice: str, *overrides: str) -> tuple[GenerateMetrics, list[Response]]:
    """Three answers of a student that knows nothing."""
    exp = compose("scale=smoke", "benchmark.writing.items_limit=3", f"answering={choice}", *overrides)
    (benchmark,) = exp.benchmark.values()
    step = evaluation.generate(
        label="writing",
        trained=a_student(spec=TinyModel()),
        benchmark=benchmark,
        max_tokens=8,
        seed=0,
        precision="float32",
        answering=exp.answering,
        own=own_answers(benchmark=benchmark) if exp.answering.needs_own else None,
    )
    artifact = a_store(root).build(step)
    return artifact.metrics, artifact.rows(Response)


@pytest.mark.parametrize(
    ("choice", "given", "thinking"),
    [
        ("thinking", 0, r"None"),
        ("no_thinking", 3, r""),
        ("truncated_50", 3, r"This is \S+\."),
        ("swapped", 3, r"This is \S+\. It ends there then\."),
        ("budget answering.tokens=4", 3, r"(?s).{0,4}"),
    ],
)
def test_a_student_continues_a_turn_that_was_begun_for_it(
    tmp_path: Path, choice: str, given: int, thinking: str
) -> None:
    metrics, rows = answered(tmp_path, *choice.split())
    assert (metrics.given_thinking, metrics.rows) == (given, 3)
    assert [t for row in rows if not re.fullmatch(thinking, t := str(row.thinking))] == []
    assert all(row.tokens <= 12 for row in rows), "what is given is not counted, what was thought is"
    named = [row.item_id in str(row.thinking) for row in rows]
    assert named == [choice == "truncated_50"] * 3, "swapped: another item's"


def test_the_answers_that_give_their_thinking_are_those_of_the_student_by_itself(tmp_path: Path) -> None:
    _, alone = answered(tmp_path, "thinking")
    (benchmark,) = compose("scale=smoke", "benchmark.writing.items_limit=3").benchmark.values()
    step = evaluation.own_answers(
        trained=a_student(spec=TinyModel()), benchmark=benchmark, max_tokens=8, seed=0, precision="float32"
    )
    assert a_store(tmp_path).build(step).rows(Response) == alone


def graded(root: Path, judge: Judge | None = None) -> GradeMetrics:
    exp = compose("scale=smoke")
    (benchmark,) = exp.benchmark.values()
    answers = some_empty(label="writing", benchmark=benchmark)
    step = evaluation.grade(label="writing", answers=answers, benchmark=benchmark, judge=judge or exp.judge)
    metrics = a_store(root).build(step).metrics
    assert isinstance(metrics, GradeMetrics)
    return metrics


def test_an_empty_answer_is_scored_as_the_worst_and_never_counted_as_unscored(tmp_path: Path) -> None:
    metrics = graded(tmp_path)
    assert [(m.metric, m.scored, m.total) for m in metrics.measures] == [("quality", 14, 14), ("length", 14, 14)]
    assert metrics.unscored == {}
    assert metrics.judgements == 14 - EMPTY, "no judge is asked about an empty answer"
    assert not [line for line in metrics.summary() if "unscored" in line]


def test_unscored_verdicts_and_coverage_tell_the_same_number(tmp_path: Path) -> None:
    mute = replace(compose("scale=smoke").judge, stop=('"score"',))
    metrics = graded(tmp_path, mute)
    (quality,) = [m for m in metrics.measures if m.metric == "quality"]
    assert sum(metrics.unscored.values()) == quality.total - quality.scored == 14 - EMPTY
    assert EMPTY_ANSWER not in metrics.unscored


@stage(StageKey("some_texts", RowMetrics), version=1)
def some_texts(ws: Workspace, *, count: int) -> RowMetrics:
    """Held-out texts, each of its own words."""
    texts = [HeldOutText(f"t{n}", f"Write tale {n}.", f"In year {n} the boat was sold.", "row") for n in range(count)]
    write_rows(ws.folder / "rows.jsonl", texts)
    return RowMetrics(rows=count)


def scored_texts(root: Path, count: int, thinking_tokens: int = 6) -> tuple[HeldOutScoreMetrics, Path]:
    """Texts scored by a student that knows nothing."""
    step = evaluation.held_out_scores(
        trained=a_student(spec=TinyModel()),
        held_out=some_texts(count=count),
        chat_format=ChatFormat(answer_tags=True, overlong="error"),
        thinking_tokens=thinking_tokens,
        seed=0,
        precision="float32",
    )
    artifact = a_store(root).build(step)
    return artifact.metrics, artifact.file("scores.json")


def test_held_out_texts_are_scored_alone_and_after_two_thinkings(tmp_path: Path) -> None:
    metrics, scores = scored_texts(tmp_path, 3)
    assert [(str(m.name), m.scored, m.total) for m in metrics.measures] == [
        (f"held_out/{metric}", 3, 3) for metric in ("nll", "nll_own_thinking", "nll_other_thinking", "fit")
    ]
    table = json.loads(scores.read_text())
    alone, own, other, fit = (list(table[m.metric].values()) for m in metrics.measures)
    assert fit == [b - a for a, b in zip(own, other, strict=True)]
    assert len({*alone, *own, *other}) == 9, "each is another context"
    assert (metrics.rows, metrics.mean_tokens) == (3, 6)
    assert scored_texts(tmp_path / "again", 3)[1].read_bytes() == scores.read_bytes()


def test_without_held_out_texts_no_model_is_loaded(tmp_path: Path) -> None:
    metrics, scores = scored_texts(tmp_path, 0)
    assert (metrics.rows, metrics.mean_tokens, {m.value for m in metrics.measures}) == (0, None, {None})
    assert json.loads(scores.read_text())["nll"] == {}
