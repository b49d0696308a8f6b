"""A sweep that holds controls says whether they came out as they must."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.report.compare import compare
from experiments.store.runs import Result
from tests.fakes.results import graded, varied


def control(root: Path, name: str, by: float, contract: dict[str, Any]) -> Result:
    """A run whose plan states this contract, better or worse than the baseline."""
    run = graded(root, name, varied(by, 0.5 * (name != "full")))
    folder = root / "runs" / name / "smoke" / "s0"
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps({"contract": contract, "composed_of": {"choices": {}}}))
    return replace(run, folder=folder, identity={**run.identity, "search": name})


def cautions(root: Path, again: float, worse: float) -> str:
    """What a comparison says first of a repeated baseline and of an arm that is known to be worse."""
    runs = [
        control(root, "full", 0.0, {"touches": []}),
        control(root, "full_again", again, {"touches": ["search"], "expects": "same"}),
        control(root, "mismatched_thinking", worse, {"touches": ["search"], "expects": "worse"}),
        control(root, "other", 1.0, {"touches": ["search"]}),
    ]
    return compare(runs)[0].cautions[0]


def test_controls_that_come_out_as_they_must_are_one_line(tmp_path: Path) -> None:
    assert cautions(tmp_path, again=0.01, worse=-2.0) == (
        "Calibration: full_again repeats the baseline and shows no difference on 1 measure; "
        "mismatched_thinking is known to be worse and is found worse on writing/quality."
    )


def test_controls_that_do_not_are_named(tmp_path: Path) -> None:
    assert cautions(tmp_path, again=2.0, worse=0.01) == (
        "Calibration: full_again repeats the baseline and yet differs on writing/quality: chance makes differences "
        "like it; mismatched_thinking is known to be worse and is not found worse on 1 measure: a loss like it cannot "
        "be seen here."
    )


def test_a_control_that_is_better_is_not_found_worse(tmp_path: Path) -> None:
    assert "not found worse" in cautions(tmp_path, again=0.01, worse=2.0)


def test_arms_with_equal_scores_say_nothing(tmp_path: Path) -> None:
    full = control(tmp_path, "full", 0.0, {"touches": []})
    again = replace(control(tmp_path, "full_again", 0.0, {"touches": ["search"], "expects": "same"}), steps=full.steps)
    assert compare([full, again])[0].cautions == ()
