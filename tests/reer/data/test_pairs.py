"""From rows of files to pairs: every bad row has a reason and a place, every gap is filled and counted."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import reer.data.files
from reer.data.bundled import BundledTexts
from reer.data.duplicates import Duplicates, SameRow
from reer.data.files import file_digest, row_files
from reer.data.hub import HubSource
from reer.data.jsonl import JsonlSource
from reer.data.pairs import Selection, benchmark_overlap, complete, reverse_queries, select
from reer.data.rows import BadRow, Fields, Problems, pluck
from reer.errors import InputError
from reer.models.protocols import Completion, Generator, Request
from reer.taxonomy import Category, Taxonomy
from reer.text import words
from reer.types import Pair, RawPair
from tests.fakes.prompts import PROMPTS

GOOD = b'{"query": "q", "answer": "a good one"}\n'
TAXONOMY = Taxonomy("t", {"poetry": Category(True, ("poem",), ("verse",)), "others": Category(False, ())})
ANY = Selection(None, 1, 1000)


def source(tmp_path: Path, content: bytes, **settings: Any) -> JsonlSource:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    return JsonlSource(path=str(file), **settings)


def read(tmp_path: Path, content: bytes, policy: str = "error", **settings: Any) -> tuple[list[RawPair], Problems]:
    problems = Problems(policy)  # type: ignore[arg-type]
    return list(source(tmp_path, content, **settings).rows(problems)), problems


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


BAD_LINES = [
    ("malformed_json", b'{"query": "q", "answer": "torn'),
    ("malformed_json", b"just prose"),
    ("malformed_json", b"{'query': 'q'}"),
    ("malformed_json", b"[" * 100_000),
    ("malformed_json", b'{"answer": ' + b"9" * 5000 + b"}"),
    ("not_an_object", b"[1, 2]"),
    ("not_an_object", b"null"),
    ("not_utf8", b'{"query": "q", "answer": "\xe6\x83"}'),
    ("not_utf8", b'{"query": "q", "answer": "caf\xe9"}'),
    ("missing_field", b'{"query": "q"}'),
    ("missing_field", b'{"query": "q", "answer": null}'),
    ("missing_field", b'{"answer": "a"}'),
    ("not_text", b'{"query": "q", "answer": 7}'),
    ("not_text", b'{"query": {"text": "q"}, "answer": "a"}'),
    ("unknown_shape", b'{"query": ["q"], "answer": "a"}'),
    ("not_text", b'{"query": "q", "answer": "a", "category": 3}'),
    ("broken_text", b'{"query": "q", "answer": "half \\ud83d"}'),
    ("broken_text", b'{"query": "nul \\u0000", "answer": "a"}'),
    ("empty_text", b'{"query": "q", "answer": " \\n"}'),
    ("empty_text", b'{"query": "q", "answer": "<think>only thinking</think>"}'),
]


@pytest.mark.parametrize(("reason", "line"), BAD_LINES)
def test_a_bad_row_stops_with_file_line_and_advice(tmp_path: Path, reason: str, line: bytes) -> None:
    with pytest.raises(InputError, match=r"rows\.jsonl:2: (?s:.)*on_bad_row=skip"):
        read(tmp_path, GOOD + line + b"\n" + GOOD)


@pytest.mark.parametrize(("reason", "line"), BAD_LINES)
def test_a_bad_row_is_counted_by_its_reason_when_skipped(tmp_path: Path, reason: str, line: bytes) -> None:
    pairs, problems = read(tmp_path, GOOD + line + b"\n" + GOOD, "skip")
    assert len(pairs) == 2
    assert [(drop.reason, drop.id.endswith("rows.jsonl:2")) for drop in problems.drops] == [(reason, True)]


def test_a_line_that_is_too_long_is_passed_over_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reer.data.files, "MAX_LINE_BYTES", 100)
    content = GOOD + b'{"query": "' + b"x" * 450 + b'", "answer": "a"}\n' + GOOD
    pairs, problems = read(tmp_path, content, "skip")
    assert [pair.where[-2:] for pair in pairs] == [":1", ":3"]
    assert [drop.reason for drop in problems.drops] == ["oversized_line"]
    with pytest.raises(InputError, match=r"rows\.jsonl:2: the line is longer than 100 bytes"):
        read(tmp_path, content)


def test_an_endless_last_line_ends_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reer.data.files, "MAX_LINE_BYTES", 100)
    pairs, problems = read(tmp_path, GOOD + b"x" * 1000, "skip")
    assert (len(pairs), len(problems.drops)) == (1, 1)


def test_a_byte_order_mark_and_carriage_returns_are_no_text(tmp_path: Path) -> None:
    pairs, _ = read(tmp_path, b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n") + b"\r\n" + GOOD)
    assert [(pair.solution, pair.where[-2:]) for pair in pairs] == [("a good one", ":1"), ("a good one", ":3")]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\r"])
def test_other_line_separators_are_text(tmp_path: Path, separator: str) -> None:
    row = {"query": "q", "answer": f"one{separator}two"}
    plain = separator in "\u2028\u2029\u0085"
    text = json.dumps(row, ensure_ascii=not plain) + "\n"
    pairs, _ = read(tmp_path, text.encode() + GOOD)
    assert [pair.solution for pair in pairs] == [f"one{separator}two", "a good one"]


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    assert len(read(tmp_path, GOOD + GOOD.rstrip())[0]) == 2


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_without_rows_is_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="the file has no rows"):
        read(tmp_path, content)


def test_a_missing_file_and_a_folder_say_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl: no such file"):
        row_files(str(tmp_path / "nowhere.jsonl"), "source.path")
    with pytest.raises(InputError, match="cannot be read"):
        file_digest(tmp_path)
    with pytest.raises(InputError, match=r"source\.path"):
        JsonlSource(path="")


@pytest.mark.parametrize("id", ["x", 7, 0])
def test_one_id_with_two_contents_is_an_error(tmp_path: Path, id: Any) -> None:
    rows = lines({"id": id, "query": "q", "answer": "a"}, {"id": id, "query": "q", "answer": "b"})
    with pytest.raises(InputError, match=r"rows\.jsonl:2: id .* belongs to an earlier row"):
        read(tmp_path, rows)
    pairs, problems = read(tmp_path, rows, "skip")
    assert (len(pairs), problems.drops[0].reason) == (1, "conflicting_id")


def test_one_id_with_equal_content_and_rows_without_ids_are_no_conflict(tmp_path: Path) -> None:
    row = {"id": "x", "query": "q", "answer": "a"}
    other = [{"id": id, "query": "q", "answer": answer} for id in (None, "") for answer in "bc"]
    assert len(read(tmp_path, lines(row, row, *other))[0]) == 6


def test_fields_may_be_nested_renamed_or_absent(tmp_path: Path) -> None:
    fields = Fields(query="", solution="post.body", category="", id="", votes="post.score")
    row = {"post": {"body": " text ", "score": 3}}
    ((pair,), _) = read(tmp_path, lines(row), fields=fields, min_votes=3)
    assert (pair.query, pair.solution, pair.category) == (None, "text", None)
    with pytest.raises(BadRow, match=r"no field 'post\.body' \(fields\.query\); 'post' is str"):
        pluck({"post": "text"}, "post.body", "query")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"query": "meta.promt"},
            r"no field 'meta\.promt' \(fields\.query\); 'meta' has: prompt.*mean prompt",
        ),
        ({"query": "prompts.7.text"}, r"no field 'prompts\.7\.text' .*'prompts' has: 0"),
        ({"solution": "anser"}, r"no field 'anser' \(fields\.solution\); the row has: answer, .*did you mean answer"),
        ({"category": "meta.kind"}, r"no field 'meta\.kind' \(fields\.category\)"),
        ({"votes": "meta.score"}, r"no field 'meta\.score' \(fields\.votes\)"),
        ({"id": "meta.id"}, r"no field 'meta\.id' \(fields\.id\).*did you mean uid"),
        ({"thinking": "reasonning"}, r"no field 'reasonning' \(fields\.thinking\)"),
    ],
)
def test_an_absent_field_is_an_error_at_every_level(tmp_path: Path, fields: dict[str, str], says: str) -> None:
    row = {"meta": {"prompt": "q", "uid": 1}, "prompts": [{"text": "q"}], "answer": "a"}
    with pytest.raises(InputError, match=says):
        read(tmp_path, lines(row), fields=Fields(**{"query": "meta.prompt", **fields}))


@pytest.mark.parametrize("name", ["meta.prompt", "prompts.0.text", "a.b", "turns.-1"])
def test_a_null_is_a_null_at_every_level(tmp_path: Path, name: str) -> None:
    row = {"meta": None, "prompts": [{"text": None}], "a.b": None, "turns": None, "answer": "a"}
    ((pair,), _) = read(tmp_path, lines(row), fields=Fields(query=name))
    assert pair.query is None


def test_a_nested_id_is_looked_up(tmp_path: Path) -> None:
    rows = lines(*({"meta": {"uid": 1}, "query": "q", "answer": answer} for answer in "ab"))
    with pytest.raises(InputError, match=r"id 1 belongs .*fields\.id='' .*\n.*source\.on_bad_row=skip"):
        read(tmp_path, rows, fields=Fields(id="meta.uid"))


@pytest.mark.parametrize("query", [None, "", "  "])
def test_a_query_may_be_empty_but_not_absent(tmp_path: Path, query: str | None) -> None:
    ((pair,), _) = read(tmp_path, lines({"query": query, "answer": "a"}))
    assert pair.query is None


@pytest.mark.parametrize(
    ("votes", "dropped"),
    [
        (3, []),
        (2.5, []),
        ("9", []),
        (1, ["few_votes"]),
        (True, ["no_votes"]),
        ("many", ["no_votes"]),
        (None, ["no_votes"]),
        (float("nan"), ["no_votes"]),
        (10**400, ["no_votes"]),
    ],
)
def test_a_row_with_few_votes_or_none_is_dropped(tmp_path: Path, votes: Any, dropped: list[str]) -> None:
    row = {"query": "q", "answer": "a", "v": votes}
    pairs, problems = read(tmp_path, lines(row), fields=Fields(votes="v"), min_votes=2)
    assert [drop.reason for drop in problems.drops] == dropped
    assert len(pairs) + len(dropped) == 1


def test_a_filter_that_filters_nothing_is_an_error() -> None:
    for source in (
        lambda: JsonlSource(path="f", min_votes=3),
        lambda: HubSource(repo="a/b", revision="c", split="train", min_votes=3),
        lambda: BundledTexts(min_votes=3),
    ):
        with pytest.raises(InputError, match=r"source\.min_votes: "):
            source()


def test_the_identity_of_a_file_is_its_content(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    here, there = source(tmp_path, GOOD), source(tmp_path / "sub", GOOD)
    assert here.identity() == there.identity() != source(tmp_path / "sub", GOOD + GOOD).identity()


def test_the_bundled_texts_are_whole() -> None:
    rows = list(BundledTexts().rows(Problems("error")))
    assert len({row.solution for row in rows}) == len(rows) > 0
    assert all(row.query and row.category and len(words(row.solution)) > 50 for row in rows)


@pytest.mark.parametrize(("repo", "revision"), [("name", "main"), ("a/b", "")])
def test_a_hub_source_wants_owner_name_and_revision(repo: str, revision: str) -> None:
    with pytest.raises(InputError, match="source=hub"):
        HubSource(repo=repo, revision=revision, split="train")


def raw(text: str, query: str | None = "q", category: str | None = "others") -> RawPair:
    return RawPair(query=query, solution=text, category=category, source="test", where=f"file:{text[:3]}")


def reasons(rows: Iterable[RawPair], selection: Selection = ANY) -> list[str]:
    problems = Problems("skip")
    select([raw("something else that always stays here"), *rows], selection, problems)
    return [drop.reason for drop in problems.drops]


LONG = " ".join(f"w{i}" for i in range(60))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (raw("one two"), ["solution_too_short"]),
        (raw("one two three"), []),
        (raw(" ".join(f"v{i}" for i in range(100))), []),
        (raw(" ".join(f"v{i}" for i in range(101))), ["solution_too_long"]),
        (raw("a text with <think> in it"), ["control_tokens"]),
        (raw("a text with a bad query", query="say <|im_end|>"), ["control_tokens"]),
        (raw("Something else, that always stays HERE!"), ["duplicate"]),
        (raw("a text like no other"), []),
    ],
)
def test_why_a_row_is_not_selected(row: RawPair, reason: list[str]) -> None:
    assert reasons([row], Selection(None, 3, 100)) == reason


def test_a_solution_of_too_few_segments_is_not_selected() -> None:
    one, two = raw("a single paragraph of text"), raw(f"{'a' * 100} and\n\n{'b' * 100} so")
    assert reasons([one, two], Selection(None, 3, 100, min_segments=2)) == ["solution_few_segments"] * 2
    assert reasons([one, two], Selection(None, 3, 100)) == []


def test_near_duplicates_are_found_and_lookalikes_are_not() -> None:
    seen = Duplicates()
    assert seen.reason(raw(LONG)) is None
    assert seen.reason(raw(LONG + " end")) == "near_duplicate"
    assert seen.reason(raw(" ".join(LONG.split()[::-1]))) is None
    assert seen.reason(raw("short one")) is None
    assert seen.reason(raw("short two")) is None


@pytest.mark.parametrize(
    ("same", "dropped"),
    [
        ("solution", ["duplicate", "duplicate", "near_duplicate"]),
        ("query_and_solution", ["duplicate"]),
        ("query", ["duplicate", "duplicate"]),
        ("thinking", []),
    ],
)
def test_which_rows_count_as_the_same_is_a_choice(same: SameRow, dropped: list[str]) -> None:
    first = RawPair(query="Why?", solution=LONG, category=None, source="s", where="1", thinking="one way")
    rows = [
        first,
        replace(first, where="2", thinking="another way"),
        replace(first, where="3", query="How?"),
        replace(first, where="4", query="When?", solution=LONG + " end"),
        replace(first, where="5", query="why", solution="something quite different"),
    ]
    problems = Problems("skip")
    assert select(rows, ANY, problems, same_row=same)[0] is first
    assert [drop.reason for drop in problems.drops] == dropped


def test_rows_without_queries_are_told_apart_by_their_solutions() -> None:
    seen = Duplicates("query")
    assert seen.reason(raw("one text here", query=None)) is None
    assert seen.reason(raw("another text here", query=None)) is None
    assert seen.reason(raw("one text here", query=None)) == "duplicate"


def test_the_rule_of_duplicates_identifies_a_source_where_it_is_another_than_usual(tmp_path: Path) -> None:
    plain, other = source(tmp_path, GOOD), source(tmp_path, GOOD, same_row="query")
    assert "same_row" not in plain.identity()
    assert plain.identity() != other.identity()


def test_several_trajectories_of_one_pair_are_pairs_with_ids_of_their_own() -> None:
    row = replace(raw("the same text"), thinking="one way")
    done = complete([row, replace(row, thinking="another way")], TAXONOMY, PROMPTS, lambda: pytest.fail("no model"))
    assert len({pair.id for pair in done.pairs}) == 2
    assert sorted(done.thinking.values()) == ["another way", "one way"]


def test_the_first_rows_that_pass_are_selected_and_reading_stops_there() -> None:
    def rows() -> Iterable[RawPair]:
        yield from (raw("one"), raw("first good text"), raw("second good text"))
        raise AssertionError("read on")

    kept = select(rows(), Selection(2, 2, 100), Problems("skip"))
    assert [row.solution for row in kept] == ["first good text", "second good text"]


def test_nothing_left_says_why_and_what_to_loosen() -> None:
    problems = Problems("skip")
    problems.add("file:7", "not_text", "field 'answer' wants text, got int")
    with pytest.raises(InputError, match=r"short 2, not_text 1; for example file:7: .*scale\.min_words \(3\)"):
        select([raw("a"), raw("b")], Selection(None, 3, 9), problems)
    with pytest.raises(InputError, match="it has no rows"):
        select([], ANY, Problems("skip"))


@pytest.mark.parametrize("bad", [(0, 1, 2), (None, 0, 2), (None, 3, 2)])
def test_impossible_selections_are_refused(bad: tuple[int | None, int, int]) -> None:
    with pytest.raises(InputError, match="scale: want"):
        Selection(*bad)


class Writes:
    """A generator that answers by a function of the prompt's last turn."""

    name = "writes"

    def __init__(self, write: Callable[[str], str], stopped: str = "stop") -> None:
        self.write, self.stopped = write, stopped

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for i, r in enumerate(requests):
            yield (
                i,
                Completion(
                    text=self.write(r.prompt.messages[-1].content), stopped=self.stopped, prompt_tokens=1, tokens=1
                ),
            )  # type: ignore[arg-type]


