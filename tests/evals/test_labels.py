"""Grades by people: which rows are read, and which are about the answers of a run."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from evals.benchmark import Response
from evals.labels import Label, labelled, read_labels
from reer.errors import InputError

ANSWERS = [Response.read(f"i{n}", f"<think>x</think>\n\nanswer {n}", False, 1) for n in range(4)]


def file(folder: Path, *rows: object) -> Path:
    path = folder / "labels.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def row(item: str, grade: float, **more: str) -> dict[str, object]:
    return {"benchmark": "writing", "item": item, "grade": grade, **more}


def test_labels_of_other_answers_items_and_benchmarks_are_counted_not_used(tmp_path: Path) -> None:
    rows = (
        row("i0", 4, answer="answer 0", rater="ann"),
        row("i0", 5, answer=" answer 0\n", rater="ben"),
        row("i1", 2, answer_sha256=sha256(b"answer 1").hexdigest()[:16]),
        row("i2", 1, answer="another text"),
        row("i2", 1, answer_sha256="0" * 64),
        row("i9", 1, answer="answer 9"),
        row("i3", 1, answer="answer 3") | {"benchmark": "hellobench"},
    )
    found = labelled(read_labels(file(tmp_path, *rows)), "writing", ANSWERS)
    assert found.grades == {"i0": 4.5, "i1": 2.0}
    assert found.left_out == {"another answer": 2, "no such item": 1, "another benchmark": 1}
    assert found.unlabelled == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"labels\.jsonl:1: want a JSON object, got invalid JSON"),
        (row("i0", 1), r"labels\.jsonl:1: want either answer or answer_sha256"),
        (row("i0", 1, answer="a", answer_sha256="0" * 64), "want either answer or answer_sha256"),
        (row("i0", 1, answer_sha256="xyz"), r"labels\.jsonl:1: answer_sha256: String should match"),
        (row("i0", float("nan"), answer="a"), r"labels\.jsonl:1: grade: Input should be a finite number"),
        (row("i0", 1, answer="a", grades="2"), r"labels\.jsonl:1: grades: Unexpected keyword argument"),
        ("", r"labels\.jsonl has no rows"),
    ],
)
def test_a_row_that_is_no_label_is_refused(tmp_path: Path, line: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_labels(file(tmp_path, line))


def test_the_answer_is_compared_without_its_thinking() -> None:
    assert Label(benchmark="writing", item="i0", grade=1, answer="answer 0").is_of(ANSWERS[0])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--labels: .*none\.jsonl cannot be read"):
        read_labels(tmp_path / "none.jsonl")
