"""`scale=smoke`, every stage for real: once, twice, in a sweep, and killed in the middle."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.report.compare import compare
from experiments.report.summary import screen, stage_table
from experiments.store.runs import Result, all_results, read_result
from tests.conftest import ARMS, REPOSITORY
from tests.fakes.commands import finished, reer


def builds(root: Path) -> dict[str, str]:
    """stage folder → build id, for every complete stage result."""
    records = root.glob("store/*/*/record.json")
    return {f"{p.parent.parent.name}/{p.parent.name}": json.loads(p.read_text())["build"] for p in records}


def texts(root: Path) -> dict[str, bytes]:
    """The rows of every stage before training, by stage."""
    stages = ("pairs", "draft", "refine", "filter", "curate", "mix", "render")
    return {stage: next((root / "store" / stage).glob("*/rows.jsonl")).read_bytes() for stage in stages}


def test_the_sweep_finishes_all_six_arms(sweep: Path) -> None:
    results = sorted("/".join(path.parts[-4:-2]) for path in sweep.glob("runs/*/*/s0/result.json"))
    assert results == sorted(f"{arm}/smoke" for arm in ARMS)


def test_stage_executions_are_the_distinct_minimum(sweep: Path) -> None:
    from experiments.config.compose import compose_plans
    from experiments.config.parts import experiment_from
    from experiments.pipeline import pipeline

    plans = compose_plans(["sweep=ablations", "scale=smoke"], multirun=False)
    distinct = {step.fingerprint for plan in plans for step in pipeline(experiment_from(plan)).values()}
    assert len(builds(sweep)) == len(distinct)


def test_running_again_builds_nothing(sweep: Path) -> None:
    before = builds(sweep)
    done = finished(sweep, "run", "scale=smoke")
    assert builds(sweep) == before
    assert "cached" in done.out


def test_there_is_one_wandb_run_for_each_arm_and_no_stray(sweep: Path) -> None:
    runs = sorted(path.name for path in (sweep / "wandb").glob("offline-run-*"))
    assert len(runs) == 6
    assert len({name.split("-reer-")[1] for name in runs}) == 6


def inspect(folder: str, *flags: str) -> str:
    """What W&B's own reader says of an offline run."""
    leet = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", *flags, folder]
    return subprocess.run(leet, capture_output=True, text=True, check=True).stdout


def test_an_offline_wandb_run_holds_config_summary_curves_and_tables(sweep: Path) -> None:
    result = json.loads((sweep / "runs/full/smoke/s0/result.json").read_text())
    read = json.loads(inspect(result["tracked"], "--summary"))
    assert (read["state"], read["exit_code"]) == ("finished", 0)
    assert "max_edits" in json.dumps(read["config"])
    metrics = {name: step["metrics"] for name, step in result["steps"].items()}
    (measure,) = [m for m in metrics["grade:writing"]["measures"] if m["metric"] == "quality"]
    assert read["summary"]["score/writing_quality"] == pytest.approx(measure["value"])
    assert "train/loss" not in read["summary"]
    rows = inspect(result["tracked"])
    named = (
        "train/loss",
        "train/step",
        "train/tokens_per_second",
        "draft/kept_share",
        "refine/score_after",
        "generate/writing/truncated_share",
        "grade/writing/usd",
        "samples/writing",
        "trajectories",
        "eval_results",
        "detail/metrics",
    )
    for name in named:
        assert name in rows, name


def test_a_run_made_without_tracking_is_mirrored_when_asked_for_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    def run(*overrides: str) -> str | None:
        finished(tmp_path, "run", "scale=smoke", "experiment=no_synthetic_data", *overrides)
        result = tmp_path / "runs/no_synthetic_data/smoke/s0/result.json"
        return json.loads(result.read_text())["tracked"]

    assert run("tracking=silent") is None
    tracked = run()
    assert tracked is not None
    assert inspect(tracked).count("train/loss") > 1
    assert run() == tracked
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1
    result = tmp_path / "runs/no_synthetic_data/smoke/s0/result.json"
    result.unlink()  # as if killed after the last stage
    again = run()
    assert again not in (None, tracked)
    assert inspect(str(again)).count("train/loss") > 1, "each offline directory is complete, and only the last is sent"


