"""Arms side by side: what a table may and may not say."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.benchmark import Measure
from experiments.report import terminal as show
from experiments.report import wording
from experiments.report.compare import Comparison, compare
from experiments.report.html import write_html
from experiments.report.published import table
from experiments.report.tables import health_tables
from experiments.store.runs import Result
from reer.files import plain

SCORES = {"a": 1.0, "b": 3.0, "c": 4.0}


def measure(value: float | None, name: str = "writing/quality", **more: Any) -> dict[str, Any]:
    """As a result holds it; worst and best are absent, as in results of before they were written."""
    benchmark, _, metric = name.partition("/")
    old = {
        "benchmark": benchmark,
        "metric": metric,
        "value": value,
        "mean_of_scored": 3.0,
        "low": 1,
        "high": 9,
        "scored": 3,
        "total": 3,
    }
    return old | {"coverage": 1.0} | more


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
    told = measure(mean, of, total=len(scores), scored=len(scores), worst=1.0, best=10.0) | more
    step = made.steps["grade:writing"]
    (Path(step["path"]) / "scores.json").write_text(json.dumps({told["metric"]: scores}))
    steps = {"grade:writing": {**step, "metrics": {"measures": [told]}}, "render": made.steps["render"]}
    return replace(made, seed=seed, scale=scale, steps=steps, identity={**made.identity, "seed": seed})


def varied(by: float, noise: float = 0.0, items: int = 40) -> dict[str, float]:
    return {f"i{n:02d}": 5.0 + n % 4 + by + noise * (n % 3 - 1) for n in range(items)}


def findings(comparison: Comparison) -> dict[str, str]:
    cells = {arm.result.name: arm.cells["writing/quality"] for arm in comparison.arms}
    return {name: wording.finding_text(cell.difference) for name, cell in cells.items()}


def test_a_difference_is_different_equivalent_or_undecided_and_never_no_effect(tmp_path: Path) -> None:
    arms = {"full": varied(0), "worse": varied(-1, 0.5), "same": varied(0, 0.1), "noisy": varied(0.1, 1.5)}
    arms["close"] = varied(0.05, 0.02)
    (comparison,) = compare([graded(tmp_path, name, scores) for name, scores in arms.items()])
    assert findings(comparison) == {
        "full": "",
        "worse": "different",
        "same": "equivalent within ±0.225",
        "noisy": "undecided",
        "close": "different, but within ±0.225",
    }


def test_a_measure_whose_range_is_unknown_is_never_called_equivalent(tmp_path: Path) -> None:
    arms = [graded(tmp_path, name, varied(0, n), worst=None, best=None) for n, name in ((0, "full"), (0.1, "same"))]
    (comparison,) = compare(arms)
    assert findings(comparison)["same"] == "undecided"
    for arm in arms:
        for key in ("worst", "best"):
            del arm.steps["grade:writing"]["metrics"]["measures"][0][key]
    (old,) = compare(arms)
    assert findings(old)["same"] == "undecided"


def test_a_measure_is_recorded_with_the_range_that_the_margin_is_taken_of() -> None:
    assert {"worst", "best"} <= plain(
        Measure(
            benchmark="b",
            metric="m",
            value=5.0,
            mean_of_scored=5.0,
            low=5.0,
            high=5.0,
            scored=1,
            total=1,
            worst=1.0,
            best=10.0,
        )
    ).keys()


def test_several_seeds_are_compared_one_by_one_and_once_over_all(tmp_path: Path) -> None:
    runs = [graded(tmp_path, "full", varied(0.1 * seed), seed) for seed in range(3)]
    runs += [graded(tmp_path, "arm", varied(1 + 0.3 * seed, 0.5), seed) for seed in range(3)]
    runs += [graded(tmp_path, "once", varied(1), 1)]
    comparisons = compare(runs)
    assert [c.over_seeds is None for c in comparisons] == [True, True, False]
    over = comparisons[-1].over_seeds
    assert over is not None
    assert [(arm.name, arm.is_baseline) for arm in over.arms] == [("full", True), ("arm", False)]
    cell = over.arms[1].cells["writing/quality"]
    assert cell.difference is not None
    assert cell.difference.mean == pytest.approx(1.2, abs=0.02)
    assert (cell.difference.seeds, cell.difference.items) == (3, 40)
    assert cell.difference.seed_sd == pytest.approx(0.2)
    assert wording.seeds_text(cell).endswith("± 0.3 (3 seeds)")
    assert "n=40×3 seeds sd=0.2" in wording.difference_text(cell.difference)


def test_other_configurations_at_other_seeds_are_no_repetitions(tmp_path: Path) -> None:
    runs = [graded(tmp_path, name, varied(0, 0.1), seed) for name in ("full", "arm") for seed in range(2)]
    runs[-1] = replace(runs[-1], identity={**runs[-1].identity, "search": "y"})
    over = compare(runs)[-1].over_seeds
    assert over is not None
    assert over.arms == ()
    assert over.left_out == ('arm: not compared over seeds, which are not of one configuration (search: "x" -> "y")',)


def test_one_seed_or_a_baseline_without_several_makes_no_comparison_over_seeds(tmp_path: Path) -> None:
    runs = [graded(tmp_path, "full", varied(0)), *(graded(tmp_path, "arm", varied(1, 0.1), s) for s in range(3))]
    assert all(comparison.over_seeds is None for comparison in compare(runs))


def test_published_numbers_stand_beside_ours_at_the_papers_scale_on_all_items_only(tmp_path: Path) -> None:
    def shown(scale: str, items: int, name: str = "no_iterative_search") -> str:
        scores = varied(0, 0.1, items)
        run = graded(tmp_path / f"{items}", name, scores, scale=scale, of="writingbench/A")
        run = replace(run, identity={**run.identity, "judge": {"name": "a-judge"}})
        (comparison,) = compare([run])
        assert (table()["source"] in comparison.cautions) == (
            comparison.arms[0].cells["writingbench/A"].published is not None
        )
        return wording.published_text(comparison.arms[0].cells["writingbench/A"].published)

    assert shown("paper", 167) == "paper 6.67 (WB-A, judge Claude 3.7; ours a-judge)"
    assert shown("laptop", 167) == shown("paper", 166) == shown("paper", 167, "mine") == ""


def test_every_published_number_has_a_column_of_ours_and_lies_on_its_scale() -> None:
    columns = {entry["column"]: entry for entry in table()["columns"].values()}
    for arm, row in table()["arms"].items():
        assert row.keys() <= columns.keys(), arm
        assert all(
            0 < value / columns[column]["unit"] <= 100 / columns[column]["unit"] for column, value in row.items()
        )


def test_bounds_stand_beside_a_score_that_is_not_of_all_items() -> None:
    assert wording.score(measure(3.0)) == "3 (3/3)"
    assert wording.score(measure(3.0, scored=2)) == "3 (2/3, 1–9)"
    assert wording.score(measure(None, scored=1)) == "withheld [3 of 1/3, 1–9]"
    assert wording.score(measure(3.0, scored=2, low=None, high=None)) == "3 (2/3)"
    assert wording.score(measure(None, mean_of_scored=None, scored=0)) == "unscored (0/3)"


HOSTILE = "<script>alert('a judge said this, and at some length')</script>"


def with_health(root: Path) -> list[Result]:
    metrics = {
        "full": {
            "repeat_alpha": 0.5,
            "null_answers": {"empty": {"score": 9.0, "items": 4}},
            "note": HOSTILE,
            "drift": None,
        },
        "arm": {
            "repeat_alpha": 0.25,
            "null_answers": {"empty": {"score": 9.0, "scored": 3, "items": 4}},
            "flagged": True,
        },
        "bare": None,
    }
    runs = []
    for name, told in metrics.items():
        run = result(root, name)
        runs.append(
            replace(
                run, steps={**run.steps, "reliability:writing": {"path": "", "metrics": told}} if told else run.steps
            )
        )
    return runs


def test_what_a_stage_tells_of_health_is_a_table_of_arms_with_gaps_where_an_arm_has_none(tmp_path: Path) -> None:
    (found,) = health_tables(compare(with_health(tmp_path))[0])
    assert (found.title, found.arms) == ("reliability:writing", ("full", "arm", "bare"))
    assert dict(found.rows) == {
        "repeat alpha": ("0.5", "0.25", "–"),
        "null answers / empty": ("9 (4)", "9 (3/4)", "–"),
        "drift": ("–", "–", "–"),
        "flagged": ("–", "yes", "–"),
    }
    assert found.notes == (f"note: {HOSTILE}",)
    differing, same = found.compact()
    assert [label for label, _ in differing] == ["repeat alpha", "null answers / empty", "flagged"]
    assert same == "drift –"
    (none,) = compare([result(tmp_path / "other", "full")])
    assert health_tables(none) == []


def test_the_page_and_the_terminal_show_all_of_it_and_escape_what_was_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [graded(tmp_path, "full", varied(0), seed) for seed in range(2)]
    runs += [graded(tmp_path, "arm", varied(1, 0.5), seed, scored=39) for seed in range(2)]
    runs[2].steps["reliability:writing"] = {"path": "", "metrics": {"note": HOSTILE, "shares": {"empty": 0.25}}}  # type: ignore[index]
    comparisons = compare(runs)
    page = write_html(comparisons, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    for text in ("&lt;script&gt;", "shares / empty", "Over seeds 0, 1", "39/40, 1–9", "different", "undecided"):
        assert text in page.lower() or text in page, text
    for comparison in comparisons:
        show.comparison(comparison)
    told = capsys.readouterr().out
    for text in ("alert('a judge", "shares / empty", "over seeds 0, 1", "39/40, 1–9", "different"):
        assert text in told, text
