"""What goes to W&B, without W&B."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from evals.benchmark import Measure
from experiments.config import compose_plans, experiment_from
from experiments.experiment import Experiment
from experiments.stages.data import PublicMetrics
from experiments.stages.evaluation import HarnessMetrics
from experiments.store.step import StepName
from experiments.tracking.tracker import FailSafeTracker, NullTracker, TrackingFailed
from experiments.tracking.wandb_run import SyncLedger, open_tracking, scalars, tags_of, wandb_calls


@pytest.fixture(scope="module")
def exp() -> Experiment:
    (plan,) = compose_plans(["scale=smoke", "tracking=silent"], multirun=False)
    return experiment_from(plan)


def test_tags_name_the_arm_and_the_scale_and_fit(exp: Experiment) -> None:
    assert tags_of(exp) == ["arm:full", "scale:smoke", "baseline"]
    assert max(map(len, tags_of(replace(exp, name="full+" + "b" * 70)))) == 64


def test_metrics_are_flat_numbers_and_a_withheld_headline_is_absent() -> None:
    assert scalars(PublicMetrics(rows=3, dropped={"too_long": 2})) == {"rows": 3, "dropped/too_long": 2}
    withheld = Measure(
        benchmark="writing", metric="quality", value=None, mean_of_scored=4.0, low=1.0, high=9.0, scored=1, total=2
    )
    assert scalars(HarnessMetrics(measures=(withheld,))) == {
        "writing/quality/coverage": 0.5,
        "writing/quality/of_scored": 4.0,
    }


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


def test_the_ledger_outlives_the_process_and_belongs_to_one_run(tmp_path: Path) -> None:
    refine, grade = StepName("refine"), StepName("grade", "writing")
    SyncLedger(tmp_path / "mirrored.json", "offline a/b/1").add(refine, "f-1")
    again = SyncLedger(tmp_path / "mirrored.json", "offline a/b/1")
    assert (again.has(refine, "f-1"), again.has(refine, "f-2"), again.has(grade, "f-1")) == (True, False, False)
    assert not SyncLedger(tmp_path / "mirrored.json", "online a/b/1").has(refine, "f-1")