def result_of(root: Path, run: str) -> dict[str, Any]:
    return json.loads((root / "runs" / run / "smoke/s0/result.json").read_text())


def test_confounds_stand_in_each_record_beside_the_baselines(sweep: Path) -> None:
    found = result_of(sweep, "no_synthetic_data")["confounds"]
    baseline = result_of(sweep, "full")["steps"]
    assert found["optimizer steps"]["baseline"] == baseline["train"]["metrics"]["steps"]
    assert found["optimizer steps"]["here"] < found["optimizer steps"]["baseline"]
    assert found["thinking words"]["here"] is None
    summary = json.loads(inspect(result_of(sweep, "no_synthetic_data")["tracked"], "--summary"))["summary"]
    assert summary["confound/rows"] == found["rows"]["here"]


def test_a_matched_arm_shares_the_baselines_stages_and_takes_its_steps(arms: Path) -> None:
    before = builds(arms)
    finished(arms, "run", "scale=smoke", "experiment=no_synthetic_data", "match=steps", "tracking=silent")
    matched = result_of(arms, "no_synthetic_data+match=steps")
    assert (
        matched["steps"]["train"]["metrics"]["steps"] == result_of(arms, "full")["steps"]["train"]["metrics"]["steps"]
    )
    assert matched["confounds"]["thinking words"]["here"] is None, "the baseline's curated rows are not this arm's"
    new = sorted(name.split("/")[0] for name in builds(arms).keys() - before.keys())
    assert new == [
        "generate",
        "grade",
        "hygiene",
        "match",
        "perplexity",
        "reliability",
        "template",
        "termination",
        "train",
    ]


