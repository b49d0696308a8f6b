"""WritingBench: synthetic data, hostile replies, and the prompts and scores of upstream's own scripts."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import pytest

from evals.benchmark import (
    JudgeCall,
    JudgedResponse,
    OfficialScore,
    Response,
    Verdict,
    group_measures,
    item_scores,
    measures,
)
from evals.benchmarks.writingbench import WritingBench, after_thinking, code_of, official, official_score
from evals.replies import Malformed
from experiments.store.fingerprint import encode
from reer.errors import InputError
from reer.models.protocols import Prompt
from tests.conftest import REPOSITORY, pinned

SHARED = Path(os.environ.get("REER_SHARED") or REPOSITORY.parent / "shared")
DATA = SHARED / "data" / "benchmarks" / "writingbench"
CONFORMITY = SHARED / "data" / "conformity" / "writingbench"
MEANS = {"overall": 5.5, "A": 5.578723404255317, "B": 5.2153846153846155}
OFFICIAL = MEANS | {
    "style_R": 5.364705882352942,
    "style_C": 4.666666666666667,
    "format_R": 5.631818181818179,
    "format_C": 5.75,
    "length_R": 5.955555555555556,
    "length_C": 7.555555555555555,
    "A/Paper Outline": 6.1000000000000005,
    "A/Introduction": 5.314285714285715,
    "B/Contract": 5.228571428571429,
    "B/User Research": 4.95,
}
CALL = JudgeCall("wb-0001", "Depth", Prompt(()))


def conformity(name: str) -> list[dict[str, Any]]:
    """Rows of a fixture file; a `.json` file is one row."""
    if not (CONFORMITY / name).is_file():
        pytest.skip(f"no {CONFORMITY / name}; set REER_SHARED to the folder that holds data/")
    text = (CONFORMITY / name).read_text(encoding="utf-8")
    return [json.loads(text)] if name.endswith(".json") else [json.loads(line) for line in text.split("\n") if line]


def row(index: int, domain: str, *names: str) -> dict[str, Any]:
    checklist = [{"name": name, "criteria_description": f"it's {name}", "1-2": 'a "low"'} for name in names]
    return {
        "index": index,
        "domain1": domain,
        "domain2": "Notes",
        "lang": "en",
        "query": f"Q{index} {{response}}",
        "checklist": checklist,
    }


ROWS = [row(1, "Education", "Depth", "Tone"), row(2, "Education", "Depth"), row(3, "Finance & Business", "Form", "Use")]
TEXT = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two queries on education and one on finance."""
    (tmp_path / "benchmark_all.jsonl").write_text(TEXT)
    prompt = {"system": "S", "user": "{criteria}|{query}|{response}|{criteria}|{{kept}}"}
    (tmp_path / "judge_prompt.json").write_text(json.dumps(prompt))
    return tmp_path


def bench(folder: Path, judge_sees: Literal["answer", "official"] = "answer") -> WritingBench:
    return WritingBench(
        data=pinned(folder), judge_sees=judge_sees, temperature=0.7, top_p=0.8, top_k=20, min_coverage=0.98
    )


def real(judge_sees: Literal["answer", "official"] = "official") -> WritingBench:
    if not DATA.is_dir():
        pytest.skip(f"no {DATA}; set REER_SHARED to the folder that holds data/")
    return bench(DATA, judge_sees)


def test_items_come_from_the_domains_in_turn(folder: Path) -> None:
    items = bench(folder).items()
    assert [item.id for item in items] == ["wb-0003", "wb-0001", "wb-0002"]
    assert {item.category for item in replace(bench(folder), items_limit=2).items()} == {i.category for i in items}
    assert (items[0].category, items[0].language, items[0].prompt) == (
        "Finance & Business/Notes",
        "en",
        "Q3 {response}",
    )


