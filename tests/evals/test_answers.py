"""Answers made elsewhere: which rows are read, and which are refused with what to do."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evals.answers import AnswerSource
from evals.benchmark import Item
from experiments.store.fingerprint import encode
from experiments.store.runs import read_result
from reer.errors import InputError
from tests.fakes.commands import finished, reer

ITEMS = [
    Item(id=f"i{n}", prompt=f"Write about {what}.", language="en", category="c", length=None)
    for n, what in enumerate(("the sea", "a hill", "rain"))
]


def source(folder: Path, *rows: object) -> AnswerSource:
    lines = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path = folder / f"{abs(hash(lines))}.jsonl"
    path.write_text(lines, encoding="utf-8")
    return AnswerSource(name="file", path=str(path))


def test_answers_belong_to_items_by_id_or_prompt(tmp_path: Path) -> None:
    rows = source(
        tmp_path,
        {"prompt": "Write about rain.", "answer": "It rains.", "thinking": "What is rain?"},
        {"id": "i0", "answer": "<think>waves</think> The sea."},
    )
    found = rows.responses(ITEMS, ITEMS)
    assert [(r.item_id, r.thinking, r.answer) for r in found.responses] == [
        ("i0", "waves", "The sea."),
        ("i2", "What is rain?", "It rains."),
    ]
    assert (found.missing, found.beside) == (1, 0)
    sample = rows.responses(ITEMS, ITEMS[:1])
    assert (len(sample.responses), sample.missing, sample.beside) == (1, 0, 1)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Write about a hil.", "answer": "x"}, "the nearest is 'Write about a hill.'"),
        ({"id": "i9", "answer": "x"}, "no item with the id 'i9'; the nearest is 'i"),
        ({"id": "i0", "anwser": "x"}, "unknown field 'anwser'; want id, prompt, answer, thinking; did you mean answer"),
        ({"id": "i0", "answer": 3}, "answer: want a text, got 3"),
        ({"answer": "x"}, "want an answer and an id or a prompt, got answer"),
        ("[1]", "want a JSON object with an answer"),
        ("{", "invalid JSON"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_its_line(tmp_path: Path, row: object, reason: str) -> None:
    with pytest.raises(InputError, match=r"jsonl:2: ") as refused:
        source(tmp_path, {"id": "i1", "answer": "y"}, row).responses(ITEMS, ITEMS)
    assert reason in str(refused.value)


def test_two_answers_to_one_item_are_refused(tmp_path: Path) -> None:
    twice = source(tmp_path, {"id": "i0", "answer": "x"}, {"prompt": "Write about the sea.", "answer": "y"})
    with pytest.raises(InputError, match="a second answer to i0"):
        twice.responses(ITEMS, ITEMS)


def test_the_content_identifies_answers_and_the_path_does_not(tmp_path: Path) -> None:
    one = source(tmp_path, {"id": "i0", "answer": "x"})
    copy = replace(one, path=str(tmp_path / "copy.jsonl"))
    Path(str(copy.path)).write_bytes(one.read())
    assert encode(one) == encode(copy) != encode(source(tmp_path, {"id": "i0", "answer": "z"}))
    with pytest.raises(InputError, match="cannot be read"):
        replace(one, path="absent.jsonl").read()


def test_answers_made_elsewhere_become_a_run_beside_the_arms(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundled = Path("evals/data/writing.jsonl")
    prompts = [json.loads(line) for line in (Path(__file__).parents[2] / bundled).read_text().splitlines()]
    file = tmp_path / "other_model.jsonl"
    file.write_text("".join(json.dumps({"id": row["id"], "answer": "An answer."}) + "\n" for row in prompts[:13]))
    root = tmp_path / "out"
    finished(root, "judge", str(file), "scale=smoke", "tracking=silent")
    assert "1 items have no answer and no score" in caplog.text
    result = read_result(root / "runs/other_model/smoke/s0")
    assert result is not None
    assert [str(name) for name in result.steps] == ["generate:writing", "grade:writing"]
    assert "other_model" in finished(root, "compare").text
    assert "13/14" in finished(root, "compare").text
    assert reer(root, "judge", str(file), "scale=smoke", "benchmark=[everyday]").code == 2