def test_imported_thinking_is_trained_on_and_every_table_says_so(tmp_path: Path) -> None:
    halves = [f"The {word} wakes slowly, and a man comes down with a bucket. " * 2 for word in ("harbour", "orchard")]
    texts = [f"{half}\n\n{half}" for half in halves]
    thinking = "<think>\nPlain words, in order.\n\nHmm, a turn.\n</think>\n"
    rows = [
        {"query": f"Write of {n}.", "answer": thinking + text, "category": "others"} for n, text in enumerate(texts)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["scale=smoke", "source=jsonl", f"source.path={file}"]
    imported = reer(tmp_path / "out", "import-thinking", *given)
    assert "thinking imported from jsonl: 2 rows" in imported.out, imported.text
    done = finished(tmp_path / "out", "run", *given, "thinking=from_source", "tracking=silent")
    assert "no search was made here" in done.text
    assert "refine" not in {name.split("/")[0] for name in builds(tmp_path / "out")}
    compared = reer(tmp_path / "out", "compare")
    assert "no search was made here" in compared.text


def finished_run(sweep: Path, arm: str) -> Result:
    result = read_result(sweep / f"runs/{arm}/smoke/s0")
    assert result is not None
    return result


def test_a_run_ends_with_one_screen_and_the_reports_path(sweep: Path) -> None:
    done = reer(sweep, "run", "scale=smoke")
    lines = screen(finished_run(sweep, "full"))
    assert done.out.endswith("\n".join(lines) + f"\nHTML report: {sweep / 'report-full-smoke-s0.html'}\n")
    shown = sum(max(1, math.ceil(len(line) / 80)) for line in done.out.splitlines()[-len(lines) - 1 :])
    assert shown < 24, "the shell's prompt needs a line"


def test_the_screen_says_what_ran_what_it_found_how_much_that_means_and_what_is_next(sweep: Path) -> None:
    result = finished_run(sweep, "full")
    text = " ".join(" ".join(screen(result)).split())
    assert text.startswith("full/smoke/s0: finished; its stages took ")
    for words in (
        "8 pairs",
        "edits accepted",
        "rows (synthetic 7, public 4)",
        "loss",
        "14 of 14 hold a text",
        "fooled by",
    ):
        assert words in text, words
    assert "writing/quality" in text
    assert text.count("(14/14)") == 2
    assert result.caution in text
    assert f"reer run sweep=ablations scale=smoke runtime.root={sweep}" in text
    assert f"reer compare --root {sweep}" in text
    assert "W&B run" in text


def test_the_screen_of_an_arm_without_synthetic_data_shows_no_search(sweep: Path) -> None:
    labels = [line.split(" ")[0] for line in screen(finished_run(sweep, "no_synthetic_data"))]
    assert "search" not in labels
    assert "training" in labels


def test_the_table_of_stages_shows_every_stage(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = finished_run(sweep, "full")
    stage_table(result)
    shown = capsys.readouterr().out
    assert all(name.stage in shown for name in result.steps)


def test_compare_is_one_screen_in_the_order_of_the_sweep(sweep: Path) -> None:
    lines = finished(sweep, "compare").out.splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[4:10]] == list(ARMS)
    assert re.search(r"trained tokens \d+ vs \d+ \(0\.\d+ ×\)", " ".join(" ".join(lines).split()))
    everything = finished(sweep, "compare", "--all").text
    for words in ("looping answers", "repeated verdicts", "perplexity"):
        assert words in everything, words
        assert words not in " ".join(lines), words


def test_compare_and_table_in_other_forms_agree_with_where(sweep: Path, tmp_path: Path) -> None:
    (data,) = json.loads(finished(sweep, "compare", "short_trajectories", "--json").out)
    assert [arm["arm"] for arm in data["arms"]] == ["full", "short_trajectories"]
    cell = data["cells"][2]
    (found,) = json.loads(finished(sweep, "where", *cell["digests"], "--json").out)
    assert found["run"] == "short_trajectories/smoke/s0"
    assert found["measures"][0]["value"] == cell["score"]
    assert [origin["step"] for origin in found["origins"]][-2:] == ["generate:writing", "grade:writing"]
    finished(sweep, "table", "--out", str(tmp_path / "card.md"))
    assert cell["digests"][0] in (tmp_path / "card.md").read_text()
    shown = finished(sweep, "where", "full/smoke/s0", "writing/quality").out
    assert max(len(line) for line in shown.splitlines() if not line.startswith("repeat:")) <= 80
    for words in ("14 of 14 items scored", "scores.json", "reer rerun full/smoke/s0", "scripted", "torch"):
        assert words in shown, words


def test_compare_shows_every_arm_with_what_changed(sweep: Path) -> None:
    done = finished(sweep, "compare")
    flat = "".join(done.out.split())
    for words in ("full", "no_syntheti", "search.max_edits", "optimizer", "reflection"):
        assert words in flat or words in done.out, words


def test_each_ablation_bit_and_touched_nothing_else(sweep: Path) -> None:
    def metrics(arm: str, step: str) -> dict[str, float]:
        return json.loads((sweep / f"runs/{arm}/smoke/s0/result.json").read_text())["steps"][step]["metrics"]

    full = metrics("full", "curate")
    assert full["reflection_markers"] > 0
    assert full["literature_arts_rows"] > 0
    assert metrics("no_reflection_tokens", "curate")["reflection_markers"] == 0
    assert metrics("no_reflection_tokens", "curate")["rows"] == full["rows"]
    assert metrics("no_literature_arts", "curate")["literature_arts_rows"] == 0
    assert metrics("short_trajectories", "curate")["max_words"] < full["max_words"]
    assert metrics("short_trajectories", "curate")["rows"] == full["rows"]
    assert metrics("no_iterative_search", "refine")["edits"] == 0
    assert metrics("no_iterative_search", "refine")["score_draft"] == metrics("full", "refine")["score_draft"]
    assert "synthetic" not in metrics("no_synthetic_data", "mix")["by_source"]


def test_a_name_that_comes_back_with_another_meaning_stops_with_the_difference(arms: Path) -> None:
    done = reer(arms, "run", "scale=smoke", "name=full", "search.n_candidates=3")
    assert done.code == 2
    assert "search.n_candidates: 2 -> 3" in done.err
    assert "name=" in done.err
    assert "replace=true" in done.err


def test_a_name_taken_over_sets_its_old_result_aside_until_it_has_a_new_one(tmp_path: Path) -> None:
    arm = ("scale=smoke", "experiment=no_synthetic_data")
    finished(tmp_path, "run", *arm)
    failing = reer(tmp_path, "run", *arm, "name=no_synthetic_data", "replace=true", "scale.train_tokens=10")
    assert failing.code == 2
    assert "failed: stage render: " in reer(tmp_path, "status").text
    assert reer(tmp_path, "compare").code == 2, "the old numbers are not this name's any more"
    assert list(tmp_path.glob("runs/no_synthetic_data/smoke/s0/result.superseded-*.json"))


def test_a_result_whose_stage_was_built_anew_is_not_compared(tmp_path: Path) -> None:
    finished(tmp_path, "run", "scale=smoke", "experiment=no_synthetic_data")
    (trained,) = tmp_path.glob("store/train/*/record.json")
    trained.parent.rename(trained.parent.with_name("gone"))
    assert "stale: train removed, damaged or rebuilt since" in reer(tmp_path, "status").text
    done = reer(tmp_path, "compare")
    assert done.code == 2
    assert "left out: no_synthetic_data/smoke/s0" in done.out


def test_rerun_by_name_uses_the_frozen_plan(sweep: Path) -> None:
    before = builds(sweep)
    finished(sweep, "rerun", "short_trajectories")
    assert builds(sweep) == before
    missing = reer(sweep, "rerun", "no_such_run")
    assert missing.code == 2
    assert "short_trajectories/smoke/s0" in missing.err


def test_plan_shows_what_is_cached_and_what_arms_share(sweep: Path) -> None:
    cached = reer(sweep, "plan", "sweep=ablations", "scale=smoke")
    assert "0 to compute" in cached.out.replace("\n", " ")
    other = reer(
        sweep, "plan", "-m", "scale=smoke", "experiment=full,no_literature_arts", "generator.seed=5", "--stages"
    )
    assert "with full" in other.out


@pytest.mark.parametrize(
    "search",
    ["random", *(pytest.param(name, marks=pytest.mark.slow) for name in ("best_of_n", "multi_pass", "multi_start"))],
)
def test_every_kind_of_search_runs_and_says_what_it_generated(arms: Path, search: str) -> None:
    finished(arms, "run", "scale=smoke", f"search={search}", "scale.pairs=8", "tracking=silent")
    (result,) = arms.glob(f"runs/full*search={search}*/smoke/s0/result.json")
    metrics = json.loads(result.read_text())["steps"]["refine"]["metrics"]
    assert metrics["rows"] + sum(metrics["dropped"].values()) == 8, "every draft is accounted for"
    assert metrics["generated_tokens"] > 0
    assert search == "random" or metrics["score_refined"] <= metrics["score_draft"]


def test_bad_input_is_reported_before_any_work(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"query": "q", "answer": "a"}\n{"query": "q", "text": "b"}\n')
    done = reer(tmp_path / "o", "run", "scale=smoke", "source=jsonl", f"source.path={rows}")
    assert done.code != 0
    assert f"{rows}:2" in done.err
    assert "on_bad_row=skip" in done.err
    assert "Traceback" not in done.err
    gone = reer(tmp_path / "o", "run", "scale=smoke", "source=jsonl", "source.path=nowhere.jsonl")
    assert gone.code == 2
    assert "no such file" in gone.err


def test_one_failed_arm_does_not_stop_the_others(arms: Path) -> None:
    done = reer(arms, "run", "-m", "scale=smoke", "scale.train_tokens=10,6000", "name=limits", "seed=7")
    assert done.code == 2, "one name for two experiments is refused before any work"
    done = reer(arms, "run", "-m", "scale=smoke", "experiment=full", "scale.train_tokens=10,6001", "tracking=silent")
    assert done.code == 2, "its limit is what the user has to change"
    assert (arms / "runs/full+scale.train_tokens=6001/smoke/s0/result.json").exists()
    assert "full+scale.train_tokens=10/smoke/s0 did not finish: stage render: " in done.text
    assert done.err.count("overlong=drop") == 2, "the job's own message, and the reason repeated at the end"
    assert "/01/log.txt" in done.err


CHECKPOINTS = ("scale=smoke", "runtime.parallelism.checkpoint_steps=3")


def _run_and_kill(root: Path, when: str, seconds: float) -> bool:
    """Start the run, kill -9 its group once `when` exists; True if it was killed before it had finished."""
    command = [sys.executable, "-m", "experiments.cli", "run", *CHECKPOINTS, f"runtime.root={root}"]
    own = {
        name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"
    }  # not this process's wandb-core
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=REPOSITORY, env=own, stdout=quiet, stderr=quiet, start_new_session=True)
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until and not list(root.glob(when)):
        time.sleep(0.002)
    killed = process.poll() is None
    if killed:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return killed


