"""The curves that long stages draw while they run."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from evals.benchmark import JudgedBenchmark, Response
from experiments.config.compose import compose_plans
from experiments.config.parts import experiment_from
from experiments.experiment import Experiment
from experiments.metrics.evaluation import GenerateMetrics
from experiments.metrics.synthesis import RefineMetrics
from experiments.pipeline import pipeline
from experiments.stages.evaluation import grade
from experiments.store.step import Artifact, StepName
from experiments.store.store import Monitor, Store
from experiments.store.workspace import StageProgress, Workspace
from reer.files import write_rows
from tests.fakes.stages import recorded

Rows = list[Mapping[str, float]]


@pytest.fixture
def exp(tmp_path: Path) -> Experiment:
    (plan,) = compose_plans(["scale=smoke", f"runtime.root={tmp_path}"], multirun=False)
    return experiment_from(plan)


def rising(rows: Rows) -> bool:
    done = [row["done"] for row in rows]
    return done == sorted(done) and len(done) > 0


def test_drafting_and_searching_draw_the_score_so_far_and_what_was_accepted(exp: Experiment) -> None:
    curves: dict[str, Rows] = {}
    monitor = Monitor(curve=lambda stage, row: curves.setdefault(stage, []).append(row))
    store = Store(root=exp.runtime.store, runtime=exp.runtime, monitor=monitor)
    metrics = store.build(pipeline(exp)[StepName("refine")]).metrics
    assert isinstance(metrics, RefineMetrics)
    assert rising(curves["draft"])
    assert rising(curves["refine"])
    assert curves["draft"][-1].keys() == {"done", "kept_share", "tokens_per_second"}
    last = curves["refine"][-1]
    assert last["done"] == metrics.rows
    assert last["score_after"] == pytest.approx(metrics.score_refined)
    assert last["accepted_share"] == pytest.approx(metrics.edits_accepted / metrics.edits)


def answers(folder: Path, benchmark: JudgedBenchmark) -> Artifact[GenerateMetrics]:
    """An answer to each item."""
    folder.mkdir()
    rows = [Response.read(item.id, f"text {item.id}", False, 1) for item in benchmark.items()]
    write_rows(folder / "rows.jsonl", rows)
    recorded(folder)
    metrics = GenerateMetrics(
        rows=len(rows), empty_answers=0, truncated=0, unclosed_thinking=0, with_thinking=0, mean_tokens=1.0
    )
    return Artifact(stage="generate", path=folder, fingerprint="f", build="b", metrics=metrics)


def test_judging_draws_calls_and_money(exp: Experiment, tmp_path: Path) -> None:
    rows: Rows = []
    benchmark = exp.benchmark["writing"]
    assert isinstance(benchmark, JudgedBenchmark)
    ws = Workspace(
        folder=tmp_path,
        runtime=exp.runtime,
        replay=tmp_path / "replay",
        judgements=tmp_path / "judgements",
        first_scores=tmp_path / "anchors",
        budget_usd=None,
        progress=StageProgress(lambda what, done, total: None),
        curve=rows.append,
    )
    grade.work(ws, answers=answers(tmp_path / "answers", benchmark), benchmark=benchmark, judge=exp.judge)
    assert rising(rows)
    assert rows[-1].keys() == {"done", "asked", "in_flight", "usd"}
    assert (rows[-1]["asked"], rows[-1]["in_flight"]) == (14, 0)
