"""Scores become measures: unscored items are counted, never averaged. Also two benchmarks on small data."""

import gzip
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.benchmark import (
    Benchmark,
    Item,
    JudgeCall,
    JudgedBenchmark,
    MeasureName,
    Response,
    Verdict,
    group_measures,
    interleaved,
    item_scores,
    measures,
    sampled,
)
from evals.benchmarks.data_files import DataFiles
from evals.benchmarks.longbench_write import DIMENSIONS, LongBenchWrite, length_bucket
from evals.benchmarks.writing import WritingPrompts
from evals.replies import STRICT, Malformed, whole_number
from reer.errors import InputError
from reer.models.protocols import Prompt, Sampling
from reer.types import Message
from tests.conftest import pinned


class Bench:
    """A benchmark with one metric: the first verdict's grade."""

    name, ranges = "bench", {"grade": (0.0, 10.0)}

    def __init__(self, min_coverage: float = 0.75) -> None:
        self.min_coverage = min_coverage

    def sampling(self, max_tokens: int) -> Sampling:
        return Sampling(temperature=1.0, top_p=1.0, max_tokens=max_tokens)

    def items(self) -> list[Item]:
        return [item(f"i{n}") for n in range(3)]

    def shown(self, response: Response) -> str:
        return response.answer

    def calls(self, item: Item, response: Response) -> list[JudgeCall]:
        return []

    def parse(self, call: JudgeCall, reply: str) -> dict[str, float]:
        return {}

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> Mapping[str, Any]:
        return {"grade": verdicts[0].scores["grade"] if verdicts and verdicts[0].scores else None}


def item(item_id: str) -> Item:
    return Item(id=item_id, prompt="p", language="en", category="c", length=100, rubric=("a?", "b?"))


def measure(*scores: float | None, min_coverage: float = 0.75) -> Any:
    (found,) = measures(Bench(min_coverage), {"grade": {f"i{n}": score for n, score in enumerate(scores)}})  # type: ignore[arg-type]
    return found


def test_the_value_of_a_fully_scored_measure_is_its_mean() -> None:
    found = measure(4.0, 8.0)
    assert (str(found.name), found.value, found.low, found.high) == ("bench/grade", 6.0, 6.0, 6.0)
    assert found.coverage == 1.0


def test_a_measure_is_named_by_benchmark_and_metric() -> None:
    assert measure(4.0).name == MeasureName("bench", "grade") == ("bench", "grade")
    assert f"{measure(4.0).name}" == "bench/grade"


def test_missing_scores_are_counted_and_bound_the_mean() -> None:
    found = measure(4.0, 8.0, 6.0, None)
    assert (found.value, found.scored, found.total, found.coverage) == (6.0, 3, 4, 0.75)
    assert (found.low, found.high) == (18 / 4, 28 / 4)


def test_below_the_minimum_coverage_there_is_no_headline_value() -> None:
    found = measure(4.0, None)
    assert (found.value, found.mean_of_scored) == (None, 4.0)


@pytest.mark.parametrize(("scores", "total"), [((), 0), ((None,), 1), ((None, None), 2)])
def test_without_scores_a_measure_has_no_value(scores: tuple[None, ...], total: int) -> None:
    found = measure(*scores, min_coverage=0.0)
    assert (found.mean_of_scored, found.scored, found.total, found.coverage) == (None, 0, total, 0.0)
    assert found.value is None


@settings(deadline=None, max_examples=100)
@given(st.lists(st.none() | st.floats(0, 10), min_size=1, max_size=30))
def test_the_mean_lies_within_its_bounds_whatever_is_missing(scores: list[float | None]) -> None:
    found = measure(*scores, min_coverage=0.0)
    assert 0 <= found.low <= found.high <= 10
    if found.mean_of_scored is not None:
        assert found.low - 1e-9 <= found.mean_of_scored <= found.high + 1e-9


def test_verdicts_are_matched_to_items_in_any_order() -> None:
    bench, responses = Bench(), [Response.read(f"i{n}", "x", False, 1) for n in (2, 0, 1)]
    verdicts = [
        Verdict(item_id="i1", criterion="g", scores={"grade": 7.0}, reply="", why=None, attempts=1),
        Verdict(item_id="i0", criterion="g", scores=None, reply="", why="no_json_object", attempts=3),
    ]
    assert item_scores(bench, bench.items(), responses, verdicts) == {"grade": {"i0": None, "i1": 7.0, "i2": None}}  # type: ignore[arg-type]


