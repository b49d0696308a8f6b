"""Which arms are compared, with which baseline and in which order, and the short form in the terminal."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evals.benchmark import OfficialScore
from experiments.config.compose import compose_one
from experiments.config.parts import experiment_from
from experiments.contracts.confounds import Flag
from experiments.report import terminal
from experiments.report.arms import runs_under, selected
from experiments.report.claims.evidence import Evidence
from experiments.report.compare import Comparison, compare
from experiments.report.exports.row import summary_row
from experiments.report.exports.tables import tables_of
from experiments.report.page.page import write_html
from experiments.report.page.scores import scores_view
from experiments.report.page.study import studies
from experiments.store.failures import Attempt, Failure, write_failure
from experiments.store.fingerprint import Json
from experiments.store.runs import Result, identity_of
from experiments.store.step import StepName
from reer.errors import InputError
from tests.fakes.results import GRADE, finish, generated, graded, grades, measure, result, step, varied
from tests.fakes.stages import recorded

MEASURE = "writing/quality"


def alias(run: Result, name: str) -> Result:
    """The same experiment under another name."""
    return replace(run, name=name, identity={**run.identity, "name": name})


def arms(root: Path, *names: str, seeds: Sequence[int] = (0,)) -> list[Result]:
    """Runs whose scores differ, the later the better."""
    return [graded(root, name, varied(0.5 * n, 0.5 * n), seed) for seed in seeds for n, name in enumerate(names)]


@pytest.fixture(scope="module")
def composed() -> Mapping[str, Json]:
    """The identity of the baseline at smoke scale."""
    return identity_of(experiment_from(compose_one(["scale=smoke"])))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, composed: Mapping[str, Json]) -> Path:
    """A file of statistics that holds the composed baseline."""
    root = tmp_path_factory.mktemp("kept")
    compare(crossed(root, composed, iterative=10, single_pass=0))
    return root / "runs/statistics.json"


def crossed(root: Path, composed: Mapping[str, Json], **edits: int) -> list[Result]:
    """The runs of `-m search=…`, with the number of edits of each search."""
    runs = []
    for n, (search, most) in enumerate(edits.items()):
        run = graded(root, f"full+search={search}", varied(0.5 * n, 0.5 * n))
        own = {"kind": "SegmentSearch", "max_edits": most, "n_candidates": 2}
        identity: dict[str, Json] = {**composed, "name": run.name, "search": own if most != 10 else composed["search"]}
        runs.append(replace(run, identity=identity, folder=root / "runs" / run.run_name))
    (root / "runs").mkdir()
    return runs


def names_of(comparison: Comparison) -> list[str]:
    return [arm.name for arm in comparison.arms]


def printed(comparisons: Sequence[Comparison], capsys: pytest.CaptureFixture[str]) -> str:
    for comparison in comparisons:
        terminal.comparison(comparison)
    return capsys.readouterr().out


def test_a_sweep_over_a_part_finds_its_baseline_by_identity(
    tmp_path: Path,
    composed: Mapping[str, Json],
    kept: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = crossed(tmp_path, composed, single_pass=0, iterative=10)
    shutil.copy(kept, tmp_path / "runs")
    monkeypatch.delattr("experiments.config.compose.compose_one")  # the kept baseline is used
    (comparison,) = compare(runs)
    assert names_of(comparison) == ["full+search=iterative", "full+search=single_pass"]
    assert [arm.is_baseline for arm in comparison.arms] == [True, False]
    assert comparison.arms[1].cells[MEASURE].difference is not None
    assert "configured like full" in printed([comparison], capsys)


def test_without_any_baseline_the_table_says_what_to_do(
    tmp_path: Path, composed: Mapping[str, Json], kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = crossed(tmp_path, composed, single_pass=0, short=3)
    shutil.copy(kept, tmp_path / "runs")
    (comparison,) = compare(runs)
    assert comparison.baseline is None
    text = " ".join(printed([comparison], capsys).split())
    assert "no baseline: none of these runs is configured like full" in text
    assert "reer run experiment=full scale=smoke seed=0" in text
    assert "--baseline" in text


def test_a_baseline_that_cannot_be_composed_is_none(tmp_path: Path, composed: Mapping[str, Json]) -> None:
    runs = crossed(tmp_path, composed, iterative=10, single_pass=0)
    (comparison,) = compare([replace(run, scale="unknown") for run in runs])
    assert comparison.baseline is None


def test_any_arm_can_be_the_baseline(tmp_path: Path) -> None:
    (comparison,) = compare(arms(tmp_path, "full", "a", "b"), baseline="b")
    assert names_of(comparison) == ["b", "full", "a"]
    assert comparison.arms[0].is_baseline
    (missing,) = compare(arms(tmp_path / "other", "full", "a"), baseline="b")
    assert missing.baseline is None
    assert "b has no current result at scale smoke, seed 0" in missing.baseline_note


def test_overrides_that_all_arms_share_belong_to_the_baseline(tmp_path: Path) -> None:
    (comparison,) = compare(arms(tmp_path, "other+source=jsonl", "full+source=jsonl"))
    assert names_of(comparison) == ["full+source=jsonl", "other+source=jsonl"]
    assert comparison.baseline_note == ""


def labels_of(runs: Sequence[Result]) -> list[str]:
    (comparison,) = compare(runs)
    return [arm.label for arm in comparison.arms]


def test_overrides_that_all_arms_share_are_said_once_and_not_in_each_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, both = "source.path=own.jsonl", "source=jsonl"
    runs = arms(tmp_path, f"full+{own}+{both}", f"full+search=random+{own}+{both}", f"other+{own}+{both}")
    (comparison,) = compare(runs)
    assert [arm.label for arm in comparison.arms] == ["full", "full+search=random", "other"]
    assert names_of(comparison) == [run.name for run in runs], "what one types to run an arm again stays whole"
    assert comparison.shared_overrides == (own, both)
    text = " ".join(printed([comparison], capsys).split())
    assert text.count(own) == text.count(both) == 1
    assert "full+search=random: +0.487 [+0.352, +0.622], different" in text
    (study,) = studies([comparison])
    assert study.arms == ("full", "full+search=random", "other")
    assert study.effects(MEASURE)[2].arm == "other"


def test_a_label_keeps_what_tells_arms_apart(tmp_path: Path) -> None:
    design = ["no_a+no_b+no_c", "no_b+no_c", "no_a+no_c"]
    assert labels_of(arms(tmp_path / "design", *design)) == design, "parts of a design are no overrides"
    values = ["full+x=a+b", "other+x=a+c", "third+x=d+b"]
    assert labels_of(arms(tmp_path / "values", *values)) == values, "nor is a part of a value"
    crossed = arms(tmp_path / "crossed", "no_a+no_b+source=jsonl", "no_a+source=jsonl")
    assert labels_of(crossed) == ["no_a+no_b", "no_a"]
    assert labels_of(arms(tmp_path / "a", "full", "full+source=jsonl")) == ["full", "full+source=jsonl"]
    assert labels_of(arms(tmp_path / "b", "full+source=jsonl")) == ["full+source=jsonl"], "one arm has its whole name"


def test_an_alias_at_one_seed_has_the_label_of_its_arm(tmp_path: Path) -> None:
    runs = arms(tmp_path, "full", "treated", seeds=(0, 1))
    at_first = [*runs[:2], alias(runs[1], "again"), *runs[2:3], alias(runs[3], "again")]
    comparisons = compare(at_first)
    (study,) = studies(comparisons)
    assert study.arms == ("full", "treated")
    assert [seed for seed, arm in study.runs() if arm.label == "treated"] == [0, 1]
    for name in ("treated", "again"):
        judged = Evidence(comparisons).arm(name)
        assert judged is not None
        assert list(judged.arms) == [0, 1], "a claim is judged at the seeds that the table shows"
    over_seeds = tables_of(comparisons)[0]
    assert [arm.arm for arm in over_seeds.arms] == ["full", "treated"] == sorted({c.arm for c in over_seeds.cells})


def test_the_baseline_is_one_arm_over_the_seeds_under_any_of_its_names(tmp_path: Path) -> None:
    runs = arms(tmp_path, "full", "treated", seeds=(1, 0))
    twin = alias(runs[0], "again")
    runs = [twin, runs[1], runs[2], alias(runs[2], "again"), runs[3]]  # at seed 1, the baseline has its other name
    over = compare(runs, "full")[-1].over_seeds
    assert over is not None
    assert [(arm.label, arm.is_baseline) for arm in over.arms] == [("full", True), ("treated", False)]
    assert over.arms[0].contract_word == "baseline"
    assert over.seeds == (0, 1)
    assert [comparison.baseline_note for comparison in compare(runs, "full")] == ["", ""]
    assert over.arms[0].aliases == ("again",), "its own name is none"
    assert tables_of(compare(runs, "full"))[0].baseline == "full"


def test_a_label_that_is_typed_leads_to_the_whole_name(tmp_path: Path) -> None:
    runs = arms(tmp_path, "full+source=jsonl", "other+source=jsonl")
    with pytest.raises(InputError, match=r"did you mean other\+source=jsonl\?"):
        selected(runs, ["other"])


def with_judge(run: Result, name: str, **settings: Json) -> Result:
    return replace(run, identity={**run.identity, "judge": {"kind": "Judge", "name": name, **settings}})


def test_arms_are_compared_with_the_baseline_of_their_own_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("full", "arm", "full+judge=b", "arm+judge=b")
    runs = [with_judge(run, "b" if "judge" in run.name else "a") for run in arms(tmp_path, *names)]
    own, other = compare(runs)
    assert (names_of(own), names_of(other)) == (["full", "arm"], ["full+judge=b", "arm+judge=b"])
    assert (own.crossing, other.crossing) == ("judge a", "judge b")
    alone = compare(runs[2:])[0].arms[1].cells[MEASURE].difference
    assert other.arms[1].cells[MEASURE].difference == alone, "runs of another judge change nothing"
    assert "smoke, judge b, seed 0: 2 arms" in printed([own, other], capsys)


def test_an_arm_whose_judge_graded_no_baseline_has_no_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, arm = arms(tmp_path, "full", "arm+judge=b")
    alone = compare([with_judge(full, "a"), with_judge(arm, "b")])[1]
    assert (alone.baseline, alone.arms[0].cells[MEASURE].difference) == (None, None)
    assert "no baseline: none of these runs" in printed([alone], capsys)
    (asked,) = compare([with_judge(full, "a"), with_judge(arm, "b")], baseline="full")
    assert asked.arms[1].cells[MEASURE].difference is not None, "a baseline that is named is taken"


def test_judges_of_one_name_with_other_settings_are_told_apart(tmp_path: Path) -> None:
    full, arm = arms(tmp_path, "full", "arm")
    found = compare([with_judge(full, "a"), with_judge(arm, "a", temperature=0.9)])
    assert [c.crossing for c in found] == ["judge a", "judge a (2)"]


def test_official_numbers_are_beside_the_scores_with_what_they_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = arms(tmp_path, "full", "arm")
    for n, run in enumerate(runs):
        official = {"quality": {"value": 5.25, "counted": 16, "total": 20}}
        metrics = {**run.steps[GRADE].metrics, "official": official}
        runs[n] = replace(run, steps={GRADE: replace(run.steps[GRADE], metrics=metrics)})
    (comparison,) = compare(runs)
    assert comparison.arms[1].cells[MEASURE].official == OfficialScore(5.25, 16, 20)
    assert "5.250 (16/20)" in printed([comparison], capsys)
    row = summary_row(comparison, comparison.arms[1])
    assert (row["official/writing_quality"], row["official_coverage/writing_quality"]) == (5.25, 0.8)
    (study,) = studies([comparison])
    assert "official 5.250 (16/20)" in scores_view(study).arms[0].cells[0].coverage
    terminal.details(comparison)
    assert "official 5.250 (16/20)" in " ".join(capsys.readouterr().out.split())


def test_two_names_of_one_experiment_are_one_arm_and_one_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, arm, other = arms(tmp_path, "full", "no_iterative_search", "other")
    runs = [alias(full, "full+search=iterative"), full, arm, alias(arm, "full+search=single_pass"), other]
    (comparison,) = compare(runs)
    assert [(a.name, a.aliases) for a in comparison.arms] == [
        ("full", ("full+search=iterative",)),
        ("no_iterative_search", ("full+search=single_pass",)),
        ("other", ()),
    ]
    assert comparison.family(MEASURE) == 2
    alone = compare([full, arm, other])[0].arms[1].cells[MEASURE].difference
    together = comparison.arms[1].cells[MEASURE].difference
    assert alone == together, "an alias does not enlarge the family of the correction"
    text = printed([comparison], capsys)
    assert "also called: full+search=single_pass" in text
    assert "corrected by Holm for 2 tests (2 arms, 1 headline measure);" in " ".join(text.split())


def test_a_name_that_exists_at_one_seed_only_is_still_an_alias_over_seeds(tmp_path: Path) -> None:
    runs = arms(tmp_path, "full", "arm", seeds=(0, 1))
    runs = [alias(run, "arm-again") if (run.name, run.seed) == ("arm", 1) else run for run in runs]
    runs.append(alias(runs[1], "arm-again"))
    over = compare(runs)[-1].over_seeds
    assert over is not None
    assert [arm.name for arm in over.arms] == ["full", "arm"]


def test_the_family_is_the_arms_that_are_shown(tmp_path: Path) -> None:
    runs = arms(tmp_path, "full", "a", "b", "c")
    p = [compare(some)[0].arms[1].cells[MEASURE].difference for some in (runs, runs[:2])]
    assert [d and d.p_holm and d.p and round(d.p_holm / d.p) for d in p] == [3, 1]


def test_arms_are_in_the_order_of_their_sweep_or_of_the_names(tmp_path: Path) -> None:
    runs = arms(tmp_path, "full", "z", "a", "m")
    runs = sorted((replace(run, started=f"2026-01-0{n}") for n, run in enumerate(runs)), key=lambda run: run.name)
    assert [run.name for run in selected(runs)] == ["full", "z", "a", "m"]
    assert [run.name for run in selected(runs, ["m", "full", "a"])] == ["m", "full", "a"]


def test_a_run_without_a_result_is_left_out_with_its_reason(tmp_path: Path) -> None:
    for run in arms(tmp_path / "made", "full", "gone"):
        finish(replace(run, steps={GRADE: run.steps[GRADE]}), tmp_path)
    shutil.rmtree(tmp_path / "made/smoke-s0/gone/grade")
    for name in ("failed", "killed", "working", "full", "empty", "torn"):
        (tmp_path / f"runs/{name}/paper/s0").mkdir(parents=True)
    (tmp_path / "runs/torn/paper/s0/result.json").write_text("{")
    write_failure(tmp_path / "runs/empty/paper/s0", Failure("", ""))
    write_failure(tmp_path / "runs/failed/paper/s0", Failure("train", "no memory left\nTraceback"))
    with Attempt(tmp_path / "runs/working/paper/s0"):
        found = runs_under(tmp_path)
    assert [run.run_name for run in found.results] == ["full/smoke/s0"]
    assert [line.partition(" (Expecting")[0] for line in found.left_out[:6]] == [
        "empty/paper/s0: failed: for no stated reason",
        "failed/paper/s0: failed: stage train: no memory left",
        "full/paper/s0: not finished; the same command resumes it",
        "gone/smoke/s0: stale: grade:writing removed, damaged or rebuilt since; rerun",
        "killed/paper/s0: not finished; the same command resumes it",
        f"torn/paper/s0: {tmp_path}/runs/torn/paper/s0/result.json: is no JSON file",
    ]
    assert re.fullmatch(r"working/paper/s0: at work \(\S+ pid \d+ since .+\)", found.left_out[6])
    assert len(runs_under(tmp_path, "smoke").left_out) == 1, "those of another scale were not asked for"
    page = write_html(compare(found.results), tmp_path / "page.html", found.left_out).read_text(encoding="utf-8")
    assert "Not on this page" in page
    assert "stage train: no memory left" in page


def test_an_arm_that_is_asked_for_comes_with_its_baseline(tmp_path: Path) -> None:
    runs = arms(tmp_path, "full", "a", "b", seeds=(0, 1))
    assert [run.run_name for run in selected(runs, ["a/smoke/s1"])] == ["full/smoke/s1", "a/smoke/s1"]
    assert [run.run_name for run in selected(runs, ["a"], seeds=(0,))] == ["full/smoke/s0", "a/smoke/s0"]
    assert [run.seed for run in selected(runs, ["a"], seeds=(0, 1))] == [0, 1, 0, 1]
    assert [run.name for run in selected(runs, ["a"], seeds=(0,), baseline="b")] == ["b", "a"]


def test_an_unknown_name_or_seed_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    runs = arms(tmp_path, "full", "no_iterative_search")
    with pytest.raises(InputError, match="did you mean no_iterative_search"):
        selected(runs, ["no_iterative_serch"])
    with pytest.raises(InputError, match="did you mean full"):
        selected(runs, [], baseline="ful")
    with pytest.raises(InputError, match="with seed 7"):
        selected(runs, seeds=(0, 7))


@pytest.mark.parametrize(("cut", "flagged"), [((1,), False), ((2,), True)])
def test_a_share_of_answers_is_flagged_beyond_a_fifth(tmp_path: Path, cut: tuple[int, ...], flagged: bool) -> None:
    """Of nine answers."""
    (comparison,) = compare([result(tmp_path, "full", cut=(0,)), result(tmp_path, "arm", cut=cut)])
    truncated = [flag for flag in comparison.arms[1].flags if flag.label == "truncated answers"]
    assert truncated == ([Flag("truncated answers", 2, 0)] if flagged else [])
    assert comparison.arms[0].flags == ()


def test_the_short_form_shows_flags_changes_and_findings_but_no_constant_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, arm, same = arms(tmp_path, "full", "arm", "same")
    arm = replace(arm, identity={**arm.identity, "search": "y"})
    runs = [
        replace(run, steps={**run.steps, StepName("generate", "b"): step(generated(empty))})
        for run, empty in ((full, 0), (arm, 9))
    ]
    text = " ".join(printed(compare([*runs, same]), capsys).split())
    assert "arm: different (p" not in text
    assert 'changed: search "x" → "y"' in text
    assert "confounded by: truncated answers 9 vs 0, empty answers 9 vs 0" in text
    assert "looping" not in text
    (constant,) = compare([graded(tmp_path / "c", name, varied(0)) for name in ("full", "arm")])
    assert f"the same in every arm, not shown: {MEASURE} 6.500" in printed([constant], capsys)


def test_findings_are_in_words_with_the_corrected_p_and_what_could_be_detected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {"full": varied(0), "worse": varied(-1, 0.5), "noisy": varied(0.1, 1.5), "same": varied(0, 0.1)}
    text = printed(compare([graded(tmp_path, name, s) for name, s in scores.items()]), capsys)
    assert "worse: -1.01 [-1.15, -0.878], different (p 0.0012)" in text
    assert "noisy: undecided (p 1, detects ≥ 0.72)" in text
    assert "same: equivalent within ±0.225 (p 0.0006)" in text


def test_a_difference_that_one_failure_would_undo_is_fragile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {"full": varied(0, items=12), "ahead": varied(0.4, 0.2, items=12)}
    text = printed(compare([graded(tmp_path, name, s) for name, s in scores.items()]), capsys)
    assert "ahead: +0.400 [" not in text
    assert "fragile, detects ≥" in " ".join(text.split())
    assert "fragile: one more item that the better side fails would undo it" in " ".join(text.split())


def test_parts_of_a_measure_are_exploratory_shrunk_and_a_family_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four domains of ten items each: an effect in one of them is no finding."""
    runs = []
    for name, gains in (("full", (0, 0, 0, 0)), ("arm", (0.1, 0, 1, 0))):
        scores = {f"i{n:02d}": 5.0 + n % 3 + gains[n % 4] + 0.2 * (n % 7) * bool(gains[2]) for n in range(40)}
        by_part = {f"D{part}": {k: v for k, v in scores.items() if int(k[1:]) % 4 == part} for part in range(4)}
        run = graded(tmp_path, name, scores, of="bench/overall")
        folder = run.steps[GRADE].path
        (folder / "scores.json").write_text(json.dumps({"overall": scores, **by_part}))
        recorded(folder)
        sizes = {"overall": 40, **dict.fromkeys(by_part, 10)}
        of_range = {"worst": 1.0, "best": 10.0}
        measures = [measure(6.0, f"bench/{m}", scored=size, total=size, **of_range) for m, size in sizes.items()]
        runs.append(replace(run, steps={**run.steps, GRADE: step(grades(*measures), folder)}))
    (comparison,) = compare(runs)
    cells = comparison.arms[1].cells
    found = {name: d.finding for name, cell in cells.items() if (d := cell.difference)}
    assert found == {"bench/overall": "different", **{f"bench/D{part}": "exploratory" for part in range(4)}}
    part = cells["bench/D2"].difference
    assert part is not None
    assert part.shrunk is not None
    assert part.shrunk.mean < part.mean
    assert [comparison.family(name) for name in ("bench/overall", "bench/D1")] == [1, 4]
    text = " ".join(printed([comparison], capsys).split())
    assert "1 test (1 arm, 1 headline measure) and apart from them 4 tests (1 arm, 4 exploratory measures)" in text
    assert "~, exploratory:" in text


