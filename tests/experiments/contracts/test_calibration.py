"""A sweep that holds controls says whether they came out as they must."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from evals.statistics.paired import Difference
from experiments.contracts.calibration import Control, calibration
from experiments.contracts.terms import Expectation
from experiments.report.compare import compare
from experiments.store.runs import Result
from tests.fakes.results import graded, measure, varied


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


LOWER_IS_BETTER, NO_RANGE = {"worst": 9.0, "best": 1.0}, {"worst": None, "best": None}


def said_of(expects: Expectation, *tested: tuple[float, float, dict[str, Any]]) -> tuple[str, ...]:
    """What is said of a control with a mean difference, a p-value and a range for each of its measures."""
    pairs = {
        f"writing/m{number}": (measure(3.0, f"writing/m{number}", **ends), Difference(mean=mean, items=9, p=p))
        for number, (mean, p, ends) in enumerate(tested)
    }
    return calibration([Control(name="c", expects=expects, tested=pairs)])


def test_worse_is_the_direction_of_the_worst_score() -> None:
    higher_is_better = {"worst": 1.0, "best": 9.0}
    found = ("Calibration: c is known to be worse and is found worse on writing/m1, writing/m2.",)
    lost = [(-1.0, 0.01, higher_is_better), (1.0, 0.01, LOWER_IS_BETTER)]
    assert said_of("worse", (-1.0, 0.01, NO_RANGE), *lost, (-1.0, 0.9, higher_is_better)) == found
    not_found = "is known to be worse and is not found worse on 2 measures: a loss like it cannot be seen here."
    assert said_of("worse", (1.0, 0.01, higher_is_better), (-1.0, 0.01, LOWER_IS_BETTER)) == (
        f"Calibration: c {not_found}",
    )
    assert "not found worse on 1 measure:" in said_of("worse", (-1.0, 0.01, {"worst": None, "best": 9.0}))[0]
    assert "not found worse on 1 measure:" in said_of("worse", (0.0, 0.01, higher_is_better))[0]


def test_a_repeated_baseline_that_differs_is_named_with_all_its_measures() -> None:
    said = "c repeats the baseline and yet differs on writing/m0, writing/m2: chance makes differences like it"
    assert said_of("same", (1.0, 0.01, {}), (1.0, 0.9, {}), (1.0, 0.01, {})) == (f"Calibration: {said}.",)
    assert said_of("same", (1.0, 0.9, {}), (1.0, 0.8, {})) == (
        "Calibration: c repeats the baseline and shows no difference on 2 measures.",
    )
    assert said_of("same") == ()
