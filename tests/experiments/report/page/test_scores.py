"""What the page says was found, and the numbers behind its plots and its table of arms."""

import re
from pathlib import Path

import pytest

from evals.benchmark import Measure
from experiments.metrics.probes import ReliabilityMetrics
from experiments.report.compare import compare
from experiments.report.page.page import write_html
from experiments.report.page.scores import ScoresView, forest_row, score_texts, scores_view, verdict
from experiments.report.page.study import Study, studies
from experiments.store.step import StepName
from tests.fakes.html import parse
from tests.fakes.reports import scored_run, varied, with_metrics

QUALITY = "writing/quality"


def study_of(root: Path, arms: dict[str, dict[str, float]], seeds: tuple[int, ...] = (0,), caution: str = "") -> Study:
    runs = [
        scored_run(root, name, {QUALITY: scores}, seed=s, caution=caution)
        for name, scores in arms.items()
        for s in seeds
    ]
    (study,) = studies(compare(runs))
    return study


@pytest.mark.parametrize(
    ("arms", "sentence"),
    [
        ({"worse": varied(-1, 0.5), "noisy": varied(0.1, 1.5)}, "1 of 2 arms differs from full; 1 is undecided."),
        ({"worse": varied(-1, 0.5), "best": varied(1, 0.5)}, "2 of 2 arms differ from full."),
        (
            {"same": varied(0, 0.1), "noisy": varied(0.1, 1.5), "more": varied(0.1, 1.4)},
            "None of 3 arms differs from full; 1 is equivalent and 2 are undecided.",
        ),
        ({"noisy": varied(0.1, 1.5)}, "Whether noisy differs from full is undecided."),
        ({"few": varied(0.1, 1.5, items=2)}, "few was not tested against full."),
        ({"worse": varied(-1, 0.5)}, "worse differs from full."),
        ({}, "Only full was run, so nothing was compared."),
    ],
)
def test_the_verdict_counts_what_the_tests_support(
    tmp_path: Path, arms: dict[str, dict[str, float]], sentence: str
) -> None:
    assert verdict(study_of(tmp_path, {"full": varied(0), **arms})).sentence == sentence


def test_without_a_baseline_the_verdict_says_so(tmp_path: Path) -> None:
    found = verdict(study_of(tmp_path, {"one": varied(0), "other": varied(1, 0.5)}))
    assert found.sentence == "No baseline is among these runs, so nothing was compared."


def test_an_arm_that_differs_is_described_with_size_interval_and_direction(tmp_path: Path) -> None:
    (line,) = verdict(study_of(tmp_path, {"full": varied(0), "worse": varied(-1, 0.5)})).differing
    assert line.startswith("worse: writing/quality -1")
    assert line.endswith("), worse")


def test_the_limits_are_what_was_measured(tmp_path: Path) -> None:
    arms = {"full": varied(0), "noisy": varied(0.1, 1.5)}
    once = verdict(study_of(tmp_path / "1", arms, caution="Scripted grades.")).limits
    assert once[0] == "Scripted grades."
    assert any("with so few prompts, differences below" in line for line in once)
    assert any("trained once" in line for line in once)
    twice = verdict(study_of(tmp_path / "2", arms, seeds=(0, 1))).limits
    assert not any("trained once" in line for line in twice)


def test_what_is_often_missed_is_said_from_the_quietest_arm_to_the_noisiest(tmp_path: Path) -> None:
    noisy = {"full": varied(0.0), "quiet": varied(0.1, 0.2), "loud": varied(0.1, 3.0)}
    limits = " ".join(verdict(study_of(tmp_path, noisy)).limits)
    found = re.search(r"differences below (\S+) to (\S+) in writing/quality \(by arm", limits)
    assert found
    assert float(found[1]) < float(found[2])


def test_a_judge_that_is_fooled_is_a_limit(tmp_path: Path) -> None:
    fooled = ReliabilityMetrics(note="", fooled_by=("empty",))
    runs = [scored_run(tmp_path, name, {QUALITY: varied(0)}) for name in ("full", "arm")]
    runs[0] = with_metrics(runs[0], StepName("reliability", "writing"), fooled)
    (study,) = studies(compare(runs))
    assert any(line.startswith("In 1 of 1 run the judge of writing") for line in verdict(study).limits)


def test_seeds_are_aggregated_first_and_each_is_shown_by_itself(tmp_path: Path) -> None:
    view = scores_view(study_of(tmp_path, {"full": varied(0), "arm": varied(1, 0.5)}, seeds=(0, 1)))
    assert view.aggregated.startswith("over seeds 0, 1: mean ± standard deviation between seeds; difference from ")
    assert [cell.score for cell in view.arms[1].cells] == ["7.487 ± 0"]
    assert "n=40×2 seeds" in view.arms[1].cells[0].detail
    assert [(seed.seed, len(seed.arms)) for seed in view.by_seed] == [(0, 2), (1, 2)]