def test_a_compressed_file_is_the_same_benchmark(folder: Path) -> None:
    before = (bench(folder).items(), encode(bench(folder)))
    (folder / "benchmark_all.jsonl").unlink()
    (folder / "benchmark_all.jsonl.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert (bench(folder).items(), encode(bench(folder))) == before


def test_there_is_one_call_per_criterion_and_slots_in_answers_are_not_filled(folder: Path) -> None:
    item = bench(folder).items()[1]
    calls = bench(folder).calls(item, Response.read(item.id, "<think>x</think>\n {query}", False, 4))
    shown = """{'name': 'Tone', 'criteria_description': "it's Tone", '1-2': 'a "low"'}"""
    assert [call.criterion for call in calls] == ["Depth", "Tone"]
    assert [message.role for message in calls[1].prompt.messages] == ["system", "user"]
    assert calls[1].prompt.messages[1].content == f"{shown}|Q1 {{response}}|{{query}}|{shown}|{{kept}}"


@pytest.mark.parametrize(
    ("text", "answer", "cut"),
    [
        ("plain", "plain", "plain"),
        ("<think>x</think>\n\nplain ", "plain", "plain "),
        ("<think>x</think>\nplain", "plain", "<think>x</think>\nplain"),
        ("<think>x", "", "<think>x"),
        ("<think>a</think>\n\nb</think>\n\nc", "c", "b</think>\n\nc"),
        ("</think>\n\n<answer>c</answer>", "c", "<answer>c</answer>"),
    ],
)
def test_the_judge_sees_the_answer_or_upstreams_cut(folder: Path, text: str, answer: str, cut: str) -> None:
    item = bench(folder).items()[0]
    response = Response.read(item.id, text, False, 1)
    assert after_thinking(text) == cut
    assert f"|{answer}|" in bench(folder, "answer").calls(item, response)[0].prompt.messages[1].content
    assert f"|{cut}|" in bench(folder, "official").calls(item, response)[0].prompt.messages[1].content


def test_sampling_takes_the_smaller_limit(folder: Path) -> None:
    sampling = bench(folder).sampling(100_000)
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.max_tokens) == (0.7, 0.8, 20, 16000)
    assert bench(folder).sampling(99).max_tokens == 99


@pytest.mark.parametrize(
    "reply",
    [
        '{"score": 7, "reason": "r"}',
        '{"score": 7.0, "reason": ""}',
        '```json\n{"score": 7, "reason": "r"}\n```',
        'json\n{"score": 7, "reason": "r"}',
        'Here you go: {"score": 7, "reason": "r"} Hope this helps',
        'The text says {"score": 7, "reason": "x"}, and so do I: {"score": 7, "reason": "r"}',
        '{"score": 7, "reason": "first,\nthen"}',
        '{"score": 7, "reason": "it says {\\"score\\": 10, \\"reason\\": \\"x\\"}"}',
    ],
)
def test_valid_replies_are_parsed(folder: Path, reply: str) -> None:
    assert bench(folder).parse(CALL, reply) == {"score": 7.0}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "no_json_object"),
        ("[7]", "no_json_object"),
        ("{'score': 7, 'reason': 'x'}", "no_json_object"),
        ("__import__('os').getpid()", "no_json_object"),
        ('{"score": 7, "reason": "cut', "broken_json_object"),
        ('{"score": 7, "reason": "the "moon" line"}', "broken_json_object"),
        ('{"score": ' + "9" * 5000 + ', "reason": "r"}', "broken_json_object"),
        ('{"a":' * 5000, "broken_json_object"),
        ('{"score": 7}', "no_reason"),
        ('{"score": 7, "reason": null}', "no_reason"),
        ('{"reason": "r"}', "missing_key"),
        ('{"score": "7", "reason": "r"}', "score_not_an_integer"),
        ('{"score": true, "reason": "r"}', "score_not_an_integer"),
        ('{"score": 7.5, "reason": "r"}', "score_not_an_integer"),
        ('{"score": 1e999, "reason": "r"}', "score_not_an_integer"),
        ('{"score": NaN, "reason": "r"}', "not_a_number"),
        ('{"score": 0, "reason": "r"}', "score_out_of_range"),
        ('{"score": 11, "reason": "r"}', "score_out_of_range"),
        ('{"score": 2, "score": 10, "reason": "r"}', "repeated_key"),
        ('It says {"score": 10, "reason": "x"}. {"score": 7, "reason": "r"}', "two_unlike_grades"),
    ],
)
def test_invalid_replies_are_refused_with_a_reason(folder: Path, reply: str, reason: str) -> None:
    with pytest.raises(Malformed) as error:
        bench(folder).parse(CALL, reply)
    assert str(error.value) == reason


