"""`reer agreement`: a judge's scores beside grades by people."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evals.benchmark import Response
from experiments.store.step import StepName
from reer.files import write_rows
from tests.fakes.commands import finished, reer
from tests.fakes.results import finish, generated, graded, step
from tests.fakes.stages import recorded


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A finished run of twelve answers whose scores are their numbers."""
    folder = tmp_path / "answers"
    folder.mkdir()
    write_rows(folder / "rows.jsonl", [Response.of_text(f"i{n}", f"answer {n}") for n in range(12)])
    recorded(folder)
    run = graded(tmp_path, "full", {f"i{n}": 1.0 + n / 2 for n in range(12)})
    finish(replace(run, steps={**run.steps, StepName("generate", "writing"): step(generated(0), folder)}), tmp_path)
    return tmp_path


def labels(root: Path, *rows: tuple[str, float, str]) -> str:
    path = root / "labels.jsonl"
    write_rows(path, [{"benchmark": "writing", "item": i, "grade": g, "answer": a} for i, g, a in rows])
    return str(path)


def test_the_agreement_of_each_measure_is_shown_and_every_label_counted(root: Path) -> None:
    known = [(f"i{n}", float(n // 3), f"answer {n}") for n in range(10)]
    path = labels(root, *known, ("i11", 1.0, "not this one"), ("j", 1.0, "answer"))
    shown = finished(root, "agreement", "full", "--labels", path).text
    assert "writing/quality 10 0.96 [0.80, 0.99] 0.89 [0.72, 0.96] 0.89 [0.63, 0.97]" in shown
    assert "writing: 10 answers with a label, 2 without; labels left out: " in shown
    assert "another answer 1" in shown
    assert "no such item 1" in shown
    read = json.loads(finished(root, "agreement", "full", "--labels", path, "--json").out)
    assert read["measures"]["writing/quality"]["icc"]["value"] == pytest.approx(0.89, abs=0.005)
    assert read["benchmarks"]["writing"]["unlabelled"] == 2


def test_labels_of_nothing_here_are_an_error_that_says_why(root: Path) -> None:
    done = reer(root, "agreement", "full", "--labels", labels(root, ("i1", 2.0, "another text")))
    assert done.code == 2
    assert "is about an answer of full/smoke/s0 (writing: another answer 1)" in done.text


def test_a_run_that_does_not_exist_is_named_with_the_nearest(root: Path) -> None:
    done = reer(root, "agreement", "ful", "--labels", labels(root, ("i1", 2.0, "answer 1")))
    assert done.code == 2
    assert "did you mean full" in done.text
