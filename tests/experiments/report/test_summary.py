"""The end of a run on one screen."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest

from evals.benchmark import Measure
from experiments.metrics.evaluation import GenerateMetrics, HarnessMetrics
from experiments.report.summary import answered, duration, height, screen
from experiments.store.metrics import StageMetrics
from experiments.store.runs import Result, StepResult
from experiments.store.step import StepName
from tests.fakes.stages import recorded


def measure(value: float | None, name: str = "lm_eval/acc", scored: int = 3, total: int = 3) -> Measure:
    """A measure whose range is unknown."""
    benchmark, metric = name.split("/")
    return Measure(
        benchmark=benchmark, metric=metric, value=value, mean_of_scored=3.0, low=1, high=9, scored=scored, total=total
    )


def with_benchmarks(root: Path, measures: dict[str, tuple[Measure, ...]], **parts: Any) -> Result:
    """A run that has nothing but scores."""
    steps: dict[StepName, StepResult] = {}
    for name, scores in measures.items():
        folder = root / name
        folder.mkdir()
        recorded(folder)
        steps[StepName("harness", name)] = step(HarnessMetrics(measures=scores), folder)
    return Result(
        name="full",
        scale="laptop",
        seed=0,
        baseline="full",
        caution="",
        identity={},
        steps=steps,
        tracked=None,
        **parts,
    )


def step(metrics: StageMetrics, folder: Path) -> StepResult:
    return StepResult("f", "b", folder, asdict(cast(Any, metrics)))


def generated(rows: int, empty: int, truncated: int) -> GenerateMetrics:
    return GenerateMetrics(
        rows=rows, empty_answers=empty, truncated=truncated, unclosed_thinking=0, with_thinking=rows, mean_tokens=9.0
    )


def test_commands_name_neither_the_default_scale_nor_the_default_folder(tmp_path: Path) -> None:
    result = with_benchmarks(tmp_path, {}, folder=Path("outputs/runs/full/laptop/s0"))
    assert "  reer run sweep=ablations" in screen(result)
    assert "  reer compare" in screen(result)


def test_scores_without_room_are_counted(tmp_path: Path) -> None:
    many = {f"b{n}": tuple(measure(3.0, f"b{n}/m{m}") for m in range(6)) for n in range(5)}
    lines = screen(with_benchmarks(tmp_path, many))
    assert height(lines) <= 21
    shown = [line for line in lines if line.startswith("b")]
    assert len(shown) > 5
    assert f"and {30 - len(shown)} more measures: reer compare" in lines


def test_a_withheld_score_says_how_many_items_it_is_of(tmp_path: Path) -> None:
    withheld = measure(None, scored=1, total=3)
    assert any("withheld" in line and "1/3" in line for line in screen(with_benchmarks(tmp_path, {"w": (withheld,)})))


@pytest.mark.parametrize(
    ("benchmarks", "text"),
    [
        ([], ""),
        ([generated(14, 0, 0)], "14 of 14 hold a text; 14 ended by the model, 0 by the token limit"),
        (
            [generated(14, 2, 3), generated(6, 0, 1)],
            "18 of 20 hold a text (2 empty: worst score); 16 ended by the model, 4 by the token limit",
        ),
    ],
)
def test_answers_of_all_benchmarks_are_counted_together(benchmarks: list[GenerateMetrics], text: str) -> None:
    assert answered(benchmarks) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (248, "4 min 8 s"), (7325, "2 h 2 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_paths_and_commands_are_not_broken_and_count_as_the_lines_they_take(tmp_path: Path) -> None:
    root = Path("/", "d" * 100)
    lines = screen(with_benchmarks(tmp_path, {}, folder=root / "runs/full/laptop/s0"))
    assert f"  reer compare --root {root}" in lines
    assert height(["", "x" * 80, "x" * 81]) == 4