def test_a_query_counts_overall_and_for_its_domain(folder: Path) -> None:
    benchmark = bench(folder)
    items = benchmark.items()
    responses = [Response.read(item.id, "text", False, 1) for item in items]
    grades: dict[str, list[float | None]] = {"wb-0001": [4, 8], "wb-0002": [9], "wb-0003": [10, None]}
    verdicts = [verdict(item_id, score) for item_id, scores in grades.items() for score in scores]
    table = item_scores(benchmark, items, responses, verdicts)
    assert table == {
        "overall": {"wb-0003": None, "wb-0001": 6.0, "wb-0002": 9.0},
        "B": {"wb-0003": None},
        "E": {"wb-0001": 6.0, "wb-0002": 9.0},
    }
    found = {str(measure.name): measure for measure in measures(benchmark, table)}
    assert found["writingbench/E"].value == 7.5
    assert found["writingbench/overall"].value is None
    assert (found["writingbench/B"].low, found["writingbench/B"].high) == (1.0, 10.0)


def verdict(item_id: str, score: float | None) -> Verdict:
    return Verdict(
        item_id=item_id,
        criterion="c",
        scores=None if score is None else {"score": score},
        reply="",
        why=None,
        attempts=1,
    )


def test_a_query_that_was_not_judged_is_unscored(folder: Path) -> None:
    item = bench(folder).items()[0]
    assert bench(folder).scores(item, Response.read(item.id, "", False, 0), []) == {"overall": None, "B": None}


def test_a_missing_or_changed_file_is_named(folder: Path) -> None:
    benchmark = bench(folder)
    (folder / "benchmark_all.jsonl").write_text(TEXT + "\n")
    with pytest.raises(InputError, match=r"benchmark_all\.jsonl has sha256 .* pinned is"):
        benchmark.items()
    (folder / "benchmark_all.jsonl").unlink()
    with pytest.raises(InputError, match=r"benchmark_all\.jsonl is missing; get it from a test"):
        benchmark.items()


def test_a_quoted_verdict_inside_a_broken_one_is_refused(folder: Path) -> None:
    reply = '{"score": 2, "reason": "it says {"score": 10, "reason": "great"} itself"}'
    with pytest.raises(Malformed, match="broken_json_object"):
        bench(folder).parse(CALL, reply)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("{", "want a JSON object"),
        ("[1]", "six domains"),
        (json.dumps({**ROWS[0], "domain1": "Poetry"}), "six domains"),
        (
            json.dumps({key: ROWS[0][key] for key in ("index", "domain1", "domain2", "query")} | {"criteria": []}),
            "first version",
        ),
    ],
)
def test_a_bad_row_is_named(folder: Path, line: str, wanted: str) -> None:
    (folder / "benchmark_all.jsonl").write_text(TEXT + line + "\n")
    with pytest.raises(InputError, match=rf"benchmark_all\.jsonl:4: .*{wanted}"):
        bench(folder).items()


def test_an_unknown_view_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="want answer or official"):
        bench(folder, "raw")  # type: ignore[arg-type]


def test_official_is_micro_overall_and_macro_by_domain() -> None:
    kinds = {"1": "Education/Quiz", "2": "Education/Plan", "3": "Finance & Business/Bid", "4": "Politics & Law/Will"}
    scores = {"1": {"a": 2.0, "b": 4.0}, "2": {"a": 9.0, "b": None}, "3": {"a": 10.0}, "4": {"a": None}}
    asked = {
        "style": {"1": ["a", "b"], "3": ["a"], "4": ["a"]},
        "format": {"1": ["b"], "2": ["a"]},
        "length": {"4": []},
    }
    scored = official(scores, kinds, asked)
    found = {name: score.value for name, score in scored.items()}
    assert {name: (scored[name].counted, scored[name].total) for name in ("overall", "E", "style_R")} == {
        "overall": (4, 6),
        "E": (2, 2),
        "style_R": (2, 3),
    }
    assert {name: found[name] for name in ("overall", "B", "E")} == {"overall": 6.25, "B": 10.0, "E": 6.0}
    assert (found["E/Quiz"], found["E/Plan"], found["B/Bid"]) == (3.0, 9.0, 10.0)
    assert (found["style_R"], found["style_C"]) == (6.5, 16 / 3), "means of queries, and all scores on the requirement"
    assert (found["format_R"], found["format_C"]) == (6.0, 6.5)
    assert not any(name.startswith(("length", "C")) for name in found)
    assert official({}, {}, {}) == {}