def test_an_arm_with_one_seed_says_so_among_arms_with_several(tmp_path: Path) -> None:
    runs = [
        scored_run(tmp_path, n, {QUALITY: varied(i, 0.5)}, seed=s)
        for i, n in enumerate(("full", "arm"))
        for s in (0, 1)
    ]
    (study,) = studies(compare([*runs, scored_run(tmp_path, "once", {QUALITY: varied(2, 0.5)}, seed=1)]))
    assert {arm.name: arm.alone for arm in scores_view(study).arms} == {"full": "", "arm": "", "once": "seed 1 alone"}


def test_one_seed_is_no_list_of_seeds(tmp_path: Path) -> None:
    view = scores_view(study_of(tmp_path, {"full": varied(0), "arm": varied(1, 0.5)}))
    assert (view.aggregated, view.by_seed) == ("of seed 0", ())


def test_published_differences_stand_beside_ours_as_differences(tmp_path: Path) -> None:
    measure = "writingbench/A"
    runs = [
        scored_run(tmp_path, name, {measure: varied(by, 0.5, items=167)}, scale="paper")
        for name, by in (("full", 0.0), ("no_iterative_search", -1.0), ("mine", 0.3))
    ]
    (study,) = studies(compare(runs))
    rows = {effect.arm: forest_row(effect)["published"] for effect in study.effects(measure)[1:]}
    assert rows["no_iterative_search"] == pytest.approx(6.67 - 7.22)
    assert rows["mine"] is None
    (plot,) = scores_view(study).plots
    assert "hollow: the paper" in plot
    assert plot.count('fill="none"') > 0 or 'fill="transparent"' in plot


def test_several_scales_are_one_page_of_runs_that_have_scores_alone(tmp_path: Path) -> None:
    arms = {"full": varied(0), "arm": varied(1, 0.5)}
    runs = [
        scored_run(tmp_path, name, {QUALITY: scores}, scale=scale)
        for scale in ("smoke", "laptop")
        for name, scores in arms.items()
    ]
    page = parse(write_html(compare(runs), tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.text.count("arm differs from full.") == 2
    assert {link["href"] for link in page.all("a")} >= {"#study-0", "#study-1", "#study-1-judge"}


def test_a_measure_that_is_equal_in_all_arms_has_no_plot(tmp_path: Path) -> None:
    view: ScoresView = scores_view(study_of(tmp_path, {"full": varied(0), "arm": varied(0)}))
    assert view.plots == ()


@pytest.mark.parametrize(
    ("value", "mean", "scored", "texts"),
    [
        (3.0, 3.0, 3, ("3", "3/3")),
        (3.0, 3.0, 2, ("3", "2/3, 1–9")),
        (None, 3.0, 1, ("", "withheld: 3 of 1/3, 1–9 scored")),
        (None, None, 0, ("", "unscored 0/3")),
    ],
)
def test_a_score_stands_with_its_coverage_and_bounds(
    value: float | None, mean: float | None, scored: int, texts: tuple[str, str]
) -> None:
    found = Measure(benchmark="b", metric="m", value=value, mean_of_scored=mean, low=1, high=9, scored=scored, total=3)
    assert score_texts(found) == texts
    assert score_texts(None) == ("", "not run")


def test_a_measure_with_one_value_in_every_run_is_a_sentence_and_no_column(tmp_path: Path) -> None:
    zero = dict.fromkeys(varied(0), 0.0)
    runs = [
        scored_run(tmp_path, name, {QUALITY: varied(by, 1.0), "writing/length": zero}, seed=seed)
        for name, by in (("full", 0), ("arm", 1))
        for seed in (0, 1)
    ]
    (study,) = studies(compare(runs))
    view = scores_view(study)
    assert view.measures == (QUALITY,)
    assert view.equal == ("writing/length 0 40/40",)
    rows = [arm for arms in (view.arms, *(seed.arms for seed in view.by_seed)) for arm in arms]
    assert {cell.measure for arm in rows for cell in arm.cells} == {QUALITY}


def test_a_table_is_left_where_all_measures_have_one_value(tmp_path: Path) -> None:
    zero = dict.fromkeys(varied(0), 0.0)
    (study,) = studies(compare([scored_run(tmp_path, name, {QUALITY: zero}) for name in ("full", "arm")]))
    assert (scores_view(study).measures, scores_view(study).equal) == ((QUALITY,), ())
