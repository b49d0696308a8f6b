"""Finished runs with scores alone, for what compares and shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from evals.benchmark import Measure
from experiments.store.metrics import StageMetrics
from experiments.store.runs import Result, StepResult
from experiments.store.step import StepName
from tests.fakes.results import grades
from tests.fakes.stages import recorded

Scores = Mapping[str, float]


def scored_run(
    root: Path,
    name: str,
    scores: Mapping[str, Scores],
    *,
    seed: int = 0,
    scale: str = "smoke",
    caution: str = "",
    limits: tuple[float, float] = (1.0, 10.0),
) -> Result:
    """A run whose measures, by their full names, have these scores by item, on a scale from worst to best."""
    steps: dict[StepName, StepResult] = {}
    for benchmark in dict.fromkeys(measure.split("/")[0] for measure in scores):
        table = {
            measure.split("/")[1]: dict(row) for measure, row in scores.items() if measure.startswith(f"{benchmark}/")
        }
        folder = root / name / scale / f"s{seed}" / benchmark
        folder.mkdir(parents=True)
        (folder / "scores.json").write_text(json.dumps(table))
        recorded(folder)
        measures = tuple(_measure(benchmark, metric, row, limits) for metric, row in table.items())
        fingerprint = f"{name}-{scale}-{seed}-{benchmark}"
        steps[StepName("grade", benchmark)] = StepResult(fingerprint, "b", folder, _plain(grades(*measures)))
    return replace(result_without_steps(name, scale, seed), steps=steps, caution=caution)


def result_without_steps(name: str, scale: str = "smoke", seed: int = 0) -> Result:
    identity: dict[str, Any] = {"name": name, "seed": seed, "search": name, "judge": {"name": "a-judge"}}
    return Result(
        name=name, scale=scale, seed=seed, baseline="full", caution="", identity=identity, steps={}, tracked=None
    )


def with_metrics(run: Result, name: StepName, metrics: StageMetrics, fingerprint: str = "f") -> Result:
    """The same run with a further step."""
    return replace(run, steps={**run.steps, name: StepResult(fingerprint, "b", Path("none"), _plain(metrics))})


def with_training_rows(run: Result, folder: Path, rows: str) -> Result:
    """The same run with the rows that it trained on."""
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text(rows)
    recorded(folder)
    return replace(run, steps={**run.steps, StepName("render"): StepResult("f", "b", folder, {})})


def varied(by: float, noise: float = 0.0, items: int = 40) -> dict[str, float]:
    """Scores of items that differ, shifted by `by`, with noise of mean zero."""
    return {f"i{n:03d}": 5.0 + n % 4 + by + noise * (n % 3 - 1) for n in range(items)}


def _plain(metrics: StageMetrics) -> dict[str, object]:
    return asdict(cast(Any, metrics))


def _measure(benchmark: str, metric: str, scores: Scores, limits: tuple[float, float]) -> Measure:
    mean = sum(scores.values()) / len(scores)
    return Measure(
        benchmark=benchmark,
        metric=metric,
        value=mean,
        mean_of_scored=mean,
        low=mean,
        high=mean,
        scored=len(scores),
        total=len(scores),
        worst=limits[0],
        best=limits[1],
    )