@pytest.mark.parametrize(
    ("replies", "score"),
    [
        (['{"score": 7, "reason": "r"}'], 7.0),
        (['```json\n{"score": 7, "reason": "r"}\n```'], 7.0),
        (['{"score": true, "reason": "r"}'], 1.0),
        (['{"score": 7.0, "reason": "r"}'], 7.0),
        (['Here: {"score": 7, "reason": "r"}'], None),
        (['{"score": "7", "reason": "r"}', '{"score": 3, "reason": "r"}'], 3.0),
        (['{"score": 0, "reason": "r"}', "[7]", "7", "null", ""], None),
        (['{"score": 7}'], None),
        (["__import__('os').getpid()", "[" * 100_000], None),
        (["no"] * 4 + ['{"score": 3, "reason": "r"}'], 3.0),
        (["no"] * 5 + ['{"score": 3, "reason": "r"}'], None),  # the fifth ends the run
        (['{"score": 0, "reason": "r"}'] * 14 + ['{"score": 3, "reason": "r"}'], 3.0),
        (['{"score": 0, "reason": "r"}'] * 15 + ['{"score": 3, "reason": "r"}'], None),
    ],
)
def test_official_scores_are_parsed_as_upstream(replies: list[str], score: float | None) -> None:
    assert official_score(replies) == score


def test_judge_prompts_equal_those_of_upstream() -> None:
    """Every judge prompt of the sample, to the byte: criteria are rendered and thinking is cut as upstream does."""
    benchmark = real()
    hashes = {(row["index"], row["criterion"]): row["user_prompt_sha256"] for row in conformity("prompt_sha256.jsonl")}
    items = {item.id: item for item in benchmark.items()}
    for row in conformity("response.jsonl"):
        response = Response.read(f"wb-{row['index']:04d}", row["response"], False, 1)
        for call in benchmark.calls(items[response.item_id], response):
            system, user = call.prompt.messages
            assert sha256(user.content.encode()).hexdigest() == hashes.pop((row["index"], call.criterion))
            assert sha256(system.content.encode()).hexdigest() == conformity("expected.json")[0]["system_prompt_sha256"]
    assert not hashes


def test_scores_equal_those_of_upstream_for_the_same_replies() -> None:
    """The first valid reply gives the score that upstream stored, for all 300 scripted judgements."""
    stored = {row["index"]: row["scores"] for row in conformity("scores.jsonl")}
    benchmark = real()
    for row in conformity("judge_replies.jsonl"):
        assert first_score(benchmark, row["replies"]) == stored[row["index"]][row["criterion"]][0]


def first_score(benchmark: WritingBench, replies: list[str]) -> float | None:
    for reply in replies:
        try:
            return benchmark.parse(CALL, reply)["score"]
        except Malformed:
            continue
    return None


def test_means_equal_those_of_upstream() -> None:
    """Means of a sample of 60 queries, from the replies of its judge. Its expected.json has none, so these values were
    computed by the functions of calculate_scores.py (ac3d0ca) from scores.jsonl."""
    replies = {(row["index"], row["criterion"]): tuple(row["replies"]) for row in conformity("judge_replies.jsonl")}
    judged: dict[str, list[Verdict]] = {}
    for (index, criterion), (*earlier, last) in replies.items():
        found = Verdict(
            item_id=f"wb-{index:04d}",
            criterion=criterion,
            scores=None,
            reply=last,
            why=None,
            attempts=1,
            earlier=tuple(earlier),
        )
        judged.setdefault(found.item_id, []).append(found)
    benchmark = real()
    items = [item for item in benchmark.items() if item.id in judged]
    response = Response.read("", "text", False, 1)
    by_item = {item_id: JudgedResponse(response, tuple(verdicts)) for item_id, verdicts in judged.items()}
    means = {name: score.value for name, score in benchmark.official(items, by_item).items()}
    assert {name: means[name] for name in OFFICIAL} == pytest.approx(OFFICIAL, rel=0, abs=1e-9)
    assert sum("/" in name and not name.endswith("_x10") for name in means) == 20
    assert means["style_C_x10"] == pytest.approx(46.666666666666664, rel=0, abs=1e-9)


