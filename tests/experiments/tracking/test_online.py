"""The real W&B client, connected to a stand-in for its server: what arrives there, and how often."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from experiments.config.compose import compose_plans
from experiments.config.parts import FrozenPlan, experiment_from
from experiments.experiment import Experiment
from experiments.metrics.training import TrainMetrics
from experiments.pipeline import pipeline
from experiments.report.compare import compare
from experiments.report.exports.row import slug, summary_row
from experiments.store.failures import Failure
from experiments.store.fingerprint import Json
from experiments.store.runs import all_results, read_result
from experiments.store.step import Artifact, StepName
from experiments.store.store import Store
from experiments.tracking import wandb_run
from experiments.tracking.destination import PROJECT
from experiments.tracking.ledger import Ledger
from experiments.tracking.settings import MOST_KEYS
from experiments.tracking.tracker import Tracker
from experiments.tracking.wandb_run import open_tracking
from tests.conftest import ARMS, REPOSITORY
from tests.fakes.commands import finished
from tests.fakes.stages import lost
from tests.fakes.wandb_server import KEY, Service, StoredRun, serving

ARM, BASELINE, LATER = "no_iterative_search", "full", "short_trajectories"
TRAIN = StepName("train")
KILLED = """
import json, os, signal, sys, time
from pathlib import Path
from experiments.config.parts import experiment_from
from experiments.pipeline import pipeline
from experiments.tracking.wandb_run import open_tracking

plan = json.loads(Path(sys.argv[1]).read_text())
exp = experiment_from(plan)
exp.folder.mkdir(parents=True)
(exp.folder / "plan.json").write_text(json.dumps(plan))
tracker = open_tracking(exp, plan, pipeline(exp))
for step in range(1, 6):
    tracker.curve("train", {"step": step, "loss": 1.0 / step})
print("logged", flush=True)
time.sleep(60)
"""


@dataclass(frozen=True)
class Online:
    """A copy of the six arms, two of which were run again with W&B online, the baseline after the arm."""

    root: Path
    service: Service
    before: StoredRun
    """The arm as the server had it when its baseline had no result."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    import wandb

    with serving(tmp_path_factory.mktemp("server")) as service, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", service.url)
        patch.setenv("WANDB_API_KEY", KEY)
        patch.setenv("WANDB_MODE", "online")
        wandb.teardown()  # what it read from the environment before
        yield service
        wandb.teardown()


@pytest.fixture(scope="module")
def online(sweep: Path, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Online:
    root = Path(shutil.copytree(sweep, tmp_path_factory.mktemp("online") / "out", symlinks=True))
    (root / "runs" / BASELINE / "smoke" / "s0" / "result.json").unlink()
    finished(root, "run", f"experiment={ARM}", "scale=smoke")
    (early,) = service.runs
    before = StoredRun(early.id, summary=dict(early.summary))
    finished(root, "run", f"experiment={BASELINE}", "scale=smoke")
    return Online(root, service, before)


def stored(service: Service, name: str) -> StoredRun:
    """The W&B run of an arm."""
    (run,) = [run for run in service.runs if run.name == f"{name}/smoke/s0"]
    return run


def table(service: Service, run: StoredRun, key: str) -> list[dict[str, Any]]:
    """The rows of a table that a run logged, by column."""
    (entry,) = [row[key] for row in run.history() if key in row]
    content = json.loads((service.folder / "files" / run.id / entry["path"]).read_text())
    return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def test_a_run_tracked_offline_before_is_one_run_in_the_group_of_its_study(online: Online) -> None:
    names = sorted(run.name for run in online.service.runs)
    assert names == [f"{BASELINE}/smoke/s0", f"{ARM}/smoke/s0"]
    run = stored(online.service, ARM)
    assert (run.group, run.job_type, run.exit_code) == ("smoke", "experiment", 0)
    assert run.tags == [f"arm:{ARM}", "scale:smoke"]
    assert run.shown()["config"]["choices"]["search"] == "single_pass"
    assert (online.service.folder / "files" / run.id / "plan.json").is_file()


def test_the_row_of_an_arm_is_rewritten_when_its_baseline_arrives(online: Online) -> None:
    assert not [key for key in online.before.summary if key.startswith("delta/")]
    (comparison,) = compare(all_results(online.root / "runs"))
    for arm in comparison.arms:
        if arm.name in (ARM, BASELINE):
            summary = stored(online.service, arm.name).summary
            row = summary_row(comparison, arm)
            assert {key: summary[key] for key in row} == pytest.approx(row)
            assert ("delta/writing_quality" in row) is (arm.name == ARM)


def test_the_summary_is_the_row_and_the_tables_and_nothing_else(online: Online) -> None:
    run = stored(online.service, ARM)
    (comparison,) = compare(all_results(online.root / "runs"))
    (arm,) = [arm for arm in comparison.arms if arm.name == ARM]
    more = run.summary.keys() - summary_row(comparison, arm).keys() - {"_wandb", "_step", "_runtime", "_timestamp"}
    assert more == {"trajectories", "eval_results", "detail/metrics", "samples/writing"}


def test_each_row_of_the_curve_and_each_table_is_there_once(online: Online) -> None:
    for name in (ARM, BASELINE):
        history = stored(online.service, name).history()
        steps = [row["train/step"] for row in history if "train/step" in row]
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) >= 5
        counts = Counter(key for row in history for key in row if not key.startswith(("_", "train/")))
        assert set(counts.values()) == {1}


