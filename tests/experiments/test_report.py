"""Arms side by side: what a table may and may not say."""

import json
from pathlib import Path
from typing import Any

from experiments.record import Result
from experiments.report import compare

SCORES = {"a": 1.0, "b": 3.0, "c": 4.0}


def measure(value: float | None) -> dict[str, Any]:
    return {
        "name": "writing/quality",
        "value": value,
        "mean_of_scored": 3.0,
        "low": 1,
        "high": 9,
        "scored": 3,
        "total": 3,
    }


def result(
    root: Path, name: str, rows: str = "same", value: float | None = 3.0, cut: tuple[int, int] = (1, 2), **parts: Any
) -> Result:
    """A run with one graded benchmark, two generated ones, and its training rows."""
    folders = {step: root / name / step for step in ("render", "grade:writing")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    (folders["render"] / "rows.jsonl").write_text(rows)
    (folders["grade:writing"] / "scores.json").write_text(json.dumps({"quality": SCORES}))
    steps: dict[str, Any] = {
        "render": {"path": str(folders["render"]), "metrics": {"rows": 3}},
        "grade:writing": {"path": str(folders["grade:writing"]), "metrics": {"measures": [measure(value)]}},
    }
    for number, truncated in enumerate(cut):
        steps[f"generate:b{number}"] = {"path": "", "metrics": {"truncated": truncated}}
    return Result(name, "smoke", 0, "full", "", {"search": "x", "judge": "j", **parts}, steps, None)


def test_an_arm_that_trained_on_the_baselines_tokens_is_called_out(tmp_path: Path) -> None:
    runs = [result(tmp_path, "full"), result(tmp_path, "idle", search="y"), result(tmp_path, "bit", rows="other")]
    (comparison,) = compare(runs)
    assert [arm.idle for arm in comparison.arms] == [False, True, False]


def test_another_judge_or_student_on_the_same_tokens_is_no_idle_arm(tmp_path: Path) -> None:
    (comparison,) = compare([result(tmp_path, "full"), result(tmp_path, "judged", judge="k")])
    assert [arm.idle for arm in comparison.arms] == [False, False]


def test_answers_cut_short_stand_among_the_confounds_summed_over_benchmarks(tmp_path: Path) -> None:
    (comparison,) = compare([result(tmp_path, "full"), result(tmp_path, "cut", cut=(5, 6))])
    assert [arm.confounds["answers cut by the limit"] for arm in comparison.arms] == [3, 11]
    assert comparison.arms[0].confounds["empty answers"] is None


def test_a_withheld_headline_has_no_difference(tmp_path: Path) -> None:
    runs = [result(tmp_path, "full"), result(tmp_path, "scored"), result(tmp_path, "withheld", value=None)]
    (comparison,) = compare(runs)
    differences = [arm.cells["writing/quality"].difference for arm in comparison.arms]
    assert [d is None for d in differences] == [True, False, True]
    (other,) = compare([result(tmp_path / "other", "full", value=None), result(tmp_path / "other", "arm")])
    assert [arm.is_baseline for arm in other.arms] == [True, False]
    assert all(arm.cells["writing/quality"].difference is None for arm in other.arms)
