"""Prompts and rubrics of a user's own file."""

import json
from pathlib import Path

import pytest

from evals.benchmark import Response, Verdict, item_scores, measures
from evals.benchmarks.rubrics import Rubrics
from experiments.store.fingerprint import encode
from reer.errors import InputError


def bench(folder: Path, *rows: object, name: str = "own.jsonl") -> Rubrics:
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return Rubrics(path=str(path), temperature=0.7, top_p=0.9, min_coverage=0.98)


def test_rows_become_items_that_are_judged_as_the_bundled_ones(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Write.", "rubric": ["short", "true"]},
        {"id": "b", "prompt": "写一首诗", "rubric": ["x"], "length": 2},
    ]
    benchmark = bench(tmp_path, *rows)
    first, second = benchmark.items()
    assert (first.id, first.language, first.rubric, second.id, second.language) == (
        "row-0001",
        "en",
        ("short", "true"),
        "b",
        "zh",
    )
    (call,) = benchmark.calls(first, Response.of_text(first.id, "Text {{rubric}}"))
    assert "- short\n- true" in call.prompt.messages[0].content
    answers = [Response.of_text(item.id, "一二") for item in (first, second)]
    verdicts = [
        Verdict(item_id=item.id, criterion="quality", scores={"quality": 7.0}, reply="", why=None, attempts=1)
        for item in (first, second)
    ]
    table = item_scores(benchmark, [first, second], answers, verdicts)
    assert table == {"quality": {"row-0001": 7.0, "b": 7.0}, "length": {"b": 100.0}}
    assert [(str(m.name), m.total) for m in measures(benchmark, table)] == [
        ("rubrics/quality", 2),
        ("rubrics/length", 1),
    ]


def test_the_content_identifies_the_benchmark_and_the_path_does_not(tmp_path: Path) -> None:
    row = {"prompt": "Write.", "rubric": ["short"]}
    one, copy = bench(tmp_path, row), bench(tmp_path, row, name="copy.jsonl")
    other = bench(tmp_path, {**row, "rubric": ["long"]}, name="other.jsonl")
    assert (encode(one), one.version) == (encode(copy), copy.version)
    assert encode(one) != encode(other)
    assert one.version != other.version


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "x"}, "own.jsonl:1: rubric"),
        ({"prompt": "x", "rubric": []}, "want one criterion or more"),
        ({"prompt": "x", "rubric": ["a"], "lenght": 3}, "lenght"),
        ("{", "invalid JSON"),
        ("", "has no rows"),
    ],
)
def test_a_row_that_cannot_be_judged_is_refused(tmp_path: Path, row: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        bench(tmp_path, row).items()


def test_an_id_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    row = {"id": "a", "prompt": "x", "rubric": ["a"]}
    with pytest.raises(InputError, match="'a' occurs more than once"):
        bench(tmp_path, row, row).items()
