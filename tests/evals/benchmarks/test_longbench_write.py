"""LongBench-Write against its own scripts: fixtures from replaying rows through the unmodified scripts."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from evals.benchmark import JudgedResponse, OfficialScore, Response, Verdict, item_scores, judged_by_item
from evals.benchmarks.length import length_score
from evals.benchmarks.longbench_write import DIMENSIONS, LongBenchWrite, official_grades
from tests.conftest import pinned

GOOD = json.dumps(dict.fromkeys(DIMENSIONS, 4))


@pytest.fixture(scope="module")
def rows(shared: Path) -> list[dict[str, Any]]:
    """Each row's answer, the judge's replies to it, and the scores that the scripts computed."""
    folder = shared / "conformity" / "longbench_write"
    found = json.loads((folder / "expected.json").read_text())["items"]
    answers = [json.loads(line) for line in (folder / "pred.jsonl").read_text().split("\n") if line]
    replies = [json.loads(line) for line in (folder / "judge_replies.jsonl").read_text().split("\n") if line]
    assert [row["row"] for row in found] == [row["row"] for row in replies]
    return [
        {**f, "answer": a["response"], "replies": r["replies"]} for f, a, r in zip(found, answers, replies, strict=True)
    ]


def test_length_scores_equal_those_of_the_scripts(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert length_score(row["length"], row["answer"]) == pytest.approx(row["S_l"], abs=1e-9), row["row"]


def test_grades_equal_those_of_the_scripts(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        wanted = row["scores"] and {name: float(value) for name, value in row["scores"].items()}
        assert official_grades(row["replies"]) == wanted, row["row"]
    assert any(row["scores"] is None for row in rows)


def test_length_means_are_over_all_rows_and_quality_means_over_parsed_rows(
    rows: list[dict[str, Any]], shared: Path
) -> None:
    benchmark = LongBenchWrite(
        data=pinned(shared / "benchmarks" / "longbench_write"), judged=True, temperature=0.5, min_coverage=0.98
    )
    items = benchmark.items()[: len(rows)]
    responses = [Response.read(item.id, row["answer"], False, 1) for item, row in zip(items, rows, strict=True)]
    verdicts = [
        Verdict(
            item_id=item.id,
            criterion="quality",
            scores=None,
            reply=row["replies"][-1],
            why="x",
            attempts=1,
            earlier=tuple(row["replies"][:-1]),
        )
        for item, row in zip(items, rows, strict=True)
    ]
    found = benchmark.official(items, judged_by_item(responses, verdicts))
    read = [row["scores"] for row in rows if row["scores"]]
    means = {name: (math.fsum(float(s[name]) for s in read) / len(read) - 1) * 25 for name in DIMENSIONS}
    assert found["S_l"].value == pytest.approx(math.fsum(row["S_l"] for row in rows) / len(rows), abs=1e-9)
    assert (found["S_q"].counted, found["S_q"].total) == (len(read), len(rows))
    assert found["S_q"].value == pytest.approx(math.fsum(means.values()) / 6, abs=1e-9)
    assert {name: found[name].value for name in DIMENSIONS} == pytest.approx(means, abs=1e-9)
    strict = item_scores(benchmark, items, responses, verdicts)
    assert all(score is None for score in strict["S_q"].values()), (
        "replies that the strict reader refuses give no strict score"
    )


@pytest.mark.parametrize(
    ("replies", "parsed"),
    [
        (["no json", '{"Relevance": 1}'], False),
        (["```\n{}\n```"], False),
        (["[" * 100_000], False),
        (['{"Relevance": NaN}'], False),
        ([], False),
        *[([json.dumps(dict.fromkeys(DIMENSIONS, value))], False) for value in (float("nan"), 10**400, 1e308)],
        ([json.dumps(dict.fromkeys(DIMENSIONS, "4/5"))], False),
        ([json.dumps(dict.fromkeys(DIMENSIONS, None))], False),
        ([json.dumps(dict.fromkeys(DIMENSIONS, 9))], True),
        (["Fine.\n```json\n" + json.dumps(dict.fromkeys(DIMENSIONS, "4"), indent=1) + "\n```\nEnd."], True),
        ([f"```json\n{GOOD}"], False),  # the fence is not closed
        ([f"```json {GOOD}\n```"], False),
        ([json.dumps({**dict.fromkeys(DIMENSIONS, 4), "Analysis": "as ```json shows"})], False),
        (["5", GOOD], False),  # a number is stored, and ends the aggregation
        ([json.dumps(dict.fromkeys(DIMENSIONS, "4/5")), GOOD], False),
        ([json.dumps(list(DIMENSIONS)), GOOD], False),
        (["null", GOOD], True),
        (["no", "no", "no", "no", GOOD], True),
        (["no", "no", "no", "no", "no", GOOD], False),
        (["{}", "{}", GOOD], True),
        (["{}", "{}", "{}", GOOD], False),  # each costs two of five tries
        ([json.dumps(dict.fromkeys(DIMENSIONS[:-1], 4))] * 4 + [GOOD], True),  # each costs one
    ],
)
def test_which_replies_the_scripts_can_parse(replies: list[str], parsed: bool) -> None:
    assert (official_grades(replies) is not None) == parsed


def test_without_verdicts_there_is_only_a_length_score(tmp_path: Path) -> None:
    line = json.dumps({"prompt": "Write.", "type": "News", "length": 3})
    (tmp_path / "longbench_write.jsonl").write_text(line + "\n")
    (tmp_path / "judge.txt").write_text("$INST$ $RESPONSE$")
    benchmark = LongBenchWrite(data=pinned(tmp_path), judged=True, temperature=0.5, min_coverage=0.98)
    (item,) = benchmark.items()
    by_item = {item.id: JudgedResponse(Response.read(item.id, "one two three", False, 3), ())}
    assert benchmark.official([item], by_item) == {"S_l": OfficialScore(100.0, 1, 1)}


def test_an_empty_answer_has_the_worst_official_grades(shared: Path) -> None:
    benchmark = LongBenchWrite(
        data=pinned(shared / "benchmarks" / "longbench_write"), judged=True, temperature=0.5, min_coverage=0.98
    )
    items = benchmark.items()[:2]
    good = json.dumps(dict.fromkeys(DIMENSIONS, 5))
    by_item = {
        items[0].id: JudgedResponse(Response.of_text(items[0].id, "word " * 100), (verdict_on(items[0].id, good),)),
        items[1].id: JudgedResponse(Response.of_text(items[1].id, " "), (verdict_on(items[1].id, ""),)),
    }
    found = benchmark.official(items, by_item)
    assert (found["S_q"], found["S_l"].counted) == (OfficialScore(50.0, 2, 2), 2), "silence does not raise the mean"


def verdict_on(item_id: str, reply: str) -> Verdict:
    return Verdict(item_id=item_id, criterion="quality", scores=None, reply=reply, why=None, attempts=1)
