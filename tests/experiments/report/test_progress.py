"""The progress of a run takes a line per stage, and one for all stages that the store holds."""

import io
import time
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
    progress = Progress("full/smoke/s0", 14)
    progress.began = time.monotonic() - 100
    progress.advance("verdicts (score 6.43, 128 in flight, $10.12)", 500, 12345)
    shown.print(progress.bars.get_renderable())
    (bar,) = text.getvalue().splitlines()
    assert bar.startswith("verdicts (score 6.43, 128 in flight, $10.12) ")
    assert "500/12345" in bar
    assert " 5/s " in bar
    assert "…" not in bar
