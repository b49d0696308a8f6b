"""Hydra's launchers run every arm of a sweep, and what they did is found, told apart and counted as without one."""

import json
import signal
from pathlib import Path

import pytest

from tests.fakes.children import reer_process, until
from tests.fakes.commands import reer

ARMS = ("full", "no_literature_arts")
QUICK = ("-m", f"experiment={','.join(ARMS)}", "scale=smoke", "tracking=silent")


def forget(root: Path, *stages: str) -> None:
    """Let the arms have something to do: no results, and these stages of both missing."""
    for arm in ARMS:
        (root / f"runs/{arm}/smoke/s0/result.json").unlink()
    for stage in stages:
        for folder in root.glob(f"store/{stage}/*/"):
            folder.rename(root / folder.name)


@pytest.mark.parametrize(
    "launcher",
    [
        ("hydra/launcher=joblib", "runtime.gpu_slots=[0,1]"),
        ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=9"),
    ],
    ids=["joblib", "submitit"],
)
def test_all_arms_run_and_their_results_are_found(launcher: tuple[str, ...], arms: Path) -> None:
    """The names are those without a launcher, and the stage that both arms need is computed once."""
    forget(arms, "public")
    done = reer(arms, "run", *QUICK, *launcher)
    assert done.code == 0, done.text
    for arm in ARMS:
        assert (arms / f"runs/{arm}/smoke/s0/result.json").exists()
        assert f"[{arm}/smoke/s0] {arm}/smoke/s0: done in " in done.text, "each line carries its arm's name"
    computed = [line for line in done.out.split("\n") if " s public " in line]
    assert len(computed) == 1
    assert "writing/quality" in done.text, "the arms side by side"
    again = reer(arms, "run", *QUICK, *launcher)
    assert again.text.count("finished, nothing to do") == 2
    assert again.code == 0


def test_an_arm_that_fails_beside_another_is_told_with_its_stage_cause_and_log(arms: Path) -> None:
    forget(arms)
    arm = ("-m", "experiment=full", "scale=smoke", "tracking=silent", "scale.train_tokens=6000,10")
    done = reer(arms, "run", *arm, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert done.code == 2, "its limit is what the user has to change"
    (job,) = arms.glob("sweeps/*/02")
    assert json.loads((job / "code.json").read_text()) == 2
    end = done.text.partition("did not finish: ")[2]
    assert end.startswith("stage render: ")
    assert "overlong=drop" in end
    assert str(job / "log.txt") in end
    assert "overlong=drop" in (job / "log.txt").read_text()
    assert "[full+scale.train_tokens=6000/smoke/s0] full+scale.train_tokens=6000/smoke/s0: done" in done.text


def test_a_preempted_job_saves_its_work_and_is_queued_again(arms: Path) -> None:
    """submitit's signal, as a scheduler sends it: the training stops at a checkpoint, and the same job goes on."""
    import psutil

    forget(arms, "train")
    overrides = ("-m", "experiment=no_literature_arts", "scale=smoke", "tracking=silent", "train.epochs=40")
    launcher = ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=9")
    process = reer_process(arms, *overrides, *launcher)
    until(lambda: bool(list(arms.glob("store/train/*.part/checkpoints/*/COMPLETE"))), "a training has a checkpoint")
    (task,) = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "submitit.core._submit" in child.cmdline()
    ]
    task.send_signal(signal.SIGUSR2)
    assert process.wait(timeout=120) == 0, (arms.parent / "output.txt").read_text()
    (log,) = arms.glob("sweeps/*/01/log.txt")
    assert log.read_text().count("17 stages") == 2, "it began twice"
    assert "interrupted; finished work is kept" in log.read_text()
    (record,) = arms.glob("store/train/*/record.json")
    assert json.loads(record.read_text())["metrics"]["resumed_from_step"] > 0