def test_the_tables_hold_every_item_and_every_trajectory(online: Online) -> None:
    run = stored(online.service, ARM)
    samples = table(online.service, run, "samples/writing")
    assert len(samples) == 14
    assert all(row["prompt"] and row["answer"] is not None and row["verdict"] for row in samples)
    assert {"score writing/quality", "baseline writing/quality"} <= samples[0].keys()
    trajectories = table(online.service, run, "trajectories")
    assert all(row["thinking_before"] and row["thinking_after"] for row in trajectories)
    results = {row["measure"]: row for row in table(online.service, run, "eval_results")}
    assert results["writing/quality"]["items"] == 14


def test_artifacts_carry_our_digests_and_those_of_their_inputs(online: Online) -> None:
    result = read_result(online.root / "runs" / ARM / "smoke" / "s0")
    assert result is not None
    sent = [entry for entry in online.service.artifacts if entry.get("metadata")]
    of_arm = {step.fingerprint for step in result.steps.values()}
    described = [(entry["artifactTypeName"], json.loads(entry["metadata"])) for entry in sent]
    kinds = {kind: metadata for kind, metadata in described if metadata.get("fingerprint") in of_arm}
    assert {"trajectories", "training-rows", "model", "judgements"} <= kinds.keys()
    render, train = result.steps[StepName("render")], result.steps[TRAIN]
    assert kinds["training-rows"]["build"] == render.build
    assert kinds["model"]["fingerprint"] == train.fingerprint
    assert kinds["model"]["inputs"] == {"rendered": f"{render.fingerprint}-{render.build}"}


def test_a_stage_that_another_run_has_computed_is_an_input(online: Online) -> None:
    """Both runs find every stage in the store, where an earlier attempt of theirs or another arm has put it."""
    users = {entry["runName"] for entry in online.service.used}
    assert users == {run.id for run in online.service.runs}


def test_sync_sends_each_run_that_was_tracked_offline_once(online: Online) -> None:
    first, again = finished(online.root, "sync"), finished(online.root, "sync")
    assert first.text.count("rows at http") == len(ARMS) - 2
    assert "W&B has every run" in again.text
    run = stored(online.service, LATER)
    steps = [row["train/step"] for row in run.history() if "train/step" in row]
    assert steps == sorted(set(steps))
    assert run.summary["contract"] == "kept"


def test_wandb_has_one_run_for_each_arm_with_few_columns_and_the_differences_of_compare(online: Online) -> None:
    finished(online.root, "sync", "--rows")
    runs = {run.name: run for run in online.service.runs if run.project == PROJECT}
    assert sorted(runs) == sorted(f"{arm}/smoke/s0" for arm in ARMS)
    assert_columns_are_few(runs.values())
    assert_differences_are_those_of_compare(runs, online.root)


@pytest.mark.slow
def test_two_seeds_of_six_arms_online_are_twelve_runs_with_the_differences_of_compare(
    sweep: Path, service: Service, tmp_path: Path
) -> None:
    root, arms = Path(shutil.copytree(sweep, tmp_path / "out", symlinks=True)), ",".join(ARMS)
    command = ("-m", f"experiment={arms}", "seed=0,1", "scale=smoke", "tracking.project=study")
    finished(root, "run", *command)
    runs = {run.name: run for run in service.runs if run.project == "study"}
    assert sorted(runs) == sorted(f"{arm}/smoke/s{seed}" for arm in ARMS for seed in (0, 1))
    assert len([run for run in service.runs if run.project == "study"]) == 12
    assert_columns_are_few(runs.values())
    assert_differences_are_those_of_compare(runs, root)


def assert_columns_are_few(runs: Iterable[StoredRun]) -> None:
    """Count the columns of W&B's table, which are those of all runs together."""
    summary = {column for run in runs for column in run.summary_columns()}
    config = {column for run in runs for column in run.config_columns()}
    assert len(summary) <= 60
    assert len(config) <= MOST_KEYS


def assert_differences_are_those_of_compare(runs: Mapping[str, StoredRun], root: Path) -> None:
    """Read the difference of each run and measure from W&B, and from `reer compare`."""
    in_wandb = {
        (name, column.partition("/")[2]): value
        for name, run in runs.items()
        for column, value in run.summary.items()
        if column.startswith("delta/")
    }
    compared = {
        (f"{cell['arm']}/smoke/s{seed}", slug(cell["measure"])): cell["delta"]
        for table in json.loads(finished(root, "compare", "--json").out)
        for cell in table["cells"]
        for seed in table["seeds"]
        if len(table["seeds"]) == 1 and cell["delta"] is not None
    }
    assert in_wandb == pytest.approx(compared)
    assert {name for name, _ in in_wandb} == {name for name in runs if not name.startswith(f"{BASELINE}/")}


