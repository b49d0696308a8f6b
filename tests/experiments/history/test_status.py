"""Every run, stage by stage: done, running where, waiting, failed why."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments.history import terminal
from experiments.history.status import RunState, StepState, status
from experiments.store.disk import held
from experiments.store.failures import LOCK, Attempt, Failure, at_work, write_failure
from experiments.store.records import lock_of, write_document
from experiments.store.step import Step
from tests.fakes.commands import finished
from tests.fakes.runs import rewritten
from tests.fakes.stages import a_store, numbers, total

FIRST, SECOND = numbers(count=2), total(numbers=numbers(count=2))


def a_run(root: Path, *steps: Step) -> Path:
    """A run that has been planned and not finished."""
    folder = root / "runs/full/smoke/s0"
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    write_document(folder / "lock.json", {"identity": {}, "steps": {str(s.name): s.fingerprint for s in steps}})
    return folder


def state(root: Path) -> RunState:
    (found,) = status(root)
    return found


def test_a_run_is_shown_stage_by_stage(tmp_path: Path) -> None:
    a_run(tmp_path, FIRST, SECOND)
    assert [step.mark for step in state(tmp_path).steps] == ["waiting", "waiting"]
    a_store(tmp_path / "store").build(FIRST)
    found = state(tmp_path)
    assert [step.mark for step in found.steps] == ["done", "waiting"]
    assert (found.state, found.at_work) == ("unfinished", None)


def test_a_stage_that_is_being_computed_names_its_process(tmp_path: Path) -> None:
    folder = a_run(tmp_path, FIRST, SECOND)
    a_store(tmp_path / "store").build(FIRST)
    (tmp_path / "store/total").mkdir()
    with Attempt(folder), held(lock_of(tmp_path / "store/total", SECOND.fingerprint)):
        found = state(tmp_path)
        assert found.state == "running"
        assert [step.mark for step in found.steps] == ["done", "running"]
        assert " pid " in str(found.steps[1].where)
        assert f"running: total by {found.steps[1].where}" in finished(tmp_path, "status").text
    assert state(tmp_path).state == "unfinished"


def test_two_attempts_side_by_side_do_not_wait_for_one_another(tmp_path: Path) -> None:
    folder = a_run(tmp_path, FIRST)
    with Attempt(folder), Attempt(folder):
        assert at_work(folder)
    assert at_work(folder) is None
    assert (folder / LOCK).exists()


def test_a_failed_stage_says_why(tmp_path: Path) -> None:
    folder = a_run(tmp_path, FIRST, SECOND)
    write_failure(folder, Failure("total", "the server is gone"))
    found = state(tmp_path)
    assert (found.state, found.why) == ("failed", "stage total: the server is gone")
    assert [step.mark for step in found.steps] == ["waiting", "failed"]


def test_a_run_that_failed_before_its_plan_was_frozen_is_listed(tmp_path: Path) -> None:
    write_failure(tmp_path / "runs/full/smoke/s1", Failure("", "its process was ended by SIGKILL"))
    found = state(tmp_path)
    assert (found.run, found.state, found.steps) == ("full/smoke/s1", "failed", ())


def test_a_run_whose_result_counts_is_finished_whatever_a_later_attempt_came_to(arms: Path) -> None:
    folder = arms / "runs/full/smoke/s0"
    write_failure(folder, Failure("", "no such judge"))
    found = {run.run: run for run in status(arms)}["full/smoke/s0"]
    assert found.state == "finished"
    assert found.why == "a later attempt failed, and the result of the one before counts: no such judge"
    shutil.rmtree(min(arms.glob("store/overlap/*/")))
    found = {run.run: run for run in status(arms)}["full/smoke/s0"]
    assert (found.state, found.why) == ("failed", "no such judge")


def test_a_result_whose_stage_was_removed_or_rebuilt_is_stale(arms: Path) -> None:
    shutil.rmtree(min(arms.glob("store/overlap/*/")))
    found = {run.run: run for run in status(arms)}
    assert found["full/smoke/s0"].state == "stale"
    assert "overlap removed, damaged or rebuilt since" in found["full/smoke/s0"].why
    (record,) = arms.glob("store/pairs/*/record.json")
    rewritten(record, lambda content: content.update(build="0" * 12))
    marks = {step.step: step.mark for step in status(arms)[0].steps}
    assert (marks["pairs"], marks["draft"], marks["overlap"]) == ("stale", "done", "stale")


def test_six_arms_take_a_line_each_and_are_the_same_as_json(sweep: Path) -> None:
    done = finished(sweep, "status")
    lines = [line for line in done.out.split("\n") if "/smoke/s0" in line]
    assert len(lines) == 6
    assert max(map(len, done.out.split("\n"))) <= 80
    assert lines[0].split() == ["●" * 19, "full/smoke/s0", "finished"]
    found: list[dict[str, Any]] = json.loads(finished(sweep, "status", "--json").out)
    assert [run["state"] for run in found] == ["finished"] * 6
    assert found[0]["steps"][0] == {"step": "pairs", "mark": "done", "where": None}


def test_a_stage_has_one_column_in_all_runs(capfd: pytest.CaptureFixture[str]) -> None:
    def run(name: str, *stages: str) -> RunState:
        steps = tuple(StepState(stage, "waiting" if stage == "train" else "done") for stage in stages)
        return RunState(run=name, state="finished", steps=steps, at_work=None, why="")

    long = "full+source.path=a_file_with_a_long_name.jsonl+source=jsonl+search=single_pass"
    shown = [
        run("short/s0", "pairs", "train", "grade"),
        run(f"{long}/smoke/s1", "pairs", "draft", "refine", "train", "grade"),
    ]
    terminal.status(shown, Path("outputs"))
    out = capfd.readouterr().out
    lines = out.splitlines()
    assert next(line for line in lines if "short/s0" in line).split()[0] == "●··○●"
    assert next(line for line in lines if "full+source" in line).split()[0] == "●●●○●"
    assert "· not in this run" in out
    assert "…" not in out
    assert max(map(len, lines)) <= 80
    assert "/smoke/s1" in out, "the end of a name tells seeds apart"
