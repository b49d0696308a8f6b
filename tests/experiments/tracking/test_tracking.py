"""What goes to W&B, without W&B."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.experiment import Experiment
from experiments.tracking.wandb_run import FailSafeTracker, NullTracker, Seen, open_tracking, scalars, tags_of
from tests.fakes.plans import compose


@pytest.fixture(scope="module")
def x() -> Experiment:
    return compose("scale=smoke", "tracking=silent")


def test_tags_name_the_arm_and_the_scale_and_fit(x: Experiment) -> None:
    assert tags_of(x) == ["arm:full", "scale:smoke", "baseline"]
    assert max(map(len, tags_of(replace(x, name="full+" + "b" * 70)))) == 64


def test_metrics_are_flat_numbers_and_a_withheld_headline_is_absent() -> None:
    measure = {"benchmark": "writing", "metric": "quality", "value": None, "mean_of_scored": 4.0, "coverage": 0.5}
    flat = scalars({"rows": 3, "dropped": {"too_long": 2}, "score": None, "measures": [measure]})
    assert flat == {
        "rows": 3,
        "dropped/too_long": 2,
        "writing/quality/coverage": 0.5,
        "writing/quality/of_scored": 4.0,
    }


def test_silent_tracking_starts_nothing(x: Experiment) -> None:
    tracker = open_tracking(x, {}, {})
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
            raise ConnectionResetError("Connection lost")


def test_a_tracker_that_dies_is_told_once_and_the_run_is_no_longer_tracked(caplog: pytest.LogCaptureFixture) -> None:
    tracker = FailSafeTracker(Breaks(rows=2))
    for step in range(6):
        tracker.curve("train", {"step": step})
        assert tracker.where == ("somewhere" if step < 2 else None)
    tracker.finish(0)
    assert sum("W&B failed" in line for line in caplog.messages) == 1


def test_a_mistake_of_our_own_is_not_hidden_by_the_fuse() -> None:
    class Wrong(NullTracker):
        def curve(self, stage: str, row: Mapping[str, float]) -> None:
            raise KeyError("loss")

    with pytest.raises(KeyError):
        FailSafeTracker(Wrong()).curve("train", {})


def test_what_a_run_has_seen_is_known_to_the_next_process_and_by_no_other_run(tmp_path: Path) -> None:
    Seen(tmp_path / "mirrored.json", "offline a/b/1").add("refine", "f-1")
    again = Seen(tmp_path / "mirrored.json", "offline a/b/1")
    assert (again.has("refine", "f-1"), again.has("refine", "f-2"), again.has("grade", "f-1")) == (True, False, False)
    assert not Seen(tmp_path / "mirrored.json", "online a/b/1").has("refine", "f-1")