def test_sync_recomputes_rows_and_updates_one_view_and_one_report(online: Online) -> None:
    folder = online.root / "runs" / ARM / "smoke" / "s0"
    mirror = Ledger(folder).current
    assert mirror is not None
    stored(online.service, ARM).summary["contract"] = "changed by hand"
    (folder / "mirrored.json").write_text((folder / "mirrored.json").read_text().replace('"kept"', '"changed"'))
    first, again = finished(online.root, "sync", "--rows", "--view"), finished(online.root, "sync", "--view")
    assert f"{ARM}/smoke/s0: its row is in W&B" in first.text
    assert stored(online.service, ARM).summary["contract"] == "kept"
    kinds = {view["type"]: view for view in online.service.views.values()}
    assert len(online.service.views) == 2
    assert kinds["project-view"]["displayName"] == "REER ablations: smoke"
    assert "delta/writing_quality" in kinds["project-view"]["spec"]
    assert stored(online.service, BASELINE).storage_id in kinds["project-view"]["spec"]
    report = kinds["runs"]["spec"]
    assert f"| {ARM} |" in report
    assert "Undecided is no evidence against a claim" in report
    assert "refine.edits_accepted = 0 (measured: 0)" in report
    assert again.out.splitlines()[-2:] == first.out.splitlines()[-2:]


def test_a_stage_built_anew_begins_another_attempt_that_can_be_cancelled(
    online: Online, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_run, "POLL_SECONDS", 0.2)
    folder = online.root / "runs" / ARM / "smoke" / "s0"
    plan = json.loads((folder / "plan.json").read_text())
    exp = experiment_from(plan)
    steps = pipeline(exp)
    lost(Store(root=exp.runtime.store, runtime=exp.runtime), steps[TRAIN])
    first = stored(online.service, ARM)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a script
    tracker = open_tracking(exp, plan, steps)
    (second,) = [run for run in online.service.runs if run.id == f"{first.id}-a2"]
    second.tags.append("cancel")
    with pytest.raises(KeyboardInterrupt):
        time.sleep(20)
    tracker.failed(Failure("train", "out of memory"))
    tracker.preempting()
    tracker.finish(1)
    signal.signal(signal.SIGINT, before)
    assert "superseded" in first.tags
    assert second.summary["failure"] == "stage train: out of memory"
    assert (second.exit_code, second.preempting) == (1, True)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_killed_and_resumed_run_has_each_row_once(
    mode: str, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    project = f"killed-{mode}"
    (plan,) = compose_plans(["scale=smoke", f"runtime.root={tmp_path}", f"tracking.project={project}"], False)
    killed(plan, tmp_path)
    tracker = opened(plan)
    for step in range(4, 7):  # its checkpoint is of step 3
        tracker.curve("train", {"step": step, "loss": 1.0 / step})
    tracker.stage(TRAIN, trained(tmp_path / "train", steps=8), cached=False)
    tracker.finish(0)
    if mode == "offline":
        monkeypatch.setenv("WANDB_MODE", "online")
        assert "8 rows at" in finished(tmp_path, "sync").text
    (run,) = [run for run in service.runs if run.project == project]
    assert sorted(row["train/step"] for row in run.history()) == list(range(1, 9))


def killed(plan: FrozenPlan, folder: Path) -> None:
    """A process that mirrors five rows of a training, and is killed with W&B's own process."""
    (folder / "launch.json").write_text(json.dumps(plan))
    command = [sys.executable, "-c", KILLED, str(folder / "launch.json")]
    child = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "logged\n"
    time.sleep(1.0)  # some rows have arrived
    child.send_signal(signal.SIGKILL)
    child.wait()


def opened(plan: FrozenPlan) -> Tracker:
    exp: Experiment = experiment_from(plan)
    frozen: dict[str, Json] = plan
    return open_tracking(exp, frozen, pipeline(exp))


def trained(folder: Path, steps: int) -> Artifact[TrainMetrics]:
    """The result of a training with this many steps."""
    folder.mkdir()
    rows = [{"step": step, "loss": 1.0 / step} for step in range(1, steps + 1)]
    (folder / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    metrics = TrainMetrics(
        rows=4,
        steps=steps,
        resumed_from_step=3,
        first_loss=1.0,
        last_loss=1.0 / steps,
        mean_loss_last_quarter=0.2,
        trained_tokens=9,
        tokens_per_second=1.0,
        memory_gib=1.0,
        processes=1,
    )
    return Artifact(stage="train", path=folder, fingerprint="f", build="b", metrics=metrics)