def test_interleaving_takes_from_every_group_in_turn() -> None:
    groups = [[item("a0"), item("a1"), item("a2")], [item("b0")], [item("c0"), item("c1")]]
    assert [i.id for i in interleaved(groups)] == ["a0", "b0", "c0", "a1", "c1", "a2"]
    assert interleaved([]) == []


def test_a_response_is_split_into_thinking_and_answer() -> None:
    read = Response.read("i", "<think>t</think><answer>a</answer>", True, 9)
    assert (read.thinking, read.answer, read.closed, read.truncated, read.tokens) == ("t", "a", True, True, 9)
    assert Response.read("i", "<think>t", True, 9).closed is False


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("[1, 2]", [1, 2]),
        ("Here: ```json\n[1]\n``` done", [1]),
        ("[1] or rather [2]", [2]),
        ("[]", []),
        ("none", "no_json_list"),
        ("[1, 2", "broken_json_list"),
        ('{"a": [1]}', "broken_json_list"),
        ("[1] and {not} [2]", "broken_json_list"),
        ("[NaN]", "not_a_number"),
        ('[{"a": 1, "a": 2}]', "repeated_key"),
        ("[" * 50_000, "broken_json_list"),
    ],
)
def test_the_last_list_of_a_reply_or_a_reason(reply: str, outcome: Any) -> None:
    if isinstance(outcome, str):
        with pytest.raises(Malformed, match=f"^{outcome}$"):
            STRICT.parse_list(reply)
    else:
        assert STRICT.parse_list(reply) == outcome


@pytest.mark.parametrize("value", [True, False, None, "7", 7.5, math.nan, math.inf, -math.inf, [7], {}])
def test_a_value_that_is_not_an_integer_is_refused(value: Any) -> None:
    with pytest.raises(Malformed, match="score_not_an_integer"):
        whole_number(value, 1, 10)


@settings(deadline=None)
@given(st.integers())
def test_an_integer_out_of_range_is_refused(value: int) -> None:
    if 1 <= value <= 10:
        assert whole_number(value, 1, 10) == whole_number(float(value), 1, 10) == value
    else:
        with pytest.raises(Malformed, match="score_out_of_range"):
            whole_number(value, 1, 10)


WRITING = WritingPrompts(
    judge_prompt="{{prompt}}|{{rubric}}|{{answer}}", temperature=0.7, top_p=0.95, min_coverage=0.98
)


def test_a_judged_benchmark_fulfils_the_protocol() -> None:
    assert isinstance(WRITING, JudgedBenchmark)
    assert isinstance(WRITING, Benchmark)


def test_a_text_can_be_taken_as_the_answer_without_parsing() -> None:
    response = Response.of_text("i", "<think>t</think>a")
    assert (response.thinking, response.answer, response.closed) == (None, "<think>t</think>a", True)


def test_the_bundled_items_are_complete() -> None:
    items = WRITING.items()
    assert len({i.id for i in items}) == len(items) == 14
    assert all(len(i.rubric) == 3 and i.prompt and (i.length or 0) > 0 for i in items)
    assert {i.language for i in items} == {"en", "zh"}
    assert {i.language for i in replace(WRITING, items_limit=3).items()} == {"en", "zh"}


def test_a_limit_draws_a_seeded_sample_with_the_shares_of_the_strata() -> None:
    items = [replace(item(f"i{n:03d}"), category="a" if n < 60 else "b" if n < 90 else "c") for n in range(100)]
    drawn = sampled(items, 10, 0, lambda i: i.category)
    assert Counter(i.category for i in drawn) == {"a": 6, "b": 3, "c": 1}
    assert drawn == sorted(drawn, key=lambda i: i.id), "the order of the items is kept"
    assert drawn == sampled(items, 10, 0, lambda i: i.category) != sampled(items, 10, 1, lambda i: i.category)
    assert sampled(items, None, 0, lambda i: i.category) == sampled(items, 100, 0, lambda i: i.category) == items
    assert {len(sampled(items, limit, 0, lambda i: i.category)) for limit in (1, 7, 99)} == {1, 7, 99}


def test_a_smaller_limit_replaces_a_larger_one() -> None:
    limits = [WRITING.at_most(5).items_limit, replace(WRITING, items_limit=3).at_most(5).items_limit]
    assert (limits, WRITING.at_most(None)) == ([5, 3], WRITING)


