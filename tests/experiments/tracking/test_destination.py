"""Where a run is mirrored to: our configuration, then W&B's variables, then a default."""

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.config.compose import compose_plans
from experiments.config.parts import experiment_from
from experiments.experiment import Experiment
from experiments.tracking.destination import ANSWER_SECONDS, answers, destination

KEY = {"WANDB_API_KEY": "k"}
THEIRS = {
    "WANDB_PROJECT": "p",
    "WANDB_ENTITY": "e",
    "WANDB_RUN_GROUP": "g",
    "WANDB_TAGS": "one, two,",
    "WANDB_MODE": "offline",
}


@pytest.fixture(scope="module")
def exp() -> Experiment:
    (plan,) = compose_plans(["scale=smoke"], multirun=False)
    return experiment_from(plan)


def with_tracking(exp: Experiment, **fields: Any) -> Experiment:
    return replace(exp, tracking=replace(exp.tracking, **fields))


def test_defaults_need_no_variable(exp: Experiment) -> None:
    to = destination(exp, {})
    assert (to.mode, to.project, to.entity, to.group) == ("offline", "reer-ablations", None, "smoke")
    assert to.tags == ("arm:full", "scale:smoke", "baseline")


def test_variables_of_wandb_stand_above_defaults(exp: Experiment) -> None:
    to = destination(exp, {**KEY, **THEIRS})
    assert (to.mode, to.project, to.entity, to.group) == ("offline", "p", "e", "g")
    assert to.tags == ("arm:full", "scale:smoke", "baseline", "one", "two")


def test_the_command_line_stands_above_variables(exp: Experiment) -> None:
    ours = with_tracking(exp, mode="online", project="mine", entity="me", study="s")
    to = destination(ours, {**KEY, **THEIRS})
    assert (to.mode, to.project, to.entity, to.group) == ("online", "mine", "me", "s")


@pytest.mark.parametrize(
    ("mode", "variables", "wanted"),
    [
        ("auto", {}, "offline"),
        ("auto", KEY, "online"),
        ("auto", {**KEY, "WANDB_MODE": "offline"}, "offline"),
        ("auto", {**KEY, "WANDB_MODE": "dryrun"}, "offline"),
        ("auto", {"WANDB_MODE": "online"}, "offline"),
        ("auto", {**KEY, "WANDB_MODE": "shared"}, "online"),
        ("auto", {**KEY, "WANDB_MODE": "disabled"}, "silent"),
        ("auto", {**KEY, "WANDB_DISABLED": "true"}, "silent"),
        ("auto", {**KEY, "WANDB_MODE": "onlin"}, "online"),
        ("silent", KEY, "silent"),
        ("offline", KEY, "offline"),
        ("online", {**KEY, "WANDB_MODE": "disabled"}, "online"),
        ("online", {}, "offline"),
    ],
)
def test_the_mode_never_asks_for_a_key(
    exp: Experiment, mode: str, variables: Mapping[str, str], wanted: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert destination(with_tracking(exp, mode=mode), variables).mode == wanted
    if variables.get("WANDB_MODE") == "onlin":
        assert "did you mean online?" in caplog.text
    if wanted == "offline" and variables.get("WANDB_MODE") == "online":
        assert "there is no key" in caplog.text


def test_tags_fit_into_what_wandb_takes(exp: Experiment) -> None:
    assert max(map(len, destination(replace(exp, name="full+" + "b" * 70), {}).tags)) == 64


def test_a_server_that_refuses_is_remembered_for_ten_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        began = time.monotonic()
        assert not answers(tmp_path)
        kept = tmp_path / "wandb" / "unreachable.json"
        entry = json.loads(kept.read_text())
        assert entry["until"] == pytest.approx(time.time() + 600, abs=30)
        unused.listen()  # it would be waited for now
        began = time.monotonic()
        assert not answers(tmp_path)
        assert time.monotonic() - began < 1
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1/another")
    kept.write_text(json.dumps({**entry, "until": 0}))
    assert not answers(tmp_path)


def test_a_server_that_never_replies_costs_seconds_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert not answers(tmp_path)
        assert time.monotonic() - began < ANSWER_SECONDS + 5
    assert "`reer sync` sends it" in caplog.text