def never() -> Generator:
    raise AssertionError("the model was opened")


def test_complete_rows_need_no_model() -> None:
    done = complete([raw("text", category="verse")], TAXONOMY, PROMPTS, never)
    (pair,) = done.pairs
    assert (pair.query, pair.solution, pair.category, pair.language) == ("q", "text", "poetry", "en")
    assert (done.queries_reversed, done.queries_by_template, done.categories_by_model, done.categories_by_rule) == (
        0,
        0,
        0,
        0,
    )


def test_gaps_are_filled_and_counted_by_who_filled_them() -> None:
    rows = [
        raw("text a", None, None),
        raw("text b", None, "poetry"),
        raw("text c", "a poem", None),
        raw("text d", "q", "x"),
    ]

    def write(asked: str) -> str:
        if "One of" in asked:
            return "others" if "poem" not in asked else "no idea"
        return "Write me a text of this kind" if "text a" in asked else "?"

    done = complete(rows, TAXONOMY, PROMPTS, lambda: Writes(write))
    assert [pair.category for pair in done.pairs] == ["others", "poetry", "poetry", "others"]
    assert done.pairs[1].query == "Write a text that begins: text b"
    assert (done.queries_reversed, done.queries_by_template, done.categories_by_model, done.categories_by_rule) == (
        1,
        1,
        2,
        1,
    )


