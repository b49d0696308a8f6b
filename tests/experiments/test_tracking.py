"""What goes to W&B, without W&B."""

from dataclasses import replace

import pytest

from experiments.config import compose_plans, experiment_from
from experiments.experiment import Experiment
from experiments.tracking import Silent, open_tracking, scalars, tags_of


@pytest.fixture(scope="module")
def x() -> Experiment:
    (plan,) = compose_plans(["scale=smoke", "tracking=silent"], multirun=False)
    return experiment_from(plan)


def test_tags_name_the_arm_and_the_scale_and_fit(x: Experiment) -> None:
    assert tags_of(x) == ["arm:full", "scale:smoke", "baseline"]
    assert max(map(len, tags_of(replace(x, name="full+" + "b" * 70)))) == 64


def test_metrics_are_flat_numbers_and_a_withheld_headline_is_absent() -> None:
    measure = {"name": "writing/quality", "value": None, "mean_of_scored": 4.0, "coverage": 0.5}
    flat = scalars({"rows": 3, "dropped": {"too_long": 2}, "score": None, "measures": [measure]})
    assert flat == {
        "rows": 3,
        "dropped/too_long": 2,
        "writing/quality/coverage": 0.5,
        "writing/quality/of_scored": 4.0,
    }


def test_silent_tracking_starts_nothing(x: Experiment) -> None:
    tracker = open_tracking(x, {}, {})
    assert type(tracker) is Silent
    assert tracker.where is None
