"""What W&B shows as the configuration of a run."""

import pytest

from experiments.config.compose import compose_plans
from experiments.config.parts import experiment_from
from experiments.pipeline import pipeline
from experiments.tracking.destination import destination
from experiments.tracking.settings import MOST_KEYS, settings_of
from tests.fakes.wandb_server import config_columns


def settings(*overrides: str) -> dict[str, object]:
    (plan,) = compose_plans(list(overrides), multirun=False)
    exp = experiment_from(plan)
    return settings_of(exp, plan, pipeline(exp), destination(exp, {}))


def test_runs_are_grouped_by_every_axis_of_an_ablation() -> None:
    shown = settings("scale=smoke", "search=single_pass", "trajectory=short", "seed=1")
    choices = shown["choices"]
    assert isinstance(choices, dict)
    assert (shown["arm"], shown["seed"], shown["scale"], shown["study"]) == (
        "full+search=single_pass+trajectory=short",
        1,
        "smoke",
        "smoke",
    )
    assert (choices["search"], choices["trajectory"], choices["benchmark"]) == ("single_pass", "short", "writing")
    assert {"reflection", "categories", "data", "match", "scorer", "student", "generator_model"} <= choices.keys()
    assert "search=single_pass" in str(shown["overrides"])


@pytest.mark.parametrize("scale", ["smoke", "paper"])
def test_at_most_120_columns_and_no_long_text(scale: str) -> None:
    shown = settings(f"scale={scale}", "experiment=short_trajectories")
    columns = list(config_columns(shown))
    assert len(columns) <= MOST_KEYS
    assert {"code.commit", "code.dirty", "env.torch", "hardware.gpu", "fingerprint.train"} <= set(columns)
    assert {"sha.taxonomy", "sha.prompts"} <= set(columns)
    assert not [key for key in columns if key.startswith(("taxonomy", "prompts"))]
