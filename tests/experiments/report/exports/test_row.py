"""A run as one row of a table."""

from dataclasses import replace
from pathlib import Path

import pytest

from evals.benchmark import Measure
from evals.statistics.paired import Difference
from experiments.contracts.check import ContractReport
from experiments.contracts.confounds import Flag
from experiments.report.compare import Arm, Cell, Comparison
from experiments.report.exports.row import headline_measures, slug, summary_row
from experiments.report.published import Published
from experiments.store.runs import Result, StepResult
from experiments.store.step import StepName
from tests.fakes.stages import recorded

PAPER = (
    "longbench_write/S_l",
    "longbench_write/S_q",
    "hellobench/open_ended_qa",
    "hellobench/heuristic_text_generation",
    "writingbench/overall",
    "writingbench/A",
    "writingbench/D",
    "writingbench/F",
)
LABELS = [f"confound {number}, of/it" for number in range(14)]


def measure(name: str) -> Measure:
    benchmark, metric = name.split("/")
    return Measure(
        benchmark=benchmark, metric=metric, value=5.0, mean_of_scored=5.0, low=5.0, high=5.0, scored=3, total=4
    )


def published(value: float) -> Published:
    return Published(value=value, column="WB-A", judge="j", judge_here="k")


def arm(name: str, cells: dict[str, Cell], baseline: bool = False, path: Path | None = None) -> Arm:
    steps = {StepName("mix"): StepResult("f", "b", path, {})} if path else {}
    result = Result(
        name=name, scale="paper", seed=0, baseline="full", caution="", identity={}, steps=steps, tracked=None
    )
    labels: dict[str, float | None] = dict.fromkeys(LABELS, 1.0)
    return Arm(result=result, label=result.name, is_baseline=baseline, changed=(), confounds=labels, cells=cells)


def comparison(names: tuple[str, ...], path: Path | None = None) -> Comparison:
    difference = Difference(mean=-1.0, items=9, low=-2.0, high=0.5, p=0.2, p_holm=0.4)
    first = {name: Cell(measure(name), None, published(7.0)) for name in names}
    second = {name: Cell(measure(name), difference, published(6.5)) for name in names}
    arms = (arm("full", first, baseline=True), arm("other", second, path=path))
    return Comparison(scale="paper", seed=0, measures=names, arms=arms, cautions=())


def test_a_p_that_was_not_corrected_is_in_no_column_of_corrected_ones() -> None:
    shown = comparison(("writing/quality",))
    cell = shown.arms[1].cells["writing/quality"]
    difference = Difference(mean=-1.0, items=9, low=-2.0, high=0.5, p=0.2)
    other = replace(shown.arms[1], cells={"writing/quality": replace(cell, difference=difference)})
    assert summary_row(replace(shown, arms=(shown.arms[0], other)), other).get("p_holm/writing_quality") is None


def test_a_row_holds_the_difference_the_finding_and_what_the_paper_reports() -> None:
    shown = comparison(("writingbench/A",))
    row = summary_row(shown, shown.arms[1])
    assert {name: value for name, value in row.items() if name.endswith("/writingbench_a")} == {
        "score/writingbench_a": 5.0,
        "coverage/writingbench_a": 0.75,
        "delta/writingbench_a": -1.0,
        "delta_low/writingbench_a": -2.0,
        "delta_high/writingbench_a": 0.5,
        "p_holm/writingbench_a": 0.4,
        "finding/writingbench_a": "undecided",
        "published/writingbench_a": 6.5,
        "published_delta/writingbench_a": -0.5,
    }
    assert row["contract"] == "no contract stated"
    assert row["confounded_by"] == "nothing"


def test_the_row_of_the_baseline_has_no_difference() -> None:
    shown = comparison(("writingbench/A",))
    row = summary_row(shown, shown.arms[0])
    assert row["contract"] == "baseline"
    assert not [name for name in row if "delta" in name or "finding" in name]


def test_an_arm_whose_contract_is_broken_and_one_that_keeps_it_say_so() -> None:
    shown = comparison(("writingbench/A",))
    row = summary_row(shown, replace(shown.arms[1], contract=ContractReport(no_op=True, stated=True)))
    assert str(row["contract"]).startswith("not comparable: trained on the tokens of the baseline")
    row = summary_row(shown, replace(shown.arms[1], contract=ContractReport(stated=True)))
    assert row["contract"] == "kept"


def test_a_row_names_its_confounds() -> None:
    shown = comparison(("writingbench/A",))
    row = summary_row(shown, replace(shown.arms[1], flags=(Flag("rows", 4, 9), Flag("trained tokens", 1, 9))))
    assert row["confounded_by"] == "rows, trained tokens"


def test_a_row_says_why_its_model_is_degenerate() -> None:
    shown = comparison(("writingbench/A",))
    arm = replace(shown.arms[1], flags=(Flag("rows", 4, 9),), degenerate=("20% of answers loop",))
    assert summary_row(shown, arm)["confounded_by"] == "rows, a degenerate model: 20% of answers loop"


def test_the_measures_of_the_paper_need_at_most_60_columns(tmp_path: Path) -> None:
    folder = tmp_path / "mix"
    folder.mkdir()
    recorded(folder)
    shown = comparison(PAPER, folder)
    columns = {name for one in shown.arms for name in summary_row(shown, one)}
    tables = 3 + 3  # trajectories, results and details; the samples of each benchmark
    assert len(columns) + tables <= 60
    assert not [name for name in columns if not name.replace("/", "").replace("_", "").isalnum()]


def test_headlines_are_the_measures_that_the_paper_reports_for_ablations() -> None:
    chosen = ["longbench_write/S_q", "hellobench/heuristic_text_generation", "writingbench/A", "writingbench/D"]
    assert headline_measures(PAPER) == chosen
    assert headline_measures(["own/a", "own/b", "own/c", "own/d"]) == ["own/a", "own/b", "own/c"]


@pytest.mark.parametrize(
    ("label", "column"),
    [("literature/arts rows", "literature_arts_rows"), ("nll of texts, nats/token", "nll_of_texts_nats_token")],
)
def test_a_label_becomes_a_column_without_spaces(label: str, column: str) -> None:
    assert slug(label) == column
