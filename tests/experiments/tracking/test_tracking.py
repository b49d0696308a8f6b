"""What goes to W&B, without W&B."""

from collections.abc import Mapping

import pytest

from experiments.config.compose import compose_plans
from experiments.config.parts import experiment_from
from experiments.experiment import Experiment
from experiments.tracking.client import wandb_calls
from experiments.tracking.curves import Curves
from experiments.tracking.tracker import FailSafeTracker, NullTracker, TrackingFailed
from experiments.tracking.wandb_run import open_tracking


@pytest.fixture(scope="module")
def exp() -> Experiment:
    (plan,) = compose_plans(["scale=smoke", "tracking=silent"], multirun=False)
    return experiment_from(plan)


def test_silent_tracking_starts_nothing(exp: Experiment) -> None:
    tracker = open_tracking(exp, {}, {})
    assert type(tracker) is NullTracker
    assert tracker.where is None


class Breaks(NullTracker):
    """A tracker whose connection is lost after some rows."""

    where = "somewhere"

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def curve(self, stage: str, row: Mapping[str, float]) -> None:
        self.rows -= 1
        if self.rows < 0:
            raise TrackingFailed("ConnectionResetError: Connection lost")


def test_a_tracker_that_fails_is_reported_once_and_the_run_is_no_longer_tracked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracker = FailSafeTracker(Breaks(rows=2))
    for step in range(6):
        tracker.curve("train", {"step": step})
        assert tracker.where == ("somewhere" if step < 2 else None)
    tracker.finish(0)
    assert sum("W&B failed" in line for line in caplog.messages) == 1


@pytest.mark.parametrize("error", [KeyError, ValueError, RuntimeError, OSError])
def test_an_error_of_our_own_is_not_hidden(error: type[Exception]) -> None:
    class Wrong(NullTracker):
        def curve(self, stage: str, row: Mapping[str, float]) -> None:
            raise error("loss")

    with pytest.raises(error):
        FailSafeTracker(Wrong()).curve("train", {})


def test_an_error_of_wandb_is_reported_as_a_failure_of_tracking() -> None:
    with pytest.raises(TrackingFailed, match="ConnectionResetError: lost"), wandb_calls():
        raise ConnectionResetError("lost")


class Client:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def define_metric(self, name: str, **_: object) -> None: ...

    def log(self, data: dict[str, float]) -> None:
        self.rows.append(data)


def test_rows_of_progress_are_sent_at_a_bounded_rate_and_the_last_one_always() -> None:
    client = Client()
    curves = Curves(client, [])
    for done in range(1, 50):
        curves.add("generate:writing", {"done": done, "tokens_per_second": 1.0})
    curves.end("generate:writing")
    assert [row["generate/writing/done"] for row in client.rows] == [1, 49]
    for step in range(1, 5):
        curves.add("train", {"step": step, "loss": 1.0})
    assert [row["train/step"] for row in client.rows[2:]] == [1, 2, 3, 4]


def test_rows_that_have_arrived_are_not_sent_again_and_gaps_are_filled_from_the_record() -> None:
    client = Client()
    curves = Curves(client, [{"train/step": step} for step in (1, 2, 4)])
    for step in range(3, 7):
        curves.add("train", {"step": step})
    for step in range(1, 7):
        curves.fill("train", {"step": step})
    assert [row["train/step"] for row in client.rows] == [5, 6, 3]
