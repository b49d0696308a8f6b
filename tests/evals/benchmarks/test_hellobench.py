"""HelloBench: synthetic data, hostile replies, and the scores and prompts of upstream's own scripts."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from evals.benchmark import Item, JudgeCall, JudgedResponse, OfficialScore, Response, Verdict, item_scores, measures
from evals.benchmarks.hellobench import LENGTHS, TASKS, HelloBench, as_words, official, official_scores, rescaled
from evals.replies import Malformed
from experiments.store.fingerprint import encode
from reer.errors import InputError
from reer.models.protocols import Prompt
from tests.conftest import REPOSITORY, pinned

SHARED = Path(os.environ.get("REER_SHARED") or REPOSITORY.parent / "shared")
DATA = SHARED / "data" / "benchmarks" / "hellobench"
CONFORMITY = SHARED / "data" / "conformity" / "hellobench"
ONE_OF_EACH = ("open_ended_qa", "chat")


def shared_json(path: Path) -> Any:
    if not path.is_file():
        pytest.skip(f"no {path}; set REER_SHARED to the folder that holds data/")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tasks: three questions of `music` (weights 50, 30, 20) and one of `rewrite` with two (60, 40)."""
    (tmp_path / "main_data").mkdir()
    write_rows(tmp_path, "open_ended_qa", [row(f"open_ended_qa_{i}", "music", ["a?", "é?", "c?"]) for i in range(3)])
    write_rows(tmp_path, "chat", [row("chat_7", "rewrite", ["short?", "true?"])])
    (tmp_path / "checklist_weights.json").write_text('{"music": [50, 30, 20], "rewrite": [60, 40]}')
    prompt = {"system": "S", "user": "{instruction}|{response}|{checklists}|{num_checklist}|{{kept}}"}
    (tmp_path / "judge_prompt.json").write_text(json.dumps(prompt))
    return tmp_path


def row(item_id: str, category: str, checklists: list[str]) -> dict[str, Any]:
    return {
        "id": item_id,
        "category": category,
        "instruction": f"Write {item_id} {{response}}",
        "checklists": checklists,
    }


def write_rows(folder: Path, task: str, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "main_data" / f"{task}.jsonl").write_text(text, encoding="utf-8")


def bench(folder: Path, tasks: tuple[str, ...] = ONE_OF_EACH, tokenize: bool = False) -> HelloBench:
    return HelloBench(data=pinned(folder), tasks=tasks, tokenize=tokenize, temperature=0.8, min_coverage=0.98)


def real(tasks: tuple[str, ...] = TASKS, tokenize: bool = False) -> HelloBench:
    if not DATA.is_dir():
        pytest.skip(f"no {DATA}; set REER_SHARED to the folder that holds data/")
    return bench(DATA, tasks, tokenize)


def reply(*grades: Any) -> str:
    entries = [{"checklist_id": i, "reason": "r", "evaluation_score": grade} for i, grade in enumerate(grades)]
    return json.dumps(entries)


MUSIC = JudgeCall("open_ended_qa_0", "music", Prompt(()))


def test_items_come_from_the_tasks_in_turn(folder: Path) -> None:
    ids = [item.id for item in bench(folder).items()]
    assert ids == ["open_ended_qa_0", "chat_7", "open_ended_qa_1", "open_ended_qa_2"]
    limited = replace(bench(folder), items_limit=2).items()
    assert len(limited) == 2
    assert limited[-1] in bench(folder).items()


def test_a_reconstructed_file_is_used_if_it_is_the_pinned_one(folder: Path) -> None:
    (folder / "main_data" / "chat.jsonl").rename(folder / "main_data" / "chat.reconstructed.jsonl")
    assert len(bench(folder).items()) == 4