def test_a_limit_takes_from_all_lengths_and_languages(shared: Path) -> None:
    benchmark = LongBenchWrite(
        data=pinned(shared / "benchmarks" / "longbench_write"),
        judged=True,
        temperature=0.5,
        min_coverage=0.98,
        items_limit=20,
    )
    drawn = Counter(length_bucket(i.length or 0) for i in benchmark.items())
    assert sorted(drawn.items()) == [("0-500", 4), ("2000-4000", 5), ("4000+", 5), ("500-2000", 6)]
    assert {i.language for i in benchmark.items()} == {"en", "zh"}


def test_parts_of_a_benchmark_have_measures_with_their_coverage(shared: Path) -> None:
    benchmark = LongBenchWrite(
        data=pinned(shared / "benchmarks" / "longbench_write"), judged=True, temperature=0.5, min_coverage=0.98
    )
    items = benchmark.items()
    table = {"S_q": {i.id: None if i.language == "zh" else 50.0 for i in items}}
    found = {part.group: part.measure for part in group_measures(benchmark, items, table)}
    assert (found["language en"].value, found["language en"].scored) == (50.0, found["language en"].total)
    assert (found["language zh"].value, found["language zh"].scored) == (None, 0)
    assert sum(m.total for name, m in found.items() if name.startswith("length ")) == 120
    assert [found[f"length {name}"].total for name in ("0-500", "500-2000", "2000-4000", "4000+")] == [26, 36, 31, 27]


def test_the_length_test_of_longwriter_is_a_benchmark_of_its_own(shared: Path) -> None:
    folder = pinned(shared / "benchmarks" / "longbench_write")
    ruler = LongBenchWrite(data=folder, judged=False, temperature=0.5, min_coverage=0.98, rows="longwrite_ruler.jsonl")
    items = ruler.items()
    assert (ruler.name, len(items), items[0].id) == ("longwrite_ruler", 48, "lwr-000")
    assert sorted({i.length or 0 for i in items})[::5] == [1000, 30000]
    with pytest.raises(InputError, match="longwrite_ruler"):
        replace(ruler, rows="other.jsonl")


def test_slots_in_an_answer_are_not_filled() -> None:
    (call,) = WRITING.calls(item("i"), Response.read("i", "{{rubric}} $RESPONSE$ {}", False, 1))
    assert call.prompt.messages[-1].content == "p|- a?\n- b?|{{rubric}} $RESPONSE$ {}"


@pytest.mark.parametrize("text", ["", " ", "<think>endless", "<think>t</think>"])
def test_an_empty_answer_gets_the_worst_grade_not_a_missing_one(text: str) -> None:
    verdict = Verdict(item_id="i", criterion="quality", scores=None, reply="", why="empty_answer", attempts=0)
    table = item_scores(WRITING, [item("i")], [Response.read("i", text, False, 1)], [verdict])
    assert table == {"quality": {"i": 1.0}, "length": {"i": 0.0}}


@pytest.mark.parametrize(("grades", "quality"), [({"quality": 8.0}, 8.0), (None, None)])
def test_an_unparsable_verdict_leaves_the_item_unscored(grades: dict[str, float] | None, quality: float | None) -> None:
    response = Response.read("i", "words " * 100, False, 1)
    table = item_scores(
        WRITING,
        [item("i")],
        [response],
        [Verdict(item_id="i", criterion="quality", scores=grades, reply="", why=None, attempts=1)],
    )
    assert table == {"quality": {"i": quality}, "length": {"i": 100.0}}


@pytest.mark.parametrize(
    "change",
    [
        {"judge_prompt": "x"},
        {"temperature": 0.8},
        {"top_p": 0.9},
        {"min_coverage": 0.5},
        {"items_limit": 3},
        {"items_seed": 1},
    ],
)
def test_every_setting_is_part_of_the_identity(change: dict[str, Any]) -> None:
    assert replace(WRITING, **change).identity() != WRITING.identity()


ROWS = [
    {"prompt": "Write $RESPONSE$", "type": "t", "length": 100},
    {"prompt": "写\u2028一篇", "type": "t", "length": 300},
]


