"""Finished runs of one graded benchmark, with their training rows, for what compares them."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from evals.benchmark import Measure
from experiments.metrics.evaluation import GenerateMetrics, GradeMetrics
from experiments.metrics.training import RenderMetrics
from experiments.store.metrics import StageMetrics
from experiments.store.records import write_document
from experiments.store.runs import Result, StepResult
from experiments.store.step import StepName
from tests.fakes.stages import recorded

SCORES = {"a": 1.0, "b": 3.0, "c": 4.0}
RENDER, GRADE = StepName("render"), StepName("grade", "writing")


def measure(value: float | None, name: str = "writing/quality", **changes: Any) -> Measure:
    """A measure whose range is unknown."""
    benchmark, metric = name.split("/")
    fields: dict[str, Any] = {"value": value, "mean_of_scored": 3.0, "low": 1, "high": 9, "scored": 3, "total": 3}
    return Measure(benchmark=benchmark, metric=metric, **fields | changes)


def step(metrics: StageMetrics, path: Path = Path("none")) -> StepResult:
    return StepResult("f", "b", path, asdict(cast(Any, metrics)))


def rendered() -> RenderMetrics:
    return RenderMetrics(
        rows=3,
        dropped={},
        trained_tokens=30,
        masked_tokens=9,
        truncated_rows=0,
        longest_row_tokens=13,
        median_row_tokens=13,
        row_tokens={"<= 16": 3},
    )


def grades(*measures: Measure) -> GradeMetrics:
    return GradeMetrics(
        measures=measures,
        judge="a-judge",
        unscored={},
        asked_again=0,
        official={},
        groups=(),
        judgements=3,
        judgements_asked_here=3,
        judge_tokens_read=1,
        judge_tokens_written=1,
        judge_usd=0.0,
        judge_usd_paid_here=0.0,
        judge_seconds_median=None,
        judge_served=(),
    )


def generated(truncated: int) -> GenerateMetrics:
    return GenerateMetrics(
        rows=9, empty_answers=truncated, truncated=truncated, unclosed_thinking=0, with_thinking=0, mean_tokens=9.0
    )


def result(
    root: Path, name: str, rows: str = "same", value: float | None = 3.0, cut: tuple[int, ...] = (), **parts: Any
) -> Result:
    """A run with one graded benchmark, generated ones with `cut` truncated answers, and its training rows."""
    folders = {name_: root / name / name_.stage for name_ in (RENDER, GRADE)}
    for folder in folders.values():
        folder.mkdir(parents=True)
    (folders[RENDER] / "rows.jsonl").write_text(rows)
    (folders[GRADE] / "scores.json").write_text(json.dumps({"quality": SCORES}))
    recorded(folders[GRADE])
    steps = {RENDER: step(rendered(), folders[RENDER]), GRADE: step(grades(measure(value)), folders[GRADE])}
    steps |= {StepName("generate", f"b{number}"): step(generated(truncated)) for number, truncated in enumerate(cut)}
    return Result(
        name=name,
        scale="smoke",
        seed=0,
        baseline="full",
        caution="",
        identity={"search": "x", "judge": "j", **parts},
        steps=steps,
        tracked=None,
    )


def graded(
    root: Path,
    name: str,
    scores: dict[str, float],
    seed: int = 0,
    scale: str = "smoke",
    of: str = "writing/quality",
    **more: Any,
) -> Result:
    """A run whose one measure has these scores, range 1 to 10."""
    made = result(root / f"{scale}-s{seed}", name)
    mean = sum(scores.values()) / len(scores)
    changes = {"total": len(scores), "scored": len(scores), "worst": 1.0, "best": 10.0, **more}
    folder = Path(made.steps[GRADE].path)
    (folder / "scores.json").write_text(json.dumps({of.split("/")[1]: scores}))
    recorded(folder)
    steps = {GRADE: step(grades(measure(mean, of, **changes)), folder), RENDER: made.steps[RENDER]}
    return replace(made, seed=seed, scale=scale, steps=steps, identity={**made.identity, "seed": seed})


def finish(run: Result, root: Path) -> None:
    """Write the result of a run below a root, as a run that finishes does."""
    content = {name: value for name, value in asdict(run).items() if name != "folder"}
    steps = {str(name): asdict(of) | {"path": str(of.path)} for name, of in run.steps.items()}
    folder = root / "runs" / run.run_name
    folder.mkdir(parents=True)
    write_document(folder / "result.json", {**content, "steps": steps})


def varied(by: float, noise: float = 0.0, items: int = 40) -> dict[str, float]:
    return {f"i{n:02d}": 5.0 + n % 4 + by + noise * (n % 3 - 1) for n in range(items)}