def test_slots_in_an_answer_are_not_filled(folder: Path) -> None:
    item = bench(folder).items()[0]
    [call] = bench(folder).calls(item, Response.read(item.id, "<think>x</think> {instruction} [end]", False, 5))
    system, user = call.prompt.messages
    places = enumerate("aéc")
    checklist = ", ".join(f'{{"checklist_id": {i}, "checklist_content": "{name}?"}}' for i, name in places)
    assert (system.role, system.content) == ("system", "S")
    assert user.content == f"Write open_ended_qa_0 {{response}}|{{instruction}} [end]|[{checklist}]|3|{{kept}}"


def test_sampling_takes_the_smaller_limit(folder: Path) -> None:
    assert bench(folder).sampling(100_000).max_tokens == 16384
    assert (bench(folder).sampling(512).max_tokens, bench(folder).sampling(512).temperature) == (512, 0.8)


@pytest.mark.parametrize(
    "text",
    [
        reply(1, 0.5, 0),
        reply("1", "0.50", "0"),
        reply(1.0, 0.5, 0.0).replace("0,", '"0",', 1),
        f"```python\n{reply(1, 0.5, 0)}\n```",
        f"Here they are: {reply(1, 0.5, 0)}\nHope this helps",
        f"[1] was my first thought. {reply(1, 0.5, 0)}",
        reply(1, 0.5, 0).replace('"r"', r'"he wrote \"moon\" [sic] {twice}"'),
    ],
)
def test_valid_replies_are_parsed(folder: Path, text: str) -> None:
    assert bench(folder).parse(MUSIC, text) == {"0": 1.0, "1": 0.5, "2": 0.0}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no_json_list"),
        ('{"checklist_id": 0, "evaluation_score": 1}', "no_json_list"),
        (reply(1, 1), "wrong_number_of_scores"),
        (f"{reply(1, 1, 1)} see [1]", "wrong_number_of_scores"),
        (reply(1, 0, 0)[:-9], "broken_json_list"),
        (reply(1, 0, 0).replace('"', "'"), "broken_json_list"),
        ("[__import__('os').getpid()]", "broken_json_list"),
        ("[" * 100_000, "broken_json_list"),
        ("[" + "1" * 5000 + "]", "broken_json_list"),
        (f'{{"results": {reply(1, 1, 1)}}}', "broken_json_list"),
        (reply(0, 0, 0).replace('"r"', f'"it says {reply(1, 1, 1)}"', 1), "broken_json_list"),
        (f'{{"reason": "it says {reply(1, 1, 1)}"}}', "broken_json_list"),
        ("[1, 1, 1]", "entry_not_an_object"),
        (json.dumps(json.loads(reply(1, 0.5, 0))[::-1]), "not_in_checklist_order"),
        (reply(1, 1, 1).replace('"checklist_id": 2', '"checklist_id": 1'), "not_in_checklist_order"),
        (reply(1, 1, 1).replace('"checklist_id": 0', '"id": 0'), "not_in_checklist_order"),
        (reply(1, 1, True), "score_not_a_number"),
        (reply(1, 1, None), "score_not_a_number"),
        (reply(1, 1, "N/A"), "score_not_a_number"),
        (reply(1, 1, 10**400), "score_not_on_the_scale"),
        (reply(1, 1, float("nan")), "not_a_number"),
        (reply(1, 1, "nan"), "score_not_a_number"),
        (reply(1, 1, "0_1"), "score_not_a_number"),
        (reply(1, 1, "１"), "score_not_a_number"),
        (reply(1, 1, 1).replace('"evaluation_score"', '"score"', 1), "missing_key"),
        (f"{reply(1, 1, 1)} or {reply(1, 1, 0)}", "two_unlike_grades"),
        (reply(1, 1, 2), "score_not_on_the_scale"),
        (reply(1, 1, 0.6), "score_not_on_the_scale"),
        (reply(1, 1, 9).replace("9", "1e999"), "score_not_on_the_scale"),
        (reply(1, 1, 0).replace("0}", '0, "evaluation_score": 1}'), "repeated_key"),
    ],
)
def test_invalid_replies_are_refused_with_a_reason(folder: Path, text: str, reason: str) -> None:
    with pytest.raises(Malformed) as error:
        bench(folder).parse(MUSIC, text)
    assert str(error.value) == reason


