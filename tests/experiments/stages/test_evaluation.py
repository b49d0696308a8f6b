"""Answers and their grades: what counts as scored."""

from dataclasses import replace
from pathlib import Path

from evals.benchmark import Benchmark, Response
from evals.judging.judge import Judge
from evals.judging.verdicts import EMPTY_ANSWER
from experiments.stages import evaluation
from experiments.stages.evaluation import GenerateMetrics, GradeMetrics
from experiments.store.step import stage
from experiments.store.workspace import Workspace
from reer.files import write_rows
from tests.fakes.plans import compose
from tests.fakes.stages import a_store

EMPTY = 3


@stage(version=1)
def some_empty(ws: Workspace, *, benchmark: Benchmark) -> GenerateMetrics:
    """Answers of which the first ones hold nothing after their thinking."""
    texts = ["<think>\nnever closed" if n < EMPTY else f"text {n}" for n, _ in enumerate(benchmark.items())]
    responses = [Response.read(i.id, text, False, 3) for i, text in zip(benchmark.items(), texts, strict=True)]
    write_rows(ws.folder / "rows.jsonl", responses)
    return GenerateMetrics(
        rows=len(responses), empty_answers=EMPTY, truncated=0, unclosed_thinking=EMPTY, with_thinking=0, mean_tokens=3.0
    )


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