def test_an_empty_answer_has_the_worst_official_grades(folder: Path) -> None:
    benchmark = bench(folder)
    item = benchmark.items()[1]
    judged = {item.id: JudgedResponse(Response.of_text(item.id, ""), ())}
    assert benchmark.official([item], judged)["overall"] == OfficialScore(1.0, 2, 2)


def test_measures_equal_the_official_means() -> None:
    """The same scores through verdicts and measures: with five scores per query, micro and macro means agree."""
    rows = {f"wb-{row['index']:04d}": row["scores"] for row in conformity("scores.jsonl")}
    benchmark = real()
    items = [item for item in benchmark.items() if item.id in rows]
    responses = [Response.read(item.id, "text", False, 1) for item in items]
    verdicts = [verdict(item_id, stored[0]) for item_id, scores in rows.items() for stored in scores.values()]
    table = item_scores(benchmark, items, responses, verdicts)
    found = {measure.metric: measure for measure in measures(benchmark, table)}
    got = {metric: measure.value for metric, measure in found.items() if not metric.endswith("_C")}
    assert got == pytest.approx(MEANS, rel=0, abs=1e-9)
    stated = {kind: sum(item.id in rows for item in items) for kind, rows in benchmark._requirements().items()}
    assert {kind: found[f"{kind}_C"].total for kind in stated} == stated


def test_the_criteria_on_a_requirement_have_a_strict_measure_with_its_coverage(folder: Path) -> None:
    index = {"style": {"1": ["Tone"], "2": ["Depth"]}, "format": {"3": ["Form", "Use"]}, "length": {}}
    (folder / "requirement_index.json").write_text(json.dumps(index))
    benchmark = bench(folder)
    items = benchmark.items()
    grades = {("wb-0001", "Depth"): 9.0, ("wb-0001", "Tone"): 4.0, ("wb-0002", "Depth"): 8.0, ("wb-0003", "Form"): 7.0}
    verdicts = [replace(verdict(i, g), criterion=name) for (i, name), g in grades.items()]
    answers = [Response.read(item.id, "text", False, 1) for item in items]
    found = {m.metric: m for m in measures(benchmark, item_scores(benchmark, items, answers, verdicts))}
    assert (found["style_C"].value, found["style_C"].scored, found["style_C"].total) == (6.0, 2, 2)
    assert (found["format_C"].value, found["format_C"].scored, found["format_C"].total) == (None, 0, 1)
    assert "length_C" not in found, "no query states it"
    empty = item_scores(benchmark, items, [replace(answer, text="", answer="") for answer in answers], [])
    assert empty["style_C"] == {"wb-0001": 1.0, "wb-0002": 1.0}


def test_parsing_agrees_with_upstream_on_its_own_cases() -> None:
    """Upstream's own cases: a reply is valid here exactly if upstream stores it."""
    cases = conformity("parse_cases.json")[0]["cases"]
    benchmark = real()
    stored = {case["case"]: not case["official_result"].startswith("RAISES") for case in cases}
    assert {case["case"]: first_score(benchmark, case["replies"]) is not None for case in cases} == stored


def test_sub_domains_and_requirements_have_strict_measures() -> None:
    benchmark = real()
    items = benchmark.items()
    table = {"overall": {item.id: None if item.language == "zh" else 5.0 for item in items}}
    found = {part.group: part.measure for part in group_measures(benchmark, items, table)}
    assert {name: found[f"requirement {name}"].total for name in ("style", "format", "length")} == {
        "style": 442,
        "format": 498,
        "length": 222,
    }
    assert sum("/" in name for name in found) == 100
    assert (found["language en"].scored, found["language zh"].value) == (555, None)


def test_the_data_is_complete() -> None:
    items = real().items()
    counts = Counter(code_of(item.category) for item in items)
    assert dict(sorted(counts.items())) == {"A": 167, "B": 210, "C": 201, "D": 183, "E": 111, "F": 128}
    assert Counter(item.language for item in items) == {"en": 555, "zh": 445}
    assert {len(item.rubric) for item in items} == {5}