@pytest.mark.parametrize(
    "when", ["store/replay/*/*.jsonl", "store/refine/*.part", "store/train/*.part/checkpoints/*/COMPLETE"]
)
def test_killed_anywhere_the_same_command_ends_with_the_same_bytes(sweep: Path, tmp_path: Path, when: str) -> None:
    root = tmp_path / "killed"
    assert _run_and_kill(root, when, seconds=120)
    assert not list(root.glob("runs/full/smoke/s0/result.json"))
    finished(root, "run", *CHECKPOINTS)
    expected, found = (read_result(place / "runs/full/smoke/s0") for place in (sweep, root))
    assert expected
    assert found
    for name, step in expected.steps.items():
        for file in ("rows.jsonl", "model/model.safetensors"):
            ours, theirs = found.steps[name].path / file, step.path / file
            assert not theirs.exists() or ours.read_bytes() == theirs.read_bytes(), f"{name}: {file}"


def test_a_budget_stops_a_run_and_more_of_it_goes_on(arms: Path) -> None:
    """Judged again by another judge: what was generated stays, what was paid is kept, and the end is the same."""
    before = builds(arms)
    again = ("run", "scale=smoke", "judge.temperature=0.6", "judge.usd_per_million_written=1000")
    poor = reer(arms, *again, "budget.usd=0.05")
    assert poor.code == 3, poor.text
    assert "budget.usd=0.05 is spent" in poor.err
    finished(arms, *again, "budget.usd=10")
    new = {stage.split("/")[0] for stage in builds(arms).keys() - before.keys()}
    assert new == {"grade", "hygiene", "reliability"}
    metrics = [json.loads(file.read_text())["metrics"] for file in arms.glob("store/grade/*/record.json")]
    (graded,) = [found for found in metrics if found["judge_usd"]]
    assert 0 < graded["judgements_asked_here"] < graded["judgements"] == 14


