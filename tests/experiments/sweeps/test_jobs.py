"""Jobs are frozen before the first starts, and leave what became of them in their folders."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.config.compose import compose_plans
from experiments.config.parts import experiment_from
from experiments.pipeline import pipeline
from experiments.store.failures import read_failure
from experiments.sweeps.jobs import Job, ends, free_slot, freeze, read_job, require_unchanged
from experiments.sweeps.logs import followed
from reer.errors import InputError
from tests.conftest import REPOSITORY
from tests.fakes.children import until
from tests.fakes.plans import compose, plans

ROWS = [{"question": f"question {n}", "reasoning": "words " * 20, "answer": "words " * 20} for n in range(4)]


def frozen(root: Path, *overrides: str) -> list[Job]:
    return freeze(plans("scale=smoke", "tracking=silent", f"runtime.root={root}", *overrides, multirun=True))


def test_every_job_is_written_before_the_first_starts(tmp_path: Path) -> None:
    jobs = frozen(tmp_path, "experiment=full,no_literature_arts")
    assert [job.file.parent for job in jobs] == sorted(tmp_path.glob("sweeps/*/0*"))
    for job in jobs:
        assert read_job(job.file) == job
        require_unchanged(pipeline(job.exp), job.steps)
    assert [job.code() for job in jobs] == [None, None]


def test_a_choice_that_is_edited_or_removed_during_a_sweep_changes_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = tmp_path / "conf/experiment/mine.yaml"
    arm.parent.mkdir(parents=True)
    arm.write_text("# @package _global_\n# Mine.\nname: mine\nsearch: { max_edits: 3 }\n")
    monkeypatch.setenv("REER_CONF", str(tmp_path / "conf"))
    (job,) = freeze(compose_plans(["scale=smoke", "experiment=mine", f"runtime.root={tmp_path}"], multirun=True))
    arm.write_text(arm.read_text().replace("3", "4"))
    assert read_job(job.file).exp.search.max_edits == 3
    arm.unlink()
    assert read_job(job.file).exp.search.max_edits == 3


def test_a_file_that_is_edited_during_a_sweep_stops_the_arms_that_have_not_started(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (job,) = frozen(tmp_path / "out", "experiment=no_synthetic_data", "public=jsonl", f"public.path={rows}")
    rows.write_text(rows.read_text().replace("words", "other words"))
    assert main(["job", str(job.file)]) == 2
    failure = read_failure(job.exp.folder)
    assert failure is not None
    assert "what step public is made of" in failure.reason
    assert "after the sweep had begun" in capfd.readouterr().err
    assert not list(tmp_path.glob("out/store/*/*/record.json")), "nothing was computed from other bytes"


def test_a_torn_job_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"plan": {}}')
    with pytest.raises(InputError, match="is no job of a sweep"):
        read_job(tmp_path / "job.json")


def test_a_job_without_a_result_says_why_and_where_its_log_is(tmp_path: Path) -> None:
    lost, failed = frozen(tmp_path, "experiment=full,no_literature_arts")
    failed.log.write_text("output")
    results, (first, second) = ends([lost, failed], [None, 1])
    assert not results
    assert (first.code, first.log) == (1, None)
    assert "its launcher did not start it" in str(first.failure)
    assert (second.code, second.log) == (1, failed.log)


def test_each_arm_at_a_time_has_a_slot_of_its_own(tmp_path: Path) -> None:
    exp = compose("scale=smoke", f"runtime.root={tmp_path}", "runtime.gpu_slots=[0,'1,2']")
    got: list[str | None] = []

    def third() -> None:
        with free_slot(exp) as slot:
            got.append(slot)

    with free_slot(exp) as first:
        with free_slot(exp) as second:
            assert (first, second) == ("0", "1,2")
            waiting = threading.Thread(target=third)
            waiting.start()
        waiting.join(timeout=20)
    assert got == ["1,2"], "the slot that was given back"
    with free_slot(compose("scale=smoke")) as none:
        assert none is None


def test_a_job_sees_the_gpus_of_its_slot_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["job", str(tmp_path / "none.json"), "--gpus", "4,5"]) == 2
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5"


def test_lines_of_several_logs_carry_their_labels_and_none_is_lost(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    files = {name: tmp_path / f"{name}.txt" for name in ("a", "b")}
    with followed(files, lambda label, text: said.append((label, text))):
        files["a"].write_text("one\ntwo, unfin")
        until(lambda: ("a", "one") in said, "the first line is shown while its job runs")
        assert len(said) == 1, "a line is shown when it is complete"
        with files["a"].open("a") as stream:
            stream.write("ished\n")
        files["b"].write_text("three, without a line break")
    assert sorted(said) == [("a", "one"), ("a", "two, unfinished"), ("b", "three, without a line break")]


def test_experiments_of_a_frozen_job_are_those_of_its_plan(tmp_path: Path) -> None:
    (job,) = frozen(tmp_path, "experiment=no_literature_arts")
    assert job.exp == experiment_from(job.plan)
    assert job.exp.runtime.root == str(tmp_path)


def test_the_process_of_a_job_imports_no_hydra() -> None:
    """It works from its frozen plan, and each job of a sweep pays for what its process imports."""
    code = "import sys, experiments.run; print(*{'hydra', 'omegaconf', 'torch'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
