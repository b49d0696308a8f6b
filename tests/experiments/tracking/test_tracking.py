"""What goes to W&B, without W&B."""

from collections.abc import Mapping

import pytest

from experiments.config import compose_plans, experiment_from
from experiments.experiment import Experiment
from experiments.tracking.client import wandb_calls
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
