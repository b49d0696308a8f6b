"""Hydra's launchers run every arm of a sweep, with the results, failures and exit codes of a sweep without one."""

import json
import os
import re
import signal
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from experiments.sweeps.jobs import freeze, launched_elsewhere
from reer.processes import Terminated, handling
from tests.fakes.children import reer_process, until
from tests.fakes.commands import reer
from tests.fakes.plans import plans

QUICK = ("-m", "scale=smoke", "tracking=silent")
SUBMITIT = ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=9")
RAY = ("hydra/launcher=ray",)


def forget(root: Path, arms: tuple[str, ...], stage: str) -> None:
    """Let these arms have something to do: their results and a stage are gone."""
    for arm in arms:
        (root / f"runs/{arm}/smoke/s0/result.json").unlink()
    (root / "store" / stage).rename(root / stage)


def test_arms_side_by_side_are_told_apart_and_one_that_fails_with_its_stage_cause_and_log(arms: Path) -> None:
    limits = ("experiment=full", "scale.train_tokens=6000,10")
    done = reer(arms, "run", *QUICK, *limits, "hydra/launcher=joblib", "runtime.gpu_slots=[0,1]")
    assert done.code == 2, "its limit is what the user has to change"
    finished, failed = (f"full+scale.train_tokens={limit}/smoke/s0" for limit in (6000, 10))
    assert (arms / f"runs/{finished}/result.json").exists(), "the name is that without a launcher"
    assert f"[{finished}] {finished}: done in " in done.text, "each line carries its arm's name"
    job = max(arms.glob("sweeps/*/02"))
    assert json.loads((job / "code.json").read_text()) == 2
    end = done.text.partition(f"{failed} did not finish: ")[2]
    assert end.startswith("stage render: ")
    assert "overlong=drop" in end
    assert str(job / "log.txt") in end
    assert "overlong=drop" in (job / "log.txt").read_text()


@pytest.mark.parametrize("launcher", [SUBMITIT, RAY], ids=["submitit", "ray"])
def test_a_cluster_runs_all_arms_and_computes_a_stage_of_both_once(arms: Path, launcher: tuple[str, ...]) -> None:
    if launcher == RAY and not find_spec("hydra_plugins.hydra_ray_launcher"):
        pytest.skip("Hydra's plugin for Ray is not installed: pip install hydra-ray-launcher")
    names = ("full", "no_literature_arts")
    forget(arms, names, "public")
    done = reer(arms, "run", *QUICK, f"experiment={','.join(names)}", *launcher)
    assert done.code == 0, done.text
    for name in names:
        assert (arms / f"runs/{name}/smoke/s0/result.json").exists()
        assert f"[{name}/smoke/s0] {name}/smoke/s0: done in " in done.text
    assert len([line for line in done.out.split("\n") if " s public " in line]) == 1
    assert max(len(line) for line in done.out.split("\n") if line.startswith("[")) <= 80
    assert "writing/quality" in done.text, "the arms side by side"


def test_the_signal_that_ended_a_job_reaches_its_launcher_once_the_job_has_ended(tmp_path: Path) -> None:
    """submitit then queues the job again."""
    (job,) = freeze(plans(*QUICK[1:], f"runtime.root={tmp_path}", multirun=True))
    received: list[int] = []

    def queue_again(number: int, _: object) -> None:
        received.append(number)

    def preempt() -> None:
        until(lambda: signal.getsignal(signal.SIGUSR2) is not queue_again, "the job runs")
        os.kill(os.getpid(), signal.SIGUSR2)

    with handling([signal.SIGUSR2], queue_again):
        scheduler = threading.Thread(target=preempt)
        scheduler.start()
        with pytest.raises(Terminated):
            launched_elsewhere(job)
        scheduler.join()
    assert received == [signal.SIGUSR2]
    assert job.code() is None, "it has not ended: it will be queued again"


@pytest.mark.slow
def test_a_preempted_training_stops_at_a_checkpoint_and_goes_on_when_it_is_queued_again(arms: Path) -> None:
    import psutil

    forget(arms, ("full",), "train")
    checkpoints = "runtime.parallelism.checkpoint_steps=1"
    process = reer_process(arms, *QUICK, "experiment=full", checkpoints, *SUBMITIT)
    until(lambda: bool(list(arms.glob("store/train/*.part/checkpoints/*/COMPLETE"))), "a training has a checkpoint")
    children = psutil.Process(process.pid).children(recursive=True)
    (task,) = [child for child in children if "submitit.core._submit" in child.cmdline()]
    task.send_signal(signal.SIGUSR2)
    assert process.wait(timeout=120) == 0, (arms.parent / "output.txt").read_text()
    (log,) = arms.glob("sweeps/*/01/log.txt")
    assert len(re.findall(r"^full/smoke/s0  \d+ stages$", log.read_text(), re.MULTILINE)) == 2, "it began twice"
    assert "interrupted; finished work is kept" in log.read_text()
    (record,) = arms.glob("store/train/*/record.json")
    assert json.loads(record.read_text())["metrics"]["resumed_from_step"] > 0
