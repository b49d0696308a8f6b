"""The curves that long stages draw while they run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from evals.benchmark import Item, JudgedBenchmark, Response, Verdict
from evals.benchmarks.writing import WritingPrompts
from experiments.config.compose import compose_plans
from experiments.config.parts import experiment_from
from experiments.experiment import Experiment
from experiments.metrics.evaluation import GenerateMetrics
from experiments.metrics.synthesis import RefineMetrics
from experiments.pipeline import pipeline
from experiments.stages.evaluation import ScoreSoFar, grade
from experiments.store.metrics import number
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


def test_judging_draws_the_score_so_far_calls_and_money(exp: Experiment, tmp_path: Path) -> None:
    rows: Rows = []
    shown: list[str] = []
    benchmark = exp.benchmark["writing"]
    assert isinstance(benchmark, JudgedBenchmark)
    ws = Workspace(
        folder=tmp_path,
        runtime=exp.runtime,
        replay=tmp_path / "replay",
        judgements=tmp_path / "judgements",
        first_scores=tmp_path / "anchors",
        budget_usd=None,
        progress=StageProgress(lambda what, done, total: shown.append(f"{what} {done}/{total}")),
        curve=rows.append,
    )
    judged = grade.work(ws, answers=answers(tmp_path / "answers", benchmark), benchmark=benchmark, judge=exp.judge)
    assert rising(rows)
    assert len(rows) == 14
    assert rows[-1].keys() == {"done", "per_second", "asked", "in_flight", "usd", "score"}
    assert (rows[-1]["asked"], rows[-1]["in_flight"]) == (14, 0)
    assert rows[-1]["score"] == pytest.approx(judged.measures[0].mean_of_scored)
    assert shown[-1] == f"verdicts (score {number(rows[-1]['score'])}, 0 in flight) 14/14"


@dataclass(frozen=True, kw_only=True)
class LengthFirst(WritingPrompts):
    """The metric that needs no judge comes first."""

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        return dict(reversed(super().scores(item, response, verdicts).items()))


def test_the_score_so_far_is_one_that_needs_the_judge() -> None:
    benchmark = LengthFirst(temperature=0.7, min_coverage=0.9, top_p=1.0, judge_prompt="{{prompt}}{{rubric}}{{answer}}")
    item, *_ = benchmark.items()
    so_far = ScoreSoFar(benchmark, [item], [Response.read(item.id, "a", False, 1)])
    so_far.add(verdict(item, 8.0))
    assert so_far.mean == 8.0


def test_an_item_counts_for_the_score_so_far_when_all_its_calls_have_a_verdict(exp: Experiment) -> None:
    benchmark = exp.benchmark["writing"]
    assert isinstance(benchmark, JudgedBenchmark)
    items = benchmark.items()[:3]
    responses = [Response.read(item.id, text, False, 1) for item, text in zip(items, ("a", "b", ""), strict=True)]
    so_far = ScoreSoFar(benchmark, items, responses)
    assert (so_far.calls, so_far.mean) == (3, None)
    so_far.add(verdict(items[0], 8.0))
    assert so_far.mean == 8.0
    so_far.add(verdict(items[1], None))  # an unreadable reply: the item is asked again
    assert so_far.mean == 8.0
    so_far.add(verdict(items[1], 4.0))
    assert so_far.mean == 6.0
    so_far.add(verdict(items[2], None))  # an empty answer has the worst score
    assert so_far.mean == pytest.approx((8.0 + 4.0 + benchmark.ranges["quality"][0]) / 3)


def verdict(item: Item, score: float | None) -> Verdict:
    scores = None if score is None else {"quality": score}
    return Verdict(
        item_id=item.id, criterion="quality", scores=scores, reply="", why=None if scores else "no_json", attempts=1
    )
