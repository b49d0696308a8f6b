"""W&B mirrors a run and nothing else: whatever happens to it, the run goes on, and no run becomes part of another."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.config.compose import compose_plans
from experiments.config.parts import FrozenPlan, experiment_from
from experiments.experiment import Experiment
from experiments.pipeline import pipeline
from experiments.tracking.ledger import Ledger
from experiments.tracking.tracker import NullTracker
from experiments.tracking.wandb_run import open_tracking
from tests.conftest import REPOSITORY

TRACKED = """
import json, logging, os, signal, sys
from pathlib import Path
from experiments.config.parts import experiment_from
from experiments.pipeline import pipeline
from experiments.store.failures import Failure
from experiments.tracking.wandb_run import open_tracking

def opened(plan):
    exp = experiment_from(plan)
    exp.folder.mkdir(parents=True, exist_ok=True)
    return open_tracking(exp, plan, pipeline(exp))

def kill_wandb(number=signal.SIGKILL):
    children = [folder for folder in Path("/proc").glob("[0-9]*") if parent(folder) == os.getpid()]
    (core,) = [int(folder.name) for folder in children if "wandb-core" in (folder / "comm").read_text()]
    os.kill(core, number)

def parent(folder):
    return int((folder / "stat").read_text().rpartition(")")[2].split()[1])

logging.basicConfig(level=logging.INFO)
plans = json.loads(Path("plans.json").read_text())
"""
KILLED_EARLY = """
tracker = opened(plans[0])
assert tracker.where, "W&B has started"
kill_wandb()
import xgboost  # W&B counts the imports of this name
for step in range(100):
    tracker.curve("train", {"step": step, "loss": 1.0})
tracker.failed(Failure("train", "out of memory"))
tracker.finish(0)
print(tracker.where)
"""
KILLED_LATE = """
tracker = opened(plans[0])
for step in range(100):
    tracker.curve("train", {"step": step, "loss": 1.0})
kill_wandb()
tracker.finish(0)
print(tracker.where)
"""
FROZEN = """
from experiments.tracking import client
tracker = opened(plans[0])
client.HANG_SECONDS = 3.0
tracker.curve("train", {"step": 1, "loss": 1.0})
kill_wandb(signal.SIGSTOP)
tracker.finish(0)
print(tracker.where)
"""
TWO_ARMS = """
first, again, second = opened(plans[0]), opened(plans[0]), opened(plans[1])
print(json.dumps([first.where, again.where, second.where]))
second.finish(0)
"""


@pytest.fixture(scope="module")
def plans() -> list[FrozenPlan]:
    return compose_plans(["scale=smoke", "experiment=full,no_literature_arts"], multirun=True)


@pytest.fixture
def exp(plans: list[FrozenPlan]) -> Experiment:
    exp = experiment_from(plans[0])
    exp.folder.mkdir(parents=True)
    return exp


def run(folder: Path, plans: list[FrozenPlan], script: str, **variables: str) -> tuple[str, str]:
    """What a script printed on stdout and on stderr. It has W&B and a process of its own, and must succeed."""
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "xgboost.py").write_text("")
    (folder / "run.py").write_text(TRACKED + script)
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    environment |= {"PYTHONPATH": f"{REPOSITORY}:{folder}", **variables}
    command = [sys.executable, "run.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize("script", [KILLED_EARLY, KILLED_LATE, FROZEN], ids=["early", "late", "frozen"])
def test_fault_55_a_killed_or_frozen_wandb_ends_nothing(tmp_path: Path, plans: list[FrozenPlan], script: str) -> None:
    """W&B not installed, no key, 401, hang in init/log/finish, its process killed: the result is identical, there is a
    warning, and the run ends within a bounded time. Here: wandb-core is killed, and a library imported afterwards; or
    it is stopped and never answers."""
    printed, logged = run(tmp_path, plans, script)
    assert printed == "None"
    assert logged.count("W&B failed") == 1
    assert "Traceback" not in logged


def test_fault_55_no_run_becomes_part_of_another(tmp_path: Path, plans: list[FrozenPlan]) -> None:
    """Variables of another W&B run in the environment (its id, its process, a sweep) neither merge the arms nor tie a
    job to the W&B process of its parent; a run that another process mirrors is not mirrored twice."""
    variables = {"WANDB_RUN_ID": "theirs", "WANDB_SWEEP_ID": "theirs", "WANDB_SERVICE": "3-1-unix-/nowhere"}
    printed, logged = run(tmp_path, plans, TWO_ARMS, **variables, WANDB_API_KEY="k" * 40)
    first, again, second = json.loads(printed)
    assert "-reer-" in first
    assert "-reer-" in second
    assert first.rpartition("-")[2] != second.rpartition("-")[2]
    assert again is None
    assert logged.count("another process mirrors this run") == 1
    assert "offline-run-" in first, "WANDB_MODE=offline counts where tracking.mode is auto, with a key as well"


@pytest.mark.parametrize(("variable", "value"), [("WANDB_MODE", "disabled"), ("WANDB_DISABLED", "true")])
def test_fault_55_disabled_wandb_is_not_started(
    exp: Experiment,
    variable: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """WANDB_MODE=disabled and WANDB_DISABLED=true are respected: no run is written, and one line says so."""
    monkeypatch.setenv(variable, value)
    with caplog.at_level(logging.INFO):
        tracker = open_tracking(exp, {}, pipeline(exp))
    assert type(tracker) is NullTracker
    assert [line for line in caplog.messages if variable in line]
    assert not list(Path(exp.runtime.root).glob("wandb"))


def test_fault_55_wandb_that_is_not_installed_ends_nothing(tmp_path: Path, plans: list[FrozenPlan]) -> None:
    """W&B not installed: the run continues without it, and a warning says so."""
    (tmp_path / "wandb.py").write_text("raise ImportError('No module named wandb')")
    printed, logged = run(tmp_path, plans, "print(opened(plans[0]).where)")
    assert printed == "None"
    assert "W&B could not start (ImportError: No module named wandb)" in logged


def test_fault_55_a_damaged_ledger_of_what_is_mirrored_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What W&B has already is known from a file; when that is torn, rows may be sent twice, and a warning says so."""
    (tmp_path / "mirrored.json").write_text('{"offline')
    assert Ledger(tmp_path).mirrors == ()
    assert "is damaged" in caplog.text