def test_an_arm_by_itself_is_shown_without_words_on_differences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "difference:" not in printed(compare(arms(tmp_path, "full")), capsys)
    assert "difference:" in printed(compare(arms(tmp_path / "two", "full", "treated")), capsys)


def test_seeds_are_shown_once_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [*arms(tmp_path, "full", "treated", seeds=(0, 1)), *arms(tmp_path, "once", seeds=(0,))]
    text = printed(compare(runs), capsys)
    assert "over seeds 0, 1: 2 arms" in text
    assert text.count("difference: from full") == 1
    assert "once: left out of the comparison over seeds" in text
    earlier = [*runs, *arms(tmp_path / "more", "full", seeds=(2,))]
    assert "\ntreated: " in printed(compare(earlier), capsys), "an arm without the last seed is shown, too"


def with_measures(run: Result, root: Path, count: int) -> Result:
    """The run with further measures of the same benchmark that have the same scores."""
    folder = root / f"{count}-{run.name}"
    folder.mkdir()
    scores = json.loads((run.steps[GRADE].path / "scores.json").read_text())["quality"]
    names = ["quality", *(f"criterion_{n}" for n in range(count))]
    (folder / "scores.json").write_text(json.dumps(dict.fromkeys(names, scores)))
    recorded(folder)
    measures = (measure(6.0, f"writing/{name}", worst=1.0, best=10.0, scored=40, total=40) for name in names)
    return replace(run, steps={**run.steps, GRADE: step(grades(*measures), folder)})


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_the_short_form_fits_the_terminal_also_with_many_measures_and_long_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    from experiments.report.console import console

    monkeypatch.setattr(console, "width", columns)
    names = ["full", "no_reflection_tokens+trajectory=no_long+categories=no_literature_arts", "short_trajectories"]
    runs = arms(tmp_path, *names)
    runs[1] = replace(runs[1], identity={**runs[1].identity, "search": "y" * 50, "data": "z" * 50})
    wide = printed(compare([with_measures(run, tmp_path, 4) for run in runs]), capsys)
    assert max(map(len, wide.splitlines())) <= columns
    assert wide.count("smoke, seed 0: 3 arms") == 1, "the title stands once"
    assert len(re.findall(r"^arm  ", wide, re.MULTILINE)) == {60: 5, 80: 5, 140: 3}[columns]
    assert columns < 80 or "[+0.352, +0.622]" in wide, "intervals stay whole"
    assert "short_trajectories: different: writing/quality (p 0.004)," in " ".join(wide.split())
    text = printed(compare(runs), capsys)
    assert max(map(len, text.splitlines())) <= columns
    assert text.splitlines()[1].startswith("smoke, seed 0: 3 arms"), "the table comes first"
