"""`scale=smoke`, every stage for real: once, twice, in a sweep, and killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

ARMS = "full,no_synthetic_data,no_iterative_search,no_reflection_tokens,short_trajectories,no_literature_arts"


def reer(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    extra = [f"runtime.root={root}"] if arguments[0] in ("run", "plan", "import-thinking") else ["--root", str(root)]
    command = [sys.executable, "-m", "experiments.cli", *arguments, *extra]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600)


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
    assert results == sorted(f"{arm}/smoke" for arm in ARMS.split(","))


def test_stage_executions_are_the_distinct_minimum(sweep: Path) -> None:
    from experiments.config import compose_plans, experiment_from
    from experiments.pipeline import pipeline

    plans = compose_plans(["sweep=ablations", "scale=smoke"], multirun=False)
    distinct = {step.fingerprint for plan in plans for step in pipeline(experiment_from(plan)).values()}
    assert len(builds(sweep)) == len(distinct)


def test_running_again_builds_nothing(sweep: Path) -> None:
    before = builds(sweep)
    done = reer(sweep, "run", "scale=smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    assert builds(sweep) == before
    assert "cached" in done.stdout


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
    for stage, key in (("refine", "score_refined"), ("train", "last_loss"), ("train", "mean_loss_last_quarter")):
        assert read["summary"][f"{stage}/{key}"] == pytest.approx(metrics[stage][key])
    (measure,) = [m for m in metrics["grade:writing"]["measures"] if m["metric"] == "quality"]
    assert read["summary"]["grade/writing/writing/quality"] == pytest.approx(measure["value"]), "the mean, not a row"
    assert {"digest/refine", "digest/train"} <= read["summary"].keys()
    assert "train/loss" not in read["summary"]
    rows = inspect(result["tracked"])
    named = (
        "train/loss",
        "train/step",
        "refine/gain",
        "gain/mean",
        "grade/item",
        "trajectories",
        "grade_writing",
        "distributions/score_after",
        "train/tokens_per_second",
    )
    for name in named:
        assert name in rows, name


def test_a_run_made_without_tracking_is_mirrored_when_asked_for_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    def run(*overrides: str) -> str | None:
        done = reer(tmp_path, "run", "scale=smoke", "experiment=no_synthetic_data", *overrides)
        assert done.returncode == 0, done.stdout + done.stderr
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
    assert "train/loss" not in inspect(str(again)), "the rows are in the first part of this run"


def result_of(root: Path, run: str) -> dict[str, Any]:
    return json.loads((root / "runs" / run / "smoke/s0/result.json").read_text())


def test_confounds_stand_in_each_record_beside_the_baselines(sweep: Path) -> None:
    found = result_of(sweep, "no_synthetic_data")["confounds"]
    baseline = result_of(sweep, "full")["steps"]
    assert found["optimizer steps"]["baseline"] == baseline["train"]["metrics"]["steps"]
    assert found["optimizer steps"]["here"] < found["optimizer steps"]["baseline"]
    assert found["thinking words"]["here"] is None
    summary = json.loads(inspect(result_of(sweep, "no_synthetic_data")["tracked"], "--summary"))["summary"]
    assert summary["confounds/rows/here"] == found["rows"]["here"]


def test_a_matched_arm_shares_the_baselines_stages_and_takes_its_steps(sweep: Path) -> None:
    before = builds(sweep)
    done = reer(sweep, "run", "scale=smoke", "experiment=no_synthetic_data", "match=steps", "tracking=silent")
    assert done.returncode == 0, done.stdout + done.stderr
    matched = result_of(sweep, "no_synthetic_data+match=steps")
    assert (
        matched["steps"]["train"]["metrics"]["steps"] == result_of(sweep, "full")["steps"]["train"]["metrics"]["steps"]
    )
    assert matched["confounds"]["thinking words"]["here"] is None, "the baseline's curated rows are not this arm's"
    new = sorted(name.split("/")[0] for name in builds(sweep).keys() - before.keys())
    assert new == ["generate", "grade", "hygiene", "match", "perplexity", "reliability", "termination", "train"]


def test_imported_thinking_is_trained_on_and_every_table_says_so(tmp_path: Path) -> None:
    texts = [f"The {word} wakes slowly, and a man comes down with a bucket. " * 4 for word in ("harbour", "orchard")]
    thinking = "<think>\nPlain words, in order.\n\nHmm, a turn.\n</think>\n"
    rows = [
        {"query": f"Write of {n}.", "answer": thinking + text, "category": "others"} for n, text in enumerate(texts)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["scale=smoke", "source=jsonl", f"source.path={file}"]
    imported = reer(tmp_path / "out", "import-thinking", *given)
    assert "thinking imported from jsonl: 2 rows" in imported.stdout, imported.stdout + imported.stderr
    done = reer(tmp_path / "out", "run", *given, "thinking=from_source", "tracking=silent")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no search was made here" in " ".join(done.stdout.split())
    assert "refine" not in {name.split("/")[0] for name in builds(tmp_path / "out")}
    compared = reer(tmp_path / "out", "compare")
    assert "no search was made here" in " ".join(compared.stdout.split())


def test_the_summary_says_what_happened(sweep: Path) -> None:
    done = reer(sweep, "run", "scale=smoke")
    for words in ("refine", "edits accepted", "writing/quality", "(14/14)", "W&B run", "HTML report", "loss"):
        assert words in " ".join(done.stdout.split()), words


def test_compare_shows_every_arm_with_what_changed(sweep: Path) -> None:
    done = reer(sweep, "compare")
    assert done.returncode == 0, done.stderr
    flat = "".join(done.stdout.split())
    for words in ("full", "no_syntheti", "search.max_edits", "optimizer", "reflection"):
        assert words in flat or words in done.stdout, words


def test_the_report_is_self_contained_and_escapes_model_text(sweep: Path) -> None:
    page = (sweep / "report.html").read_text()
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page
    assert page.count("<polyline") == 6


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


def test_a_name_that_comes_back_with_another_meaning_stops_with_the_difference(sweep: Path) -> None:
    done = reer(sweep, "run", "scale=smoke", "name=full", "search.n_candidates=3")
    assert done.returncode == 2
    assert "search.n_candidates: 2 -> 3" in done.stderr
    assert "name=" in done.stderr
    assert "replace=true" in done.stderr


def test_a_name_taken_over_sets_its_old_result_aside_until_it_has_a_new_one(tmp_path: Path) -> None:
    arm = ("scale=smoke", "experiment=no_synthetic_data")
    assert reer(tmp_path, "run", *arm).returncode == 0
    failing = reer(tmp_path, "run", *arm, "name=no_synthetic_data", "replace=true", "scale.train_tokens=10")
    assert failing.returncode == 2
    assert "unfinished" in reer(tmp_path, "status").stdout
    assert reer(tmp_path, "compare").returncode == 2, "the old numbers are not this name's any more"
    assert list(tmp_path.glob("runs/no_synthetic_data/smoke/s0/result.superseded-*.json"))


def test_a_result_whose_stage_was_built_anew_is_not_compared(tmp_path: Path) -> None:
    assert reer(tmp_path, "run", "scale=smoke", "experiment=no_synthetic_data").returncode == 0
    (trained,) = tmp_path.glob("store/train/*/record.json")
    trained.parent.rename(trained.parent.with_name("gone"))
    assert "stale: train removed or rebuilt since" in " ".join(reer(tmp_path, "status").stdout.split())
    done = reer(tmp_path, "compare")
    assert done.returncode == 2
    assert "left out: no_synthetic_data/smoke/s0" in done.stdout


def test_rerun_by_name_uses_the_frozen_plan(sweep: Path) -> None:
    before = builds(sweep)
    done = reer(sweep, "rerun", "short_trajectories")
    assert done.returncode == 0, done.stderr
    assert builds(sweep) == before
    missing = reer(sweep, "rerun", "no_such_run")
    assert missing.returncode == 2
    assert "short_trajectories/smoke/s0" in missing.stderr


def test_plan_shows_what_is_cached_and_what_arms_share(sweep: Path) -> None:
    cached = reer(sweep, "plan", "sweep=ablations", "scale=smoke")
    assert "0 to compute" in cached.stdout.replace("\n", " ")
    other = reer(sweep, "plan", "-m", "scale=smoke", "experiment=full,no_literature_arts", "generator.seed=5")
    assert "with full" in other.stdout


@pytest.mark.parametrize(
    "search",
    ["random", *(pytest.param(name, marks=pytest.mark.slow) for name in ("best_of_n", "multi_pass", "multi_start"))],
)
def test_every_kind_of_search_runs_and_says_what_it_generated(sweep: Path, search: str) -> None:
    done = reer(sweep, "run", "scale=smoke", f"search={search}", "scale.pairs=8", "tracking=silent")
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = sweep.glob(f"runs/full*search={search}*/smoke/s0/result.json")
    metrics = json.loads(result.read_text())["steps"]["refine"]["metrics"]
    assert metrics["rows"] + sum(metrics["dropped"].values()) == 8, "every draft is accounted for"
    assert metrics["generated_tokens"] > 0
    assert search == "random" or metrics["score_refined"] <= metrics["score_draft"]


def test_bad_input_is_told_before_any_work(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"query": "q", "answer": "a"}\n{"query": "q", "text": "b"}\n')
    done = reer(tmp_path / "o", "run", "scale=smoke", "source=jsonl", f"source.path={rows}")
    assert done.returncode != 0
    assert f"{rows}:2" in done.stderr
    assert "on_bad_row=skip" in done.stderr
    assert "Traceback" not in done.stderr
    gone = reer(tmp_path / "o", "run", "scale=smoke", "source=jsonl", "source.path=nowhere.jsonl")
    assert gone.returncode == 2
    assert "no such file" in gone.stderr


def test_one_failed_arm_does_not_stop_the_others(sweep: Path) -> None:
    done = reer(sweep, "run", "-m", "scale=smoke", "scale.train_tokens=10,6000", "name=limits", "seed=7")
    assert done.returncode == 2, "one name for two experiments is refused before any work"
    done = reer(sweep, "run", "-m", "scale=smoke", "experiment=full,short_trajectories", "scale.train_tokens=10,6001")
    assert done.returncode == 1
    finished = {path.parts[-4] for path in sweep.glob("runs/*/*/s0/result.json")}
    assert {f"{arm}+scale.train_tokens=6001" for arm in ("full", "short_trajectories")} <= finished
    assert "full+scale.train_tokens=10/smoke/s0 did not finish" in done.stderr
    assert "overlong=drop" in done.stderr


def _run_and_kill(root: Path, when: str, seconds: float) -> bool:
    """Start the run, kill -9 its group once `when` exists; True if it was killed before it had finished."""
    command = [sys.executable, "-m", "experiments.cli", "run", "scale=smoke", f"runtime.root={root}"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
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
    done = reer(root, "run", "scale=smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    expected = json.loads((sweep / "runs/full/smoke/s0/result.json").read_text())["steps"]
    found = json.loads((root / "runs/full/smoke/s0/result.json").read_text())["steps"]
    for name, step in expected.items():
        ours, theirs = Path(found[name]["path"]) / "rows.jsonl", Path(step["path"]) / "rows.jsonl"
        assert not theirs.exists() or ours.read_bytes() == theirs.read_bytes(), name
    weights = "model/model.safetensors"
    ours, theirs = (Path(s["train"]["path"]) / weights for s in (found, expected))
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_budget_stops_a_run_and_more_of_it_goes_on(sweep: Path) -> None:
    """Judged anew by another judge: what was generated stays, what was paid is kept, and the end is the same."""
    before = builds(sweep)
    again = ("run", "scale=smoke", "judge.temperature=0.6", "judge.usd_per_million_written=1000")
    poor = reer(sweep, *again, "budget.usd=0.05")
    assert poor.returncode == 3, poor.stdout + poor.stderr
    assert "budget.usd=0.05 is spent" in poor.stderr
    rich = reer(sweep, *again, "budget.usd=10")
    assert rich.returncode == 0, rich.stdout + rich.stderr
    new = {stage.split("/")[0] for stage in builds(sweep).keys() - before.keys()}
    assert new == {"grade", "hygiene", "reliability"}
    metrics = [json.loads(file.read_text())["metrics"] for file in sweep.glob("store/grade/*/record.json")]
    (graded,) = [found for found in metrics if found["judge_usd"]]
    assert 0 < graded["judgements_asked_here"] < graded["judgements"] == 14


def test_two_arms_are_compared_pairwise(sweep: Path) -> None:
    command = [sys.executable, "-m", "experiments.cli", "pairwise", "no_iterative_search", "full", "scale=smoke"]
    done = subprocess.run([*command, f"runtime.root={sweep}"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((sweep / "pairwise/no_iterative_search-full-smoke-s0-writing/scripted.json").read_text())
    assert found["pairs"] == 14 == found["wins"] + found["losses"] + found["ties"]
