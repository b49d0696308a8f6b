"""Public reasoning rows in the shapes such data sets come in."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from reer.data.draw import Draw, subject_of
from reer.data.public import PublicRows
from reer.data.rows import Problems
from reer.errors import InputError
from reer.types import Sample


def read(tmp_path: Path, *rows: Any, limit: int | None = None, policy: str = "error") -> tuple[list[Sample], Problems]:
    file = tmp_path / "public.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    problems = Problems(policy, key="public")  # type: ignore[arg-type]
    return list(PublicRows(name="test", path=str(file), limit=limit).samples(problems)), problems


def turns(reply: str) -> dict[str, Any]:
    return {"system": "s", "conversations": [{"from": "user", "value": " q "}, {"from": "assistant", "value": reply}]}


@pytest.mark.parametrize(
    "row",
    [
        {"question": "q", "reasoning": "r", "answer": "a"},
        {"question": " q", "answer": "r\n#### a"},
        {"question": "q", "reasoning": "", "answer": "r\n####a "},
        turns("<|begin_of_thought|>\nr\n<|end_of_thought|>\n\n<|begin_of_solution|>a<|end_of_solution|>"),
        turns("<|begin_of_thought|>r<|end_of_thought|>\n\na"),
        turns("<think>\nr\n</think>\n\na"),
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>r</think>a"}]},
    ],
)
def test_each_shape_gives_question_thinking_and_answer(tmp_path: Path, row: dict[str, Any]) -> None:
    ((sample,), _) = read(tmp_path, row)
    assert (sample.messages[0].content, sample.thinking, sample.answer) == ("q", "r", "a")
    assert [m.role for m in sample.messages] == ["user", "assistant"]
    assert (sample.source, sample.category) == ("test", "reasoning")


@pytest.mark.parametrize(
    "last",
    [
        {"role": "assistant", "content": "a", "thinking": "r"},
        {"role": "assistant", "content": "a", "reasoning_content": " r\n"},
        {"from": "gpt", "value": "<think>r</think>\na"},
        {"role": "assistant", "content": [{"type": "text", "text": "<think>r</think>"}, {"type": "text", "text": "a"}]},
    ],
)
def test_thinking_is_found_wherever_a_turn_keeps_it(tmp_path: Path, last: dict[str, Any]) -> None:
    ((sample,), _) = read(tmp_path, {"messages": [{"role": "user", "content": [{"text": "q"}]}, last]})
    assert (sample.messages[0].content, sample.thinking, sample.answer) == ("q", "r", "a")


def test_a_reply_between_two_thinkings_is_not_taught_as_thinking(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="want one thinking, before the reply"):
        read(tmp_path, turns("<think>one</think> two <think>three</think> four"))


def test_earlier_turns_stay_as_context_with_their_thinking(tmp_path: Path) -> None:
    row = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a", "reasoning_content": "r"},
            {"role": "user", "content": "p"},
            {"role": "assistant", "content": "<think>t</think>b"},
        ]
    }
    ((sample,), _) = read(tmp_path, row)
    assert [(m.role, m.content) for m in sample.messages] == [
        ("system", "s"),
        ("user", "q"),
        ("assistant", "<think>\nr\n</think>\n\na"),
        ("user", "p"),
        ("assistant", "b"),
    ]
    assert (sample.thinking, sample.answer) == ("t", "b")


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "p"}],
        [{"role": "tool", "content": "q"}, {"role": "assistant", "content": "a"}],
        [{"role": "user", "content": [{"type": "image", "url": "x"}]}, {"role": "assistant", "content": "a"}],
        [{"role": "assistant", "content": "q"}, {"role": "assistant", "content": "a"}],
    ],
)
def test_what_is_no_question_and_reply_is_reported(tmp_path: Path, turns: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError, match=r"want (conversations|the turn before the reply)"):
        read(tmp_path, {"messages": turns})


def test_the_last_mark_of_gsm8k_parts_steps_from_result(tmp_path: Path) -> None:
    ((sample,), _) = read(tmp_path, {"question": "q", "answer": "one #### two\n#### 3"})
    assert (sample.thinking, sample.answer) == ("one #### two", "3")
    headed = "Intro\n\n#### Step 1\nDo it.\n\n#### Conclusion\nBye."
    ((sample,), _) = read(tmp_path, {"question": "q", "answer": headed})
    assert (sample.thinking, sample.answer) == ("", headed)


@pytest.mark.parametrize(
    "reply",
    [
        "Hi. <|begin_of_thought|>r<|end_of_thought|>a",
        "<|begin_of_thought|>r<|end_of_thought|><|begin_of_solution|>a<|end_of_solution|> Bye.",
    ],
)
def test_words_outside_the_markers_are_reported_not_lost(tmp_path: Path, reply: str) -> None:
    with pytest.raises(InputError, match="no text outside its markers"):
        read(tmp_path, turns(reply))


def test_a_row_without_thinking_has_an_answer_alone(tmp_path: Path) -> None:
    ((sample,), _) = read(tmp_path, {"question": "q", "answer": 42})
    assert (sample.thinking, sample.answer) == ("", "42")


@pytest.mark.parametrize(
    "row",
    [
        {"text": "x"},
        {"conversations": []},
        {"conversations": ["q", "a"]},
        {"conversations": [{"value": "q"}]},
        {"conversations": [{"value": ""}, {"value": "a"}]},
        {"conversations": "q a"},
    ],
)
def test_an_unknown_shape_is_reported_with_file_and_line(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"public\.jsonl:1: want (query/answer|conversations)"):
        read(tmp_path, row)
    samples, problems = read(tmp_path, row, {"question": "q", "answer": "a"}, policy="skip")
    assert len(samples) == 1
    assert [drop.reason for drop in problems.drops] == ["unknown_shape"]


def test_a_question_or_answer_that_is_null_is_reported(tmp_path: Path) -> None:
    for row, says in (({"question": None, "answer": "a"}, "empty"), ({"question": "q", "answer": None}, "is null")):
        with pytest.raises(InputError, match=rf"public\.jsonl:1: .*{says}(?s:.)*public\.on_bad_row=skip"):
            read(tmp_path, row)


def test_no_usable_row_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"public=test: no row can be used; for example .*public\.jsonl:1: want "):
        read(tmp_path, {"text": "x"}, policy="skip")


def test_the_limit_bounds_the_rows_read(tmp_path: Path) -> None:
    rows = [{"question": f"q{i}", "answer": "a"} for i in range(5)]
    assert [s.messages[0].content for s in read(tmp_path, *rows, limit=2)[0]] == ["q0", "q1"]
    assert len(read(tmp_path, *rows, limit=9)[0]) == 5


def drawn(tmp_path: Path, rows: list[dict[str, Any]], **settings: Any) -> list[str]:
    """The questions that a draw takes."""
    file = tmp_path / "public.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    problems = Problems("skip", key="public")
    samples = list(PublicRows(name="test", path=str(file), on_bad_row="skip", **settings).samples(problems))
    return [sample.messages[0].content for sample in samples]


KINDS = [{"question": f"q{n}", "answer": f"a{n}", "kind": "abbb"[n % 4]} for n in range(400)]
HALVES: dict[str, Any] = {"shares": {"a": 0.5, "b": 0.5}, "stratum": "kind", "limit": 40}


def test_a_draw_gives_each_stratum_its_share_in_the_order_of_the_rows(tmp_path: Path) -> None:
    numbers = [int(question[1:]) for question in drawn(tmp_path, KINDS, **HALVES)]
    assert [sum(n % 4 == 0 for n in numbers), len(numbers), sorted(numbers)] == [20, 40, numbers]
    assert max(numbers) > 300, "not the first rows"


def test_a_draw_hangs_on_its_seed_and_the_rows_not_on_their_order(tmp_path: Path) -> None:
    first = drawn(tmp_path, KINDS, **HALVES)
    assert sorted(drawn(tmp_path, KINDS[::-1], **HALVES)) == sorted(first)
    assert drawn(tmp_path, KINDS, **HALVES, seed=1) != first


def test_equal_rows_are_drawn_once_and_bad_ones_never(tmp_path: Path) -> None:
    rows = [*KINDS[:8] * 20, {"text": "x", "kind": "a"}]
    settings = {**HALVES, "limit": 4}
    assert len(set(drawn(tmp_path, rows, **settings))) == 4
    with pytest.raises(InputError, match=r"shares: a: 2 different rows, its share is 3; found: b 120, a 40\. Lower"):
        drawn(tmp_path, rows, **settings | {"limit": 6})


def test_every_row_of_a_stratum_is_drawn_equally_often(tmp_path: Path) -> None:
    """40 of 100 rows in each of 60 draws: 24 a row, give or take 4.4 standard deviations of 3.8."""
    samples, _ = read(tmp_path, *KINDS[::4])
    taken = Counter[str]()
    for seed in range(60):
        draw = Draw({"a": 1.0}, 40, seed)
        for sample in samples:
            draw.add("a", sample)
        rows = list(draw.rows())
        assert len(rows) == 40
        taken.update(sample.id for sample in rows)
    assert 7 <= min(taken.values()) <= max(taken.values()) <= 41


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        ("Return your final response within \\boxed{}. How long is the side?", "mathematics"),
        ("What is 3 + 4?", "mathematics"),
        ("Prove that the sum of two odd integers is even.", "mathematics"),
        ("Generate an executable Python function. It reads stdin and prints the output.", "code"),
        ("Why does this fail?\n```\nx = 1\n```", "code"),
        ("How do enzymes lower the activation energy of a reaction at 300 K?", "science"),
        ("What is the velocity of an electron in a magnetic field of 2 T?", "science"),
        ("What has keys but opens no locks?", "other"),
    ],
)
def test_the_subject_of_a_question_follows_from_its_words(question: str, subject: str) -> None:
    assert subject_of(question) == subject


def test_the_subjects_of_real_questions(shared: Path) -> None:
    """Questions of sets that hold one subject each."""
    expected = {"gsm8k_train": ("mathematics", 0.95), "aqua_dev": ("mathematics", 0.9), "mbpp_train": ("code", 0.9)}
    for name, (subject, least) in expected.items():
        lines = (shared / "reasoning" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[:300]
        found = [subject_of(str(json.loads(line)["question"])) for line in lines]
        assert found.count(subject) >= least * len(found), (name, Counter(found))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"shares": {"a": 0.5}, "limit": 3}, "the shares want to add up to 1, got 0.5"),
        ({"shares": {"a": 1.0}}, r"public\.limit: want the number of rows to draw"),
        ({"seed": 1}, r"public\.shares: want shares for a draw, got stratum '' and seed 1"),
        ({"stratum": "kind"}, r"public\.shares: want shares for a draw, got stratum 'kind'"),
    ],
)
def test_settings_of_a_draw_that_do_nothing_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        PublicRows(name="x", **settings)


def test_ids_are_of_the_content(tmp_path: Path) -> None:
    row = {"question": "q", "reasoning": "r", "answer": "a"}
    samples, _ = read(tmp_path, row, {"answer": "a", "reasoning": "r", "question": "q"}, row | {"reasoning": "s"})
    assert samples[0].id == samples[1].id != samples[2].id


def test_the_identity_is_the_content_not_the_path(tmp_path: Path) -> None:
    for name, text in (("a", "{}"), ("b", "{}"), ("c", "{ }")):
        (tmp_path / name).write_text(text)
    a, b, c = (PublicRows(name="x", path=str(tmp_path / name)).identity() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("where", [{"path": "p", "repo": "a/b", "revision": "r"}, {"repo": "a/b"}])
def test_a_path_and_a_repo_or_a_repo_without_revision_is_refused(where: dict[str, str]) -> None:
    with pytest.raises(InputError, match="public=x"):
        PublicRows(name="x", **where)  # type: ignore[arg-type]


def test_the_bundled_problems_all_have_thinking_and_answer() -> None:
    samples = list(PublicRows(name="problems").samples(Problems("error")))
    assert len({sample.id for sample in samples}) == len(samples) == 32
    assert all(sample.thinking and sample.answer for sample in samples)
