"""The progress of a run takes a line per stage, and one for all stages that the store holds."""

from dataclasses import dataclass
from pathlib import Path

import pytest

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
