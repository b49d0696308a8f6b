"""Why a stage would be computed: the field that the nearest stored result does not share."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.history.explain import Explanation, explain
from experiments.history.plans import changed
from experiments.store.records import again_mark
from experiments.store.step import Step, Steps
from reer.errors import InputError
from tests.fakes.commands import finished, reer
from tests.fakes.stages import a_store, changing, lost, numbers, total


def steps_of(*steps: Step) -> Steps:
    return {step.name: step for step in steps}


def explained(root: Path, *steps: Step, before: dict[str, str] | None = None) -> list[Explanation]:
    return explain(steps_of(*steps), a_store(root), before or {})


def test_a_stored_result_is_a_hit(tmp_path: Path) -> None:
    a_store(tmp_path).build(numbers(count=2))
    assert explained(tmp_path, numbers(count=2)) == [Explanation("numbers", True)]


def test_a_stage_without_any_result_was_never_computed(tmp_path: Path) -> None:
    first, second = explained(tmp_path, numbers(count=2), total(numbers=numbers(count=2)))
    assert first.why == "never computed here"
    assert second.why == "never computed here; reads numbers"


def test_the_field_that_differs_from_the_nearest_result_is_named_with_both_values(tmp_path: Path) -> None:
    a_store(tmp_path).build(total(numbers=numbers(count=2), scale=2.0))
    (found,) = explained(tmp_path, total(numbers=numbers(count=2), scale=3.0))
    assert found.why == "scale: 2.0 -> 3.0"
    assert found.nearest == total(numbers=numbers(count=2), scale=2.0).fingerprint


def test_a_new_version_of_a_stage_is_a_field_like_any_other(tmp_path: Path) -> None:
    step = numbers(count=2)
    a_store(tmp_path).build(step)
    (found,) = explained(tmp_path, replace(step, stage=replace(step.stage, version=2)))
    assert found.why == "version: 1 -> 2"


def test_a_stage_that_only_reads_a_miss_names_it(tmp_path: Path) -> None:
    a_store(tmp_path).build(total(numbers=numbers(count=2)))
    first, second = explained(tmp_path, numbers(count=3), total(numbers=numbers(count=3)))
    assert first.why == "count: 2 -> 3"
    assert second.why == "reads numbers"


def test_the_result_of_the_run_itself_is_the_one_to_compare_with(tmp_path: Path) -> None:
    for count in (3, 9):
        a_store(tmp_path).build(numbers(count=count))
    (found,) = explained(tmp_path, numbers(count=4), before={"numbers": numbers(count=9).fingerprint})
    assert found.why == "count: 9 -> 4"


def test_a_result_that_was_removed_is_said_to_be_gone(tmp_path: Path) -> None:
    step = numbers(count=3)
    a_store(tmp_path).build(step)
    lost(a_store(tmp_path), step)
    (found,) = explained(tmp_path, step, before={"numbers": step.fingerprint})
    assert found.why == "its result is not in the store any more"


def test_an_input_that_was_rebuilt_is_named_with_its_builds(tmp_path: Path) -> None:
    step = total(numbers=changing(count=2))
    first = a_store(tmp_path).build(step.inputs["numbers"])
    a_store(tmp_path).build(step)
    lost(a_store(tmp_path), step.inputs["numbers"])
    second = a_store(tmp_path).build(step.inputs["numbers"])
    (found,) = explained(tmp_path, step)
    assert found.why == f"its input numbers was rebuilt: build {first.build} -> {second.build}"


def test_a_damaged_result_and_one_to_compute_again_are_misses(tmp_path: Path) -> None:
    step = numbers(count=2)
    path = a_store(tmp_path).build(step).path
    again_mark(path.parent, step.fingerprint).mkdir()
    assert explained(tmp_path, step)[0].why == "rerun --fresh was asked to compute it again"
    again_mark(path.parent, step.fingerprint).rmdir()
    (path / "rows.jsonl").unlink()
    assert "is missing" in explained(tmp_path, step)[0].why


def test_a_field_changed_in_a_frozen_plan_is_explained_by_stage(sweep: Path) -> None:
    done = finished(sweep, "explain", "full/smoke/s0", "search.max_edits=3")
    assert "refine miss search.max_edits: 10 -> 3" in done.text
    assert "filter miss reads refine" in done.text
    assert "hit: pairs, draft" in done.text
    assert max(map(len, done.out.split("\n"))) <= 80
    assert "every stage hit" in finished(sweep, "explain", "full").text


def test_an_experiment_that_is_composed_is_explained_as_json(sweep: Path) -> None:
    found = json.loads(finished(sweep, "explain", "experiment=full", "scale=smoke", "train.epochs=3", "--json").out)
    misses = {step["step"]: step for step in found if not step["hit"]}
    assert misses["train"]["why"] == "recipe.epochs: 1.0 -> 3.0"
    assert misses["termination"]["why"] == "reads train"
    assert "render" not in misses


def test_a_run_whose_stage_was_removed_is_explained(arms: Path) -> None:
    (path,) = arms.glob("store/held_out/*/")
    shutil.rmtree(path)
    assert "held_out miss its result is not in the store any more" in finished(arms, "explain", "full").text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.max_edit=3", "did you mean max_edits"),
        ("search=single_pass", "compose the experiment"),
        ("single_pass", "want KEY=VALUE"),
    ],
)
def test_what_a_frozen_plan_cannot_take_is_refused(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        changed({"search": {"max_edits": 10}}, [override])


def test_the_name_of_a_run_with_an_override_in_it_is_a_name(sweep: Path) -> None:
    assert "run 'full+search=single_pass'" in reer(sweep, "explain", "full+search=single_pass").text
