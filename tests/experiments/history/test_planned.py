"""After a run, planned and actual stand side by side."""

from pathlib import Path

from tests.fakes.commands import finished, reer


def test_a_finished_run_is_compared_with_its_plan_stage_by_stage(sweep: Path) -> None:
    done = finished(sweep, "plan", "--actual", "full/smoke/s0")
    rows = {cells[0]: cells[1:] for line in done.out.split("\n") if (cells := line.split())}
    assert {"draft", "refine", "train", "generate:writing", "grade:writing"} <= set(rows)
    assert rows["train"][-1] != "", "trained tokens are recorded"
    assert max(map(len, done.out.split("\n"))) <= 80


def test_an_override_beside_it_and_a_root_without_it_are_refused(tmp_path: Path) -> None:
    both = reer(tmp_path, "plan", "scale=smoke", "--actual", "full")
    assert both.code == 2
    assert "--actual" in both.err
    lone = reer(tmp_path, "plan", "--root", str(tmp_path))
    assert lone.code == 2
    assert "runtime.root=" in lone.err


def test_a_run_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = reer(tmp_path, "plan", "--actual", "full/smoke/s0")
    assert done.code == 2
    assert "does not exist" in done.err