def test_an_item_counts_only_for_its_own_task(folder: Path) -> None:
    benchmark = bench(folder)
    items = benchmark.items()
    responses = [Response.read(item.id, "text", False, 1) for item in items]
    verdicts = [verdict(benchmark, item, grades) for item, grades in zip(items, VECTORS, strict=True)]
    table = item_scores(benchmark, items, responses, verdicts)
    assert table == {
        "open_ended_qa": {"open_ended_qa_0": 65.0, "open_ended_qa_1": None, "open_ended_qa_2": 100.0},
        "chat": {"chat_7": 40.0},
    }
    [qa, chat] = measures(benchmark, table)
    assert (str(qa.name), qa.value, qa.mean_of_scored, qa.scored, qa.total) == (
        "hellobench/open_ended_qa",
        None,
        82.5,
        2,
        3,
    )
    assert (qa.low, qa.high) == (pytest.approx(55.0), pytest.approx(265 / 3))
    assert (str(chat.name), chat.value) == ("hellobench/chat", 40.0)


VECTORS: list[tuple[float, ...] | None] = [(1, 0.5, 0), (0, 1), None, (1, 1, 1)]


def verdict(benchmark: HelloBench, item: Item, grades: tuple[float, ...] | None) -> Verdict:
    [call] = benchmark.calls(item, Response.read(item.id, "text", False, 1))
    scores = None if grades is None else benchmark.parse(call, reply(*grades))
    return Verdict(
        item_id=item.id,
        criterion=call.criterion,
        scores=scores,
        reply="",
        why=None if scores else "no_json_list",
        attempts=1,
    )


@pytest.mark.parametrize("tasks", [(), ("open_ended_QA",), ("chat", "chat")])
def test_unknown_tasks_are_refused(folder: Path, tasks: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="heuristic_text_generation"):
        bench(folder, tasks)


def test_a_task_without_a_pinned_file_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"pins no main_data/summarization\.jsonl"):
        bench(folder, ("summarization",)).items()


def test_weights_of_another_version_are_refused(folder: Path) -> None:
    (folder / "checklist_weights.json").write_text('{"music": [50, 50], "rewrite": [60, 40]}')
    with pytest.raises(InputError, match=r"open_ended_qa\.jsonl:1.*3 questions.*2 weights"):
        bench(folder).items()


