"""Mistakes between a configuration and a machine are found before any model is loaded, for any runtime."""

import json
from itertools import product
from pathlib import Path

import pytest

from experiments.choices import CONF
from experiments.config import compose_plans, experiment_from
from experiments.doctor import informational, require, required
from experiments.experiment import Experiment
from experiments.pipeline import pipeline
from experiments.plan import training_cost_of, training_set_size
from reer.errors import InputError

TRAINS = sorted(path.stem for path in (CONF / "train").glob("*.yaml"))
RUNTIMES = sorted(path.stem for path in (CONF / "runtime").glob("*.yaml"))


def one(*overrides: str) -> Experiment:
    (plan,) = compose_plans(list(overrides), multirun=False)
    return experiment_from(plan)


def failed(*overrides: str) -> list[str]:
    return [check.what for check in required(one(*overrides)) if not check.ok]


@pytest.mark.parametrize(("train", "runtime"), list(product(TRAINS, RUNTIMES)))
def test_every_training_on_every_runtime_composes_plans_and_has_an_estimate(train: str, runtime: str) -> None:
    exp = one("scale=paper", f"train={train}", f"runtime={runtime}")
    assert "train" in pipeline(exp)
    cost = training_cost_of(exp)
    assert cost is not None
    assert cost.steps > 0
    assert cost.device_gib > 0
    checks = list(required(exp))
    assert all(check.advice for check in checks if not check.ok)


def test_the_default_run_passes_every_check() -> None:
    exp = one("tracking=offline")
    require(exp)
    assert failed() == []
    assert {check.what for check in required(exp)} >= {"optimizer step", "attention kernel", "disk"}
    assert {check.what for check in informational(exp)} >= {"torch", "trl", "W&B", "benchmark writing"}


@pytest.mark.parametrize(
    ("overrides", "failing"),
    [
        (["scale=paper", "runtime=gpu"], "memory of a device"),
        (["scale=paper"], "attention kernel"),
        (["scale=paper"], "GPUs"),
        (["scale=paper"], "judge's key"),
        (["scale=paper", "runtime.parallelism.micro_batch=5"], "optimizer step"),
        (["scale=paper", "train=lora"], "sharding"),
        (["train.global_batch=3", "runtime.parallelism.micro_batch=2"], "optimizer step"),
    ],
)
def test_a_mistake_between_recipe_and_hardware_fails_a_check(
    overrides: list[str], failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert failing in failed(*overrides)
    with pytest.raises(InputError, match="wanted"):
        require(one(*overrides))


def test_the_papers_sizes_are_the_papers_steps() -> None:
    """37,000 rows, 3 epochs, batches of 96: about 1,156 steps (paper.md §4), a few more for each epoch's last batch."""
    exp = one("scale=paper")
    cost = training_cost_of(exp)
    assert cost is not None
    assert training_set_size(exp).rows == 37_000
    assert cost.steps == 1158
    assert cost.device_gib < 80


def test_an_arm_without_a_part_trains_on_less() -> None:
    assert training_set_size(one("scale=paper", "experiment=no_synthetic_data")).rows == 17_000


def test_only_a_judges_own_records_stand_in_for_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    given = ("scale=smoke", "judge=gpt_4o", f"runtime.judgements={tmp_path}")
    (tmp_path / "a.jsonl").write_text('{"judge": "another judge", "reply": "1"}\n')
    assert failed(*given) == ["judge's key"]
    with (tmp_path / "b.jsonl").open("w") as stream:
        stream.write(json.dumps({"judge": one(*given).judge.model_name, "reply": "1"}) + "\n")
    assert failed(*given) == []


def test_a_branch_of_a_data_set_passes_online_and_fails_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert failed("scale=smoke", "source=deepwriting") == ["source's revision"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert failed("scale=smoke", "source=deepwriting") == []