@pytest.fixture
def longbench(tmp_path: Path) -> LongBenchWrite:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (tmp_path / "longbench_write.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "judge.txt").write_text("Q: $INST$\nA: $RESPONSE$\n")
    return LongBenchWrite(data=pinned(tmp_path), judged=True, temperature=0.5, min_coverage=0.98)


def test_a_pinned_file_may_be_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("one\n\ntwo\u2028half\n".encode()))
    data = pinned(tmp_path)
    assert data.lines("a.txt") == ["one", "two\u2028half"]


def test_a_file_with_other_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    data = pinned(tmp_path)
    (tmp_path / "a.txt").write_text("two")
    with pytest.raises(InputError, match=r"a\.txt has sha256 3fc4ccfe.*pinned is 7692c3ad"):
        data.read("a.txt")


def test_the_error_for_a_missing_file_names_its_origin(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt is missing; get it from up"):
        DataFiles(folder=str(tmp_path), sha256={"a.txt": "0"}, upstream="up").read("a.txt")


def grades(value: Any) -> str:
    return json.dumps(dict.fromkeys(DIMENSIONS, value))


def test_longbench_items_keep_their_order_language_and_length(longbench: LongBenchWrite) -> None:
    assert [(i.id, i.language, i.length) for i in longbench.items()] == [("lbw-000", "en", 100), ("lbw-001", "zh", 300)]


def test_slots_in_a_longbench_prompt_or_answer_are_not_filled(longbench: LongBenchWrite) -> None:
    (call,) = longbench.calls(longbench.items()[0], Response.read("lbw-000", "My $INST$ and $RESPONSE$", False, 1))
    assert call.prompt == Prompt((Message("user", "Q: Write $RESPONSE$\nA: My $INST$ and $RESPONSE$"),))


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("Good.\n" + grades(4), 4.0),
        (json.dumps({"Analysis": "x", **json.loads(grades(5))}), 5.0),
        (json.dumps(dict.fromkeys(DIMENSIONS[1:], 4)), "missing_key"),
        (grades(6), "score_out_of_range"),
        (grades(0), "score_out_of_range"),
        (grades("4"), "score_not_an_integer"),
        (grades(None), "score_not_an_integer"),
        ("Relevance: 5", "no_json_object"),
    ],
)
def test_a_longbench_verdict_has_all_six_dimensions_or_a_reason(
    longbench: LongBenchWrite, reply: str, outcome: Any
) -> None:
    call = JudgeCall("lbw-000", "quality", Prompt(()))
    if isinstance(outcome, str):
        with pytest.raises(Malformed, match=outcome):
            longbench.parse(call, reply)
    else:
        assert longbench.parse(call, reply) == dict.fromkeys(DIMENSIONS, outcome)


@pytest.mark.parametrize(("grade", "s_q"), [(1.0, 0.0), (5.0, 100.0), (4.0, 75.0)])
def test_longbench_scores_are_quality_length_and_their_mean(
    longbench: LongBenchWrite, grade: float, s_q: float
) -> None:
    verdict = Verdict(
        item_id="lbw-000", criterion="quality", scores=dict.fromkeys(DIMENSIONS, grade), reply="", why=None, attempts=1
    )
    scores = longbench.scores(longbench.items()[0], Response.read("lbw-000", "word " * 100, False, 1), [verdict])
    assert scores == {"S_l": 100.0, "S_q": s_q, "mean_S_q_S_l": (s_q + 100) / 2}


def test_a_longbench_item_without_verdict_keeps_its_length_score(longbench: LongBenchWrite) -> None:
    verdict = Verdict(item_id="lbw-000", criterion="quality", scores=None, reply="hm", why="no_json_object", attempts=3)
    scores = longbench.scores(longbench.items()[0], Response.read("lbw-000", "word " * 100, False, 1), [verdict])
    assert scores == {"S_l": 100.0, "S_q": None, "mean_S_q_S_l": None}


def test_unjudged_longbench_makes_no_judge_calls(longbench: LongBenchWrite) -> None:
    unjudged = replace(longbench, judged=False, items_limit=1)
    (only,) = unjudged.items()
    response = Response.read("lbw-000", "word", False, 1)
    assert unjudged.calls(only, response) == []
    assert unjudged.scores(only, response, []).keys() == {"S_l"}


def test_longbench_generation_has_the_limit_of_upstream(longbench: LongBenchWrite) -> None:
    assert longbench.sampling(100_000) == Sampling(temperature=0.5, top_p=1.0, max_tokens=32768)
    assert longbench.sampling(512).max_tokens == 512