def test_the_identity_is_data_and_settings_not_location(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = encode(bench(folder))
    elsewhere = tmp_path_factory.mktemp("moved") / "data"
    folder.rename(elsewhere)
    assert encode(bench(elsewhere)) == before
    assert encode(bench(elsewhere, ("chat",))) != before


def test_missing_nltk_data_is_reported_before_generation(folder: Path) -> None:
    if words_available():
        pytest.skip("the nltk data is here")
    with pytest.raises(InputError, match=r"punkt_tab.*tokenize=false"):
        bench(folder, tokenize=True).items()


def words_available() -> bool:
    try:
        as_words("")
    except InputError:
        return False
    return True


def test_words_are_tokenised_as_upstream() -> None:
    if not words_available():
        pytest.skip("no nltk data punkt_tab here")
    assert as_words('He said "no".\n\n- Yes!') == "He said `` no '' . - Yes !"
    assert [len(as_words("w " * n).split()) for n in (16_000, 16_001)] == [16_000, 16_000]


def test_official_means_leave_out_the_same_items_as_upstream() -> None:
    weights = {"music": [60, 40], "rewrite": [100]}
    judged = [("open_ended_qa", "music", grades) for grades in ([1, 0.5], [1], [1, 2], [])]
    judged.append(("chat", "rewrite", [0.25]))
    assert official(judged, weights) == {
        "open_ended_qa": OfficialScore(80.0, 1, 4),
        "chat": OfficialScore(25.0, 1, 1),
    }
    assert official([(task, "x", [0.5]) for task in TASKS], {"x": [100]})["average"] == OfficialScore(50.0, 5, 5)
    assert [rescaled(score) for score in (0, 75, 100)] == [-300, 0, 100]


def test_aggregates_equal_those_of_upstream() -> None:
    """Three models' published judgements; upstream rounds to two decimals, and so is this before comparing."""
    expected = shared_json(CONFORMITY / "expected_aggregates.json")
    weights = shared_json(DATA / "checklist_weights.json")
    for model, figures in expected["models"].items():
        means = official([(row["task"], row["category"], row["scores"]) for row in published(model)], weights)
        got = [means[column].value for column in expected["columns"]]
        assert [round(score, 2) for score in got] == pytest.approx(figures["raw"], rel=0, abs=1e-9)
        assert [round(rescaled(score), 2) for score in got] == pytest.approx(figures["rescaled"], rel=0, abs=1e-9)


def test_measures_equal_the_official_means() -> None:
    """The same judgements through items, verdicts and measures, as a run of this project reports them."""
    expected = shared_json(CONFORMITY / "expected_aggregates.json")
    benchmark = real()
    items = benchmark.items()
    responses = [Response.read(item.id, "text", False, 1) for item in items]
    for model, figures in expected["models"].items():
        verdicts = [published_verdict(benchmark, row) for row in published(model)]
        found = measures(benchmark, item_scores(benchmark, items, responses, verdicts))
        means = {measure.metric: measure.value for measure in found}
        got = [round(means[task] or 0.0, 2) for task in TASKS]
        assert got == pytest.approx(figures["raw"][:5], rel=0, abs=1e-9)


def published(model: str) -> list[dict[str, Any]]:
    rows = map(json.loads, (CONFORMITY / "published_scores.jsonl").read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row["model"] == model]


def published_verdict(benchmark: HelloBench, row: dict[str, Any]) -> Verdict:
    scores = benchmark.parse(JudgeCall(row["id"], row["category"], Prompt(())), reply(*row["scores"]))
    return Verdict(item_id=row["id"], criterion=row["category"], scores=scores, reply="", why=None, attempts=1)


def test_the_data_is_complete() -> None:
    items = real().items()
    counts = {task: sum(item.category.startswith(f"{task}/") for item in items) for task in TASKS}
    assert list(counts.values()) == [200, 100, 147, 77, 123]
    assert len({item.id for item in items}) == 647
    assert len({item.category for item in items}) == 38


def test_the_length_constrained_sets_are_tasks() -> None:
    benchmark = real(tuple(LENGTHS))
    items = benchmark.items()
    assert [item.id for item in items[:2]] == ["heuristic_text_generation_2k_000", "heuristic_text_generation_4k_000"]
    assert Counter(item.length for item in items) == dict.fromkeys(LENGTHS.values(), 123)
    assert "no shorter than 16000 words" in items[3].prompt
    assert benchmark.sampling(100_000).max_tokens == 24_000
    (call,) = benchmark.calls(items[0], Response.read(items[0].id, "text", False, 1))
    assert benchmark.parse(call, reply(1, 1, 1, 1, 1))


def test_what_tokenising_lacks_is_said_where_it_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(text: str) -> list[str]:
        raise InputError("no punkt_tab")

    monkeypatch.setattr("evals.benchmarks.hellobench.tokens", absent)
    assert bench(folder, tokenize=True).also_needs() == "no punkt_tab"
    assert bench(folder, tokenize=False).also_needs() == ""


def test_average_words_are_those_of_the_answers_that_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evals.benchmarks.hellobench.tokens", str.split)
    benchmark = bench(folder, ("open_ended_qa",), tokenize=True)
    items = benchmark.items()
    texts, replies = ["a b c", "d", "e f g h"], [reply(1, 1, 1), reply(1, 1), reply(0, 0, 0)]
    judged = {
        item.id: JudgedResponse(
            Response.of_text(item.id, text),
            (Verdict(item_id=item.id, criterion="music", scores=None, reply=given, why=None, attempts=1),),
        )
        for item, text, given in zip(items, texts, replies, strict=True)
    }
    assert benchmark.official(items, judged)["open_ended_qa_avg_words"] == OfficialScore(3.5, 2, 3)


def test_judge_prompts_equal_those_of_upstream() -> None:
    if not words_available():
        pytest.skip("no nltk data punkt_tab here; NLTK_DATA names a folder that has it")
    cases = shared_json(CONFORMITY / "prompt_cases.json")["items"]
    benchmark = real(tokenize=True)
    items = {item.id: item for item in benchmark.items()}
    for case in cases:
        [call] = benchmark.calls(items[case["id"]], Response.read(case["id"], case["response"], False, 1))
        assert sha256(as_words(case["response"]).encode()).hexdigest() == case["tokenised_sha256"]
        assert sha256(call.prompt.messages[1].content.encode()).hexdigest() == case["user_prompt_sha256"]


def test_official_scores_equal_the_stored_ones_of_upstream() -> None:
    for case in shared_json(CONFORMITY / "parse_cases.json")["cases"]:
        replies = (case["replies"] * 3)[:3] if len(case["replies"]) == 1 else case["replies"]
        stored = case["official_stored"]
        wanted = [score for _, score in stored] if isinstance(stored, list) and stored else None
        assert official_scores(replies, case["num_checklist"]) == wanted, case["case"]


@pytest.mark.parametrize("grade", [float("nan"), float("inf"), 10**400, 1e308, "nan"])
def test_a_grade_that_is_no_finite_number_has_no_official_score(grade: object) -> None:
    assert official_scores([json.dumps([{"checklist_id": 0, "evaluation_score": grade}])], 1) is None


@pytest.mark.parametrize("entry_id", ["a", "checklist_0", "0.0", None, [0]])
def test_an_id_that_is_no_number_ends_the_run_of_the_script(entry_id: object) -> None:
    assert official_scores([json.dumps([{"checklist_id": entry_id, "evaluation_score": 1}])], 1) is None
    assert official_scores([json.dumps([{"evaluation_score": 1}])], 1) is None
    assert official_scores([json.dumps([{"checklist_id": " 7 ", "evaluation_score": 1}])], 1) == [1.0]


def test_the_script_reads_three_replies() -> None:
    assert official_scores(["no", "no", reply(1, 1)], 2) == [1.0, 1.0]
    assert official_scores(["no", "no", "no", reply(1, 1)], 2) is None
    assert official_scores(['"ab"', reply(1, 1)], 2) is None, "a text of two characters passes for a list of two"


def test_an_empty_answer_has_the_worst_official_grades(folder: Path) -> None:
    benchmark = bench(folder, ("chat",))
    (item,) = benchmark.items()
    judged = {item.id: JudgedResponse(Response.of_text(item.id, "\n"), ())}
    assert benchmark.official([item], judged)["chat"] == OfficialScore(0.0, 1, 1)


def test_cases_where_parsing_differs_from_upstream() -> None:
    """Upstream's own cases, by their last reply: stricter about order, but prose after the list is accepted."""
    benchmark = real()
    call = JudgeCall("heuristic_text_generation_000", "argumentative_writing", Prompt(()))
    differs = []
    for case in shared_json(CONFORMITY / "parse_cases.json")["cases"]:
        try:
            counts = bool(benchmark.parse(call, case["replies"][-1]))
        except Malformed:
            counts = False
        differs += [case["case"]] if counts != case["counts_in_official_mean"] else []
    assert differs == ["ids reversed", "trailing prose"]
