"""The progress of a run takes a line per stage, and one for all stages that the store holds."""

import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from experiments.report.progress import Progress
from experiments.store.metrics import RowMetrics
from experiments.store.step import Artifact, StepName


@dataclass(frozen=True, kw_only=True)
class Counted(RowMetrics):
    """Rows, and a long remark on them."""

    def headline(self) -> str:
        return f"{self.rows} rows " + "and so on " * 20


def artifact(stage: str) -> Artifact[Counted]:
    return Artifact(stage=stage, path=Path(), fingerprint="f", build="b", metrics=Counted(rows=3))


def test_a_stage_is_one_line_and_those_in_the_store_are_a_paragraph(capfd: pytest.CaptureFixture[str]) -> None:
    found = [StepName(f"stage_{number}") for number in range(12)]
    with Progress("full/smoke/s0", 14) as progress:
        for name in found:
            progress.ended(name, artifact(name.stage), cached=True)
        progress.started()
        progress.ended(StepName("train"), artifact("train"), cached=False)
        progress.ended(StepName("grade", "writing"), artifact("grade"), cached=True)
    head, *lines = capfd.readouterr().out.rstrip("\n").split("\n")
    assert head == "full/smoke/s0  14 stages"
    assert lines[0].split()[0] == "cached"
    paragraph = " ".join(lines[:-2]).replace("cached", "")
    assert paragraph.split() == ", ".join(map(str, found)).split()
    assert lines[-2].split()[1:5] == ["s", "train", "3", "rows"]
    assert lines[-1].split() == ["cached", "grade:writing"]
    assert max(map(len, lines)) <= 80


def test_a_live_bar_shows_score_calls_money_rate_and_count_in_80_columns() -> None:
    text = io.StringIO()
    shown = Console(file=text, width=80, force_terminal=True, color_system=None)
    now = [50.0]
    progress = Progress("full/smoke/s0", 14, lambda: now[0])
    for seconds, verdicts in ((60.0, 1000), (70.0, 2180)):
        now[0] = seconds
        progress.advance("verdicts (score 6.43, 128 in flight, $10.12)", verdicts, 12345)
    shown.print(progress.bars.get_renderable())
    (bar,) = text.getvalue().splitlines()
    assert bar.startswith("verdicts (score 6.43, 128 in flight, $10.12) ")
    assert "2180/12345" in bar
    assert " 118/s " in bar, "what was done before the first count came from the store"
    assert "…" not in bar


def test_without_a_terminal_a_rate_and_the_remaining_time_stand_where_something_is_done(
    capfd: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    progress = Progress("full/smoke/s0", 14, lambda: now[0])
    progress.started()
    for seconds, done in ((60.0, 2), (80.0, 12)):  # a model is loaded before the first count
        now[0] = seconds
        progress.advance("tokens of a batch (0 of 2 rows ended)", done, 40)
    first, second = capfd.readouterr().out.splitlines()
    assert first.strip() == "tokens of a batch (0 of 2 rows ended) 2/40"
    assert second.strip() == "tokens of a batch (0 of 2 rows ended) 12/40, 0.5/s, about 56 s left"


def test_the_remaining_time_is_that_of_what_is_counted_now() -> None:
    now = [0.0]
    progress = Progress("full/smoke/s0", 14)
    progress.bars.get_time = lambda: now[0]
    for second in range(0, 100, 10):
        now[0] = float(second)
        progress.advance("tokens of a batch", 10 * second, 1000)
    assert progress.task is not None
    assert progress.bars.tasks[0].time_remaining == 10
    progress.advance("drafts", 0, 24)
    assert progress.bars.tasks[0].time_remaining is None, "nothing is known of drafts yet"
    for at, drafts in ((100.0, 12), (110.0, 18)):
        now[0] = at
        progress.advance("drafts", drafts, 24)
    assert progress.bars.tasks[0].time_remaining == 10