@pytest.mark.parametrize(
    ("reply", "stopped", "templated"),
    [
        ("Write a long poem now", "stop", 0),
        ("Write a long poem now", "length", 1),
        ("Too short", "stop", 1),
        ("word " * 121, "stop", 1),
        ("Write a <think> poem now please", "stop", 1),
        ("", "stop", 1),
    ],
)
def test_a_reply_that_cannot_be_a_query_is_replaced(reply: str, stopped: str, templated: int) -> None:
    (query,), count = reverse_queries(["Boats.\nMore."], Writes(lambda _: reply, stopped), PROMPTS)
    assert (query, count) == ("Write a text that begins: Boats." if templated else reply, templated)


def test_a_pairs_id_and_language_come_from_its_content_alone() -> None:
    rows = [
        raw("text", "写诗"),
        RawPair(query=" 写诗 ", solution="text", category="poetry", source="elsewhere", where="z:9"),
    ]
    first, second = complete(rows, TAXONOMY, PROMPTS, never).pairs
    assert first.id == second.id
    assert first.language == "zh"


def test_queries_that_are_benchmark_prompts_are_found() -> None:
    def pair(id: str, query: str) -> Pair:
        return Pair(id=id, query=query, solution="y", category="others", language="en", source="test")

    prompts = ["Write a story about the old lighthouse and its last keeper.", "A haiku, please"]
    pairs = [
        pair("shares", "First: write a story about the old lighthouse and then stop"),
        pair("is", "a haiku please!"),
        pair("holds", "Now a haiku, please"),
        pair("apart", "Write a story about the new harbour and its first ship"),
    ]
    assert benchmark_overlap(pairs, iter(prompts)) == ["shares", "is"]
