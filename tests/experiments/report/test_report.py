"""Arms side by side: the content and the limits of the tables."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evals.judging.bridge import bridge
from evals.judging.per_benchmark import judge_of
from evals.judging.reliability import AnchorScores, NullAnswerScore
from evals.statistics.agreement import Agreement
from evals.statistics.paired import Difference
from experiments.metrics.evaluation import score_text
from experiments.metrics.probes import ReliabilityMetrics
from experiments.report import console as show
from experiments.report import formatting, terminal
from experiments.report.compare import Comparison, compare
from experiments.report.exports.tables import render, tables_of
from experiments.report.page.study import studies
from experiments.report.published import StoredBridge, store_bridge, table
from experiments.report.tables import probe_tables
from experiments.store.metrics import StageMetrics, number
from experiments.store.runs import Result
from experiments.store.step import StepName
from reer.errors import InputError
from tests.fakes.plans import compose
from tests.fakes.results import GRADE, graded, grades, measure, result, step, varied

RELIABILITY = StepName("reliability", "writing")


def test_an_arm_that_trained_on_the_tokens_of_the_baseline_is_reported(tmp_path: Path) -> None:
    runs = [
        result(tmp_path, "full"),
        result(tmp_path, "without-effect", search="y"),
        result(tmp_path, "bit", rows="other"),
    ]
    (comparison,) = compare(runs)
    assert [arm.contract.no_op for arm in comparison.arms] == [False, True, False]


def test_another_student_on_the_same_tokens_is_no_arm_without_effect(tmp_path: Path) -> None:
    (comparison,) = compare([result(tmp_path, "full"), result(tmp_path, "trained", student="k")])
    assert [arm.contract.no_op for arm in comparison.arms] == [False, False]


def test_truncated_answers_are_a_confound_summed_over_benchmarks(tmp_path: Path) -> None:
    (comparison,) = compare([result(tmp_path, "full", cut=(1, 2)), result(tmp_path, "cut", cut=(5, 6))])
    assert [arm.confounds["truncated answers"] for arm in comparison.arms] == [3, 11]
    assert comparison.arms[0].confounds["optimizer steps"] is None
    assert comparison.reported_confounds() == [
        "truncated answers",
        "answers with unclosed thinking",
        "empty answers",
    ]


def test_a_withheld_headline_has_no_difference(tmp_path: Path) -> None:
    runs = [result(tmp_path, "full"), result(tmp_path, "scored"), result(tmp_path, "withheld", value=None)]
    (comparison,) = compare(runs)
    differences = [arm.cells["writing/quality"].difference for arm in comparison.arms]
    assert [d is None for d in differences] == [True, False, True]
    (other,) = compare([result(tmp_path / "other", "full", value=None), result(tmp_path / "other", "arm")])
    assert [arm.is_baseline for arm in other.arms] == [True, False]
    assert all(arm.cells["writing/quality"].difference is None for arm in other.arms)


def findings(comparison: Comparison) -> dict[str, str]:
    cells = {arm.result.name: arm.cells["writing/quality"] for arm in comparison.arms}
    return {name: formatting.finding_text(cell.difference) for name, cell in cells.items()}


def test_a_difference_is_different_equivalent_or_undecided_and_never_no_effect(tmp_path: Path) -> None:
    arms = {"full": varied(0), "worse": varied(-1, 0.5), "same": varied(0, 0.1), "noisy": varied(0.1, 1.5)}
    arms["close"] = varied(0.05, 0.02)
    (comparison,) = compare([graded(tmp_path, name, scores) for name, scores in arms.items()])
    assert findings(comparison) == {
        "full": "",
        "worse": "different",
        "same": "equivalent within ±0.225",
        "noisy": "undecided",
        "close": "equivalent within ±0.225",
    }


def test_a_difference_can_be_found_and_be_negligible() -> None:
    found = Difference(mean=0.05, items=900, p=0.001, margin=0.225, p_equivalent=0.001, p_equivalent_holm=0.001)
    assert formatting.finding_text(found) == "different, but within ±0.225"


def test_a_measure_whose_range_is_unknown_is_never_called_equivalent(tmp_path: Path) -> None:
    arms = [graded(tmp_path, name, varied(0, n), worst=None, best=None) for n, name in ((0, "full"), (0.1, "same"))]
    (comparison,) = compare(arms)
    assert findings(comparison)["same"] == "undecided"


def test_a_measure_is_recorded_with_the_range_from_which_its_margin_is_computed() -> None:
    (recorded,) = step(grades(measure(3.0, worst=1.0, best=10.0))).metrics["measures"]  # type: ignore[misc, attr-defined]
    assert (recorded["worst"], recorded["best"]) == (1.0, 10.0)


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
    assert formatting.seeds_text(cell).endswith("± 0.3 (3 seeds)")
    assert "n=40×3 seeds sd=0.2" in formatting.difference_text(cell.difference)


def test_the_scores_of_an_arm_are_those_of_the_seeds_it_shares_with_the_baseline(tmp_path: Path) -> None:
    runs = [graded(tmp_path, "full", varied(0), seed) for seed in (1, 2)]
    runs += [graded(tmp_path, "arm", varied(3 if seed == 0 else 1, 0.5), seed) for seed in range(3)]
    runs += [graded(tmp_path, "few", varied(1, 0.5), 2)]
    compared = compare(runs)
    over = compared[-1].over_seeds
    assert over is not None
    base, arm = (row.cells["writing/quality"] for row in over.arms)
    assert arm.difference is not None
    assert arm.value is not None
    assert base.value is not None
    assert arm.value - base.value == pytest.approx(arm.difference.mean), "as the table shows them side by side"
    assert [row.seeds for row in over.arms] == [(1, 2), (1, 2)]
    assert arm.total == 80, "and so are its items"
    assert over.baseline_note.startswith("Seed 0: no baseline")
    assert tables_of(compared)[0].baseline_note == over.baseline_note
    assert "fewer than two seeds shared with full" in over.left_out[0]


def test_an_arm_that_lacks_a_seed_of_the_baseline_says_which_it_has(tmp_path: Path) -> None:
    runs = [graded(tmp_path, "full", varied(0), seed) for seed in range(3)]
    runs += [graded(tmp_path, "arm", varied(1, 0.5), seed) for seed in (0, 2)]
    over = compare(runs)[-1].over_seeds
    assert over is not None
    assert over.arms[1].seeds == (0, 2)
    assert over.left_out == ("arm: seeds 0, 2 alone, with the baseline at these",)


def test_other_configurations_at_other_seeds_are_no_repetitions(tmp_path: Path) -> None:
    runs = [graded(tmp_path, name, varied(0, 0.1), seed) for name in ("full", "arm") for seed in range(2)]
    runs[-1] = replace(runs[-1], identity={**runs[-1].identity, "search": "y"})
    over = compare(runs)[-1].over_seeds
    assert over is not None
    assert over.arms == ()
    assert over.left_out == (
        'arm: left out of the comparison over seeds, whose runs differ in their configuration (search: "x" -> "y")',
    )


def test_one_seed_or_a_baseline_without_several_makes_no_comparison_over_seeds(tmp_path: Path) -> None:
    runs = [graded(tmp_path, "full", varied(0)), *(graded(tmp_path, "arm", varied(1, 0.1), s) for s in range(3))]
    assert all(comparison.over_seeds is None for comparison in compare(runs))


def test_published_numbers_are_shown_at_the_papers_scale_for_all_items_only(tmp_path: Path) -> None:
    def shown(scale: str, items: int, name: str = "no_iterative_search") -> str:
        scores = varied(0, 0.1, items)
        run = graded(tmp_path / f"{items}", name, scores, scale=scale, of="writingbench/A")
        run = replace(run, identity={**run.identity, "judge": {"name": "a-judge"}})
        (comparison,) = compare([run])
        assert (table().source in comparison.cautions) == (
            comparison.arms[0].cells["writingbench/A"].published is not None
        )
        return formatting.published_text(comparison.arms[0].cells["writingbench/A"].published)

    assert shown("paper", 167) == "paper 6.67 (WB-A, judge Claude 3.7; here a-judge)"
    assert shown("laptop", 167) == shown("paper", 166) == shown("paper", 167, "mine") == ""


def test_a_stored_bridge_places_a_published_number_on_the_scale_of_the_judge_here(tmp_path: Path) -> None:
    run = graded(tmp_path / "a", "full", varied(0, 0.1, 167), scale="paper", of="writingbench/A")
    run = replace(run, identity={**run.identity, "judge": {"name": "a-judge"}}, folder=tmp_path / "runs/full/paper/s0")
    old = {f"i{n}": 1 + 0.2 * n for n in range(40)}
    made = bridge(old, {item: 0.5 + 0.9 * score + 0.01 * (n % 3) for n, (item, score) in enumerate(old.items())})
    paper = "claude-3-7-sonnet-20250219"

    def shown() -> str:
        (comparison,) = compare([run])
        return formatting.published_text(comparison.arms[0].cells["writingbench/A"].published)

    assert "by the judge here" not in shown()
    store_bridge(tmp_path, StoredBridge(measure="writingbench/A", old="another", new="a-judge", bridge=made))
    store_bridge(tmp_path, StoredBridge(measure="writingbench/D", old=paper, new="a-judge", bridge=made))
    assert "by the judge here" not in shown(), "another judge's line, or another measure's"
    store_bridge(tmp_path, StoredBridge(measure="writingbench/A", old=paper, new="a-judge", bridge=made))
    placed = made.placed(7.22)
    assert shown().endswith(f"; by the judge here {placed.value:.3g} [{placed.low:.3g}, {placed.high:.3g}]")


def test_the_judges_of_published_numbers_are_those_of_paper_record() -> None:
    record = compose("scale=smoke", "judge=paper_record").judge
    names = {measure: column.judge_name for measure, column in table().columns.items()}
    assert {m: judge_of(record, m.split("/")[0]).name for m in names} == names


def test_every_published_number_belongs_to_one_of_our_measures_and_is_on_its_scale() -> None:
    columns = {entry.column: entry for entry in table().columns.values()}
    for arm, row in table().arms.items():
        assert row.keys() <= columns.keys(), arm
        assert all(0 < value / columns[column].unit <= 100 / columns[column].unit for column, value in row.items())


def test_bounds_are_shown_with_a_score_that_does_not_cover_all_items() -> None:
    assert score_text(measure(3.0)) == "3 (3/3)"
    assert score_text(measure(3.0, scored=2)) == "3 (2/3, 1–9)"
    assert score_text(measure(None, scored=1)) == "withheld [3 of 1/3, 1–9]"
    assert score_text(measure(3.0, scored=2, low=None, high=None)) == "3 (2/3)"
    assert score_text(measure(None, mean_of_scored=None, scored=0)) == "unscored (0/3)"


HOSTILE = "<script>alert('a judge said this, and at some length')</script>"


def reliability(note: str = "", alpha: float = 0.5, flagged: bool = False) -> ReliabilityMetrics:
    return ReliabilityMetrics(
        note=note,
        null_answers={"empty": NullAnswerScore(9.0, 3, 4)},
        repeat=Agreement(items=4, alpha=alpha, exact_agreement=0.5, mean_difference=0.0, noise_sd=1.0),
        anchors=AnchorScores(scores={"good": 8.0}, drift=0.5, items=1, flagged=flagged),
    )


def with_step(run: Result, name: StepName, metrics: StageMetrics) -> Result:
    return replace(run, steps={**run.steps, name: step(metrics)})


def test_a_judge_that_cannot_rank_the_arms_is_a_caution_everywhere(tmp_path: Path) -> None:
    def judged(name: str, seed: int, *fooled_by: str) -> Result:
        return with_step(
            graded(tmp_path, name, varied(0, 0.1), seed), RELIABILITY, replace(reliability(), fooled_by=fooled_by)
        )

    runs = [judged("full", 0, "empty"), judged("arm", 0), judged("full", 1), judged("arm", 1, "empty")]
    said = "runs the judge of writing grades answers without content"
    (alone,) = compare(runs[:2])
    assert alone.cautions[0].startswith(f"In 1 of 2 {said}")
    over = compare(runs)
    assert over[-1].over_seeds is not None
    assert over[-1].over_seeds.cautions[0].startswith(f"In 2 of 4 {said}"), "counted over the seeds that are shown"
    assert over[-1].cautions[0].startswith(f"Seed 1: In 1 of 2 {said}"), "one seed has its own"
    assert "2 of 4" in render(over, "markdown")
    assert not compare([runs[2]])[0].cautions
    (study,) = studies(compare([runs[0], runs[3]]))
    assert [line[:13] for line in study.cautions] == ["Seed 0: In 1 ", "Seed 1: In 1 "], "where seeds are not compared"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (14690.2, "14690"),
        (9999.6, "10000"),
        (9999.4, "9999"),
        (2 / 3, "0.6667"),
        (17020, "17020"),
        (-123456.0, "-123456"),
    ],
)
def test_a_number_has_no_exponent(value: float, text: str) -> None:
    assert number(value) == text


def test_a_probe_is_a_table_of_arms_with_gaps_where_an_arm_lacks_it(tmp_path: Path) -> None:
    full = with_step(result(tmp_path, "full"), RELIABILITY, reliability(HOSTILE))
    arm = with_step(result(tmp_path, "arm"), RELIABILITY, reliability(HOSTILE, alpha=0.25, flagged=True))
    (probe,) = probe_tables(compare([full, arm, result(tmp_path, "bare")])[0])
    assert (probe.title, probe.arms) == ("writing: reliability of the judge", ("full", "arm", "bare"))
    rows = dict(probe.rows)
    assert rows["null answer: empty"] == ("9 (3/4)", "9 (3/4)", "–")
    assert rows["repeated verdicts: alpha"] == ("0.5", "0.25", "–")
    assert rows["anchors: drift flagged"] == ("no", "yes", "–")
    assert probe.notes == (f"note: {HOSTILE}",)
    (two,) = probe_tables(compare([full, arm])[0])
    differing, same = two.compact()
    assert [label for label, _ in differing] == ["repeated verdicts: alpha", "anchors: drift flagged"]
    assert "null answer: empty 9 (3/4)" in same
    assert probe_tables(compare([result(tmp_path / "other", "full")])[0]) == []


def test_the_terminal_shows_everything_and_model_text_verbatim(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [graded(tmp_path, "full", varied(0), seed) for seed in range(2)]
    runs += [graded(tmp_path, "arm", varied(1, 0.5), seed, scored=39) for seed in range(2)]
    runs[2] = with_step(runs[2], RELIABILITY, reliability(HOSTILE))
    comparisons = compare(runs)
    for comparison in comparisons:
        terminal.comparison(comparison)
        terminal.details(comparison)
    printed = capsys.readouterr().out
    for text in ("alert('a judge", "null answer", "over seeds 0, 1", "39/40,", "different"):
        assert text in printed, text


def test_statistics_are_computed_once_and_kept_beside_the_runs(tmp_path: Path) -> None:
    def runs(by: float) -> list[Result]:
        root = tmp_path / f"{by}"
        made = [graded(root, "full", varied(0), s) for s in (0, 1)]
        made += [graded(root, "arm", varied(by, 0.5), s) for s in (0, 1)]
        return [replace(run, folder=tmp_path / "runs" / run.run_name) for run in made]

    (tmp_path / "runs").mkdir()
    path = tmp_path / "runs/statistics.json"
    some = runs(1.0)
    first = compare(some)
    kept = path.read_bytes()
    assert compare(some) == first
    assert path.read_bytes() == kept
    compare(runs(2.0))
    assert json.loads(path.read_text()).keys() > json.loads(kept).keys(), "other scores have statistics of their own"


def test_a_record_of_another_version_is_refused_and_not_shown_as_a_gap(tmp_path: Path) -> None:
    run = result(tmp_path, "full")
    old = {**run.steps[GRADE].metrics, "judge_dollars": 1.0}
    run = replace(run, steps={**run.steps, GRADE: replace(run.steps[GRADE], metrics=old)})
    with pytest.raises(InputError, match="judge_dollars: unknown field"):
        compare([run])


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_tables_fit_the_terminal_and_keep_names_whole(
    tmp_path: Path, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["full", "no_reflection_tokens", "no_literature_arts", "full+search=single_pass", "short_trajectories"]
    runs = [with_step(result(tmp_path, n, cut=(i,)), RELIABILITY, reliability()) for i, n in enumerate(names)]
    monkeypatch.setattr(show.console, "width", columns)
    (comparison,) = compare(runs)
    show.table_by_arms("confounds", names, [("truncated answers", *map(str, range(len(names))))])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= columns
    for piece in ("reflection", "literature", "single_pass", "trajectories"):
        assert piece in printed, piece
    terminal.comparison(comparison)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("no_reflection_tokens", ["no_reflection_", "tokens"]),
        ("full+search=single_pass", ["full+search=", "single_pass"]),
        ("writing/quality", ["writing/", "quality"]),
        ("unbreakablename", ["unbreakablename"]),
        ("", [""]),
    ],
)
def test_names_wrap_at_separators(name: str, lines: list[str]) -> None:
    assert show.folded(name, 14).split("\n") == lines


def test_columns_are_split_where_they_do_not_fit() -> None:
    assert show.parts([10, 10, 10], 26) == [slice(0, 2), slice(2, 3)]
    assert show.parts([50, 10], 24) == [slice(0, 1), slice(1, 2)], "a column wider than the terminal is alone"
    assert show.parts([], 24) == []
