"""Two runs side by side, and only what differs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from experiments.history.environment import Environment, Moved, moved
from experiments.store.provenance import Hardware, Provenance
from tests.fakes.commands import finished, reer
from tests.fakes.runs import rewritten, stage_folder


def test_what_an_arm_changed_is_shown_from_its_configuration_to_its_scores(sweep: Path) -> None:
    done = finished(sweep, "diff", "full", "short_trajectories")
    for words in (
        "trajectory.cut_quantile: null -> 0.5",
        "bytes of stages, by build",
        "thinking words",
        "writing/quality",
        "the same bytes: pairs, draft, refine, filter",
    ):
        assert words in done.text, words
    assert "writing/length" not in done.text, "it is the same in both"
    assert "environment" not in done.text, "one machine made both"
    assert max(map(len, done.out.split("\n"))) <= 80


def test_a_stage_that_one_run_does_not_have_is_a_dash(sweep: Path) -> None:
    found = json.loads(finished(sweep, "diff", "full", "no_synthetic_data", "--json").out)
    builds = {pair["step"]: (pair["a"], pair["b"]) for pair in found["steps"]}
    assert builds["refine"][1] is None
    assert None not in builds["train"]
    assert "refine – " not in finished(sweep, "diff", "full", "no_synthetic_data").text


def test_what_made_two_runs_differs_by_stage(arms: Path) -> None:
    def elsewhere(record: dict[str, Any]) -> None:
        record["provenance"].update(git="abcdef123456", changes=None)
        record["servers"] = ["qwen at http://host:8000"]

    rewritten(stage_folder(arms, "short_trajectories/smoke/s0", "train") / "record.json", elsewhere)
    found = json.loads(finished(arms, "diff", "full", "short_trajectories", "--json").out)
    moved = {move["what"]: (move["now"], move["steps"]) for move in found["moved"]}
    assert moved == {"code": ("abcdef123456", ["train"]), "servers": ("qwen at http://host:8000", ["train"])}


def test_equal_runs_do_not_differ_and_an_unfinished_one_is_compared_as_far_as_it_is(arms: Path) -> None:
    assert "do not differ" in finished(arms, "diff", "full", "full/smoke/s0").text
    folder = arms / "runs/short_trajectories/smoke/s0"
    (folder / "result.json").unlink()
    shutil.rmtree(min(arms.glob("store/train/*/")))
    found = json.loads(finished(arms, "diff", "full", "short_trajectories", "--json").out)
    assert found["configuration"]
    assert {pair["b"] for pair in found["scores"]} == {None}
    text = finished(arms, "diff", "full", "short_trajectories").text
    assert "short_trajectories/smoke/s0 has not finished" in text
    assert "writing/quality" not in text, "no table of scores that one side cannot have"
    assert reer(arms, "diff", "full", "shortt_trajectories").code == 2


MACHINE = Hardware("EPYC", 8, ("H100", "H100"))


def environment(git: str, hardware: Hardware | None = MACHINE, changes: str | None = None) -> Environment:
    return Environment(Provenance(git, "3.11", {"torch": "2"}, "Linux", changes, hardware))


def test_a_difference_is_listed_once_with_all_its_stages() -> None:
    pair = (environment("a"), environment("b"))
    assert moved({"train": pair, "render": pair}) == (Moved("code", "a", "b", ("train", "render")),)
    assert moved({"train": (environment("a"), environment("a"))}) == ()


def test_uncommitted_changes_of_one_commit_are_told_apart() -> None:
    (found,) = moved({"train": (environment("a-dirty", changes="1"), environment("a-dirty", changes="2"))})
    assert (found.before, found.now) == ("a-dirty (1)", "a-dirty (2)")


def test_a_branch_of_a_model_that_moved_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "models--owner--name/refs"
    refs.mkdir(parents=True)
    made = replace(environment("a"), revisions={"owner/name@main": "1111"})
    assert made.here().facts()["model owner/name@main"] == "1111"
    (refs / "main").write_text("2222")
    found = {move.what: (move.before, move.now) for move in moved({"train": (made, made.here())})}
    assert found["model owner/name@main"] == ("1111", "2222")


def test_hardware_that_was_not_noted_is_no_hardware() -> None:
    found = {move.what: move.before for move in moved({"train": (environment("a", None), environment("a"))})}
    assert found == dict.fromkeys(("processor", "processors", "GPUs"), "not recorded")
