"""What must hold before any model is loaded, on any runtime, is found on a machine that has none of it."""

from itertools import product

import pytest

from experiments.config import CONF, compose_plans, experiment_from
from experiments.doctor import looks, must_hold, require, training_cost_of, training_set_size
from experiments.experiment import Experiment
from experiments.pipeline import pipeline
from experiments.store.step import StepName
from reer.errors import InputError

TRAINS = sorted(path.stem for path in (CONF / "train").glob("*.yaml"))
RUNTIMES = sorted(path.stem for path in (CONF / "runtime").glob("*.yaml"))


def one(*overrides: str) -> Experiment:
    (plan,) = compose_plans(list(overrides), multirun=False)
    return experiment_from(plan)


def failed(*overrides: str) -> list[str]:
    return [check.what for check in must_hold(one(*overrides)) if not check.ok]


@pytest.mark.parametrize(("train", "runtime"), list(product(TRAINS, RUNTIMES)))
def test_every_training_on_every_runtime_composes_plans_and_is_reckoned(train: str, runtime: str) -> None:
    x = one("scale=paper", f"train={train}", f"runtime={runtime}")
    assert StepName("train") in pipeline(x)
    cost = training_cost_of(x)
    assert cost is not None
    assert cost.steps > 0
    assert cost.device_gib > 0
    checks = list(must_hold(x))
    assert all(check.advice for check in checks if not check.ok)


def test_the_default_run_lacks_nothing() -> None:
    x = one("tracking=offline")
    require(x)
    assert failed() == []
    assert {check.what for check in must_hold(x)} >= {"optimizer step", "attention kernel", "disk"}
    assert {check.what for check in looks(x)} >= {"torch", "trl", "W&B", "benchmark writing"}


@pytest.mark.parametrize(
    ("overrides", "lacking"),
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
def test_a_mistake_between_recipe_and_hardware_is_found(
    overrides: list[str], lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert lacking in failed(*overrides)
    with pytest.raises(InputError, match="wanted"):
        require(one(*overrides))


def test_the_papers_sizes_are_the_papers_steps() -> None:
    """37,000 rows, 3 epochs, batches of 96: about 1,156 steps (paper.md §4), a few more for each epoch's last batch."""
    x = one("scale=paper")
    cost = training_cost_of(x)
    assert cost is not None
    assert training_set_size(x).rows == 37_000
    assert cost.steps == 1158
    assert cost.device_gib < 80


def test_an_arm_without_a_part_trains_on_less() -> None:
    assert training_set_size(one("scale=paper", "experiment=no_synthetic_data")).rows == 17_000