def test_two_arms_are_compared_pairwise(arms: Path) -> None:
    finished(arms, "pairwise", "no_iterative_search", "full", "scale=smoke")
    found = json.loads((arms / "pairwise/no_iterative_search-full-smoke-s0-writing/scripted.json").read_text())
    assert found["pairs"] == 14 == found["wins"] + found["losses"] + found["ties"]


def test_a_panel_compares_two_arms(arms: Path) -> None:
    members = [f"judge@judge.members.{name}=scripted" for name in ("claude", "gpt", "qwen")]
    other = "judge.members.gpt.model.seed=1"
    shown = finished(arms, "pairwise", "no_iterative_search", "full", "scale=smoke", "judge=panel", *members, other)
    assert "preferences are means over the panel" in shown.text
    assert "agreement between the judges, alpha:" in shown.text
    found = json.loads((arms / "pairwise/no_iterative_search-full-smoke-s0-writing/panel.json").read_text())
    assert found["pairs"] == 14 == found["wins"] + found["losses"] + found["ties"]
    assert found["between_members"][0]["alpha"] < 1.0


def test_the_contract_of_every_arm_holds(sweep: Path) -> None:
    (compared,) = compare(all_results(sweep / "runs"))
    assert {arm.name: arm.contract_word for arm in compared.arms} == {
        arm: "baseline" if arm == "full" else "kept" for arm in ARMS
    }
    terms = [term for arm in compared.arms for term in arm.contract.terms]
    assert len(terms) >= 2 * (len(ARMS) - 1)
    assert all(term.holds for term in terms)
    assert not [moved for arm in compared.arms for moved in arm.contract.moved]


def test_the_claims_of_the_paper_are_judged_on_the_sweep(sweep: Path) -> None:
    verdicts = {v["claim"]: v for v in json.loads(finished(sweep, "claims", "--json").out)["smoke"]}
    assert len(verdicts) >= 7
    (searched,) = verdicts["search_lowers_perplexity"]["parts"]
    assert searched["mean"] < 0
    assert searched["items"] > 0
    assert "trained tokens" in verdicts["synthetic_data_matters_most"]["parts"][0]["confounded_by"]
    shown = finished(sweep, "claims").out
    assert max(map(len, shown.splitlines())) <= 80
    assert f"of {len(verdicts)} claims supported" in shown
