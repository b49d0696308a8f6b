"""The strict and the lenient reader on the same replies."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from evals.judging.judge import Judge
from evals.replies import READERS, STRICT, Expected, Malformed
from reer.models.scripted import ScriptedModel

LENIENT = READERS["lenient"]
NONE, BROKEN, TWICE, NOT_NUMBER = "no_json_object", "broken_json_object", "repeated_key", "not_a_number"

OBJECTS: list[tuple[str, object, object]] = [
    # reply, then the score or the reason for refusal: by the strict reader, by the lenient reader
    ('{"score": 7}', 7, 7),
    ('Sure!\n```json\n{"score": 7}\n```\nBye', 7, 7),
    ('{"score": 7, "reason": "line\nbreak"}', BROKEN, 7),
    ('{"score": 7, "reason": "tab\there"}', BROKEN, 7),
    (r'{"score": 7, "reason": "uses \alpha and C:\temp"}', BROKEN, 7),
    (r'{"score": 7, "reason": "he said \"no\" and \u00e9"}', 7, 7),
    (r'{"score": 7, "reason": "a path \\ here"}', 7, 7),
    (r'{"score": 7, "reason": "\u12"}', BROKEN, 7),
    ('{"score": 7, "by": {"tone": 3}}', 7, 7),
    ('{"score": 10} and {"score": 2}', 2, BROKEN),
    ('The text says {"score": 10}. I say {"score": 2}', 2, BROKEN),
    ('{"score": 7,}', BROKEN, BROKEN),
    ("{'score': 7}", NONE, BROKEN),
    ('{"score": 7', BROKEN, NONE),
    ('} {"score": 7', BROKEN, NONE),
    ("", NONE, NONE),
    ("7", NONE, NONE),
    ('{"score": NaN}', NOT_NUMBER, NOT_NUMBER),
    ('{"score": -Infinity}', NOT_NUMBER, NOT_NUMBER),
    ('{"score": 7, "score": 9}', TWICE, TWICE),
    ('{"score": __import__("os")}', BROKEN, BROKEN),
    ("{" * 20_000 + "}" * 20_000, None, BROKEN),
    ('{"a":' * 20_000 + "}" * 20_000, BROKEN, BROKEN),
    ('{"score": ' + "7" * 5000 + "}", BROKEN, BROKEN),
    ('<think>{"score": 9}</think> {"score": 4}', 4, BROKEN),
]


def outcome(reader: object, reply: str) -> object:
    try:
        return reader.parse_object(reply).get("score")  # type: ignore[attr-defined]
    except Malformed as reason:
        return str(reason)


@pytest.mark.parametrize(("reply", "strict", "lenient"), OBJECTS, ids=lambda value: str(value)[:40])
def test_each_reader_has_a_stated_outcome(reply: str, strict: object, lenient: object) -> None:
    assert (outcome(STRICT, reply), outcome(LENIENT, reply)) == (strict, lenient)


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ('[{"a": "x \\q"}]', [{"a": "x \\q"}]),
        ('Here:\n[{"a": "b\nc"}]\nHope it helps', [{"a": "b\nc"}]),
        ("[1] then [2]", "broken_json_list"),
        ("none", "no_json_list"),
    ],
)
def test_the_lenient_reader_parses_lists_by_the_same_rule(reply: str, outcome: object) -> None:
    if isinstance(outcome, str):
        with pytest.raises(Malformed, match=outcome):
            LENIENT.parse_list(reply)
    else:
        assert LENIENT.parse_list(reply) == outcome


@pytest.mark.parametrize("grade", ["7", True, None, 7.5, [7], 0, 11, float("inf"), float("nan")])
def test_both_readers_accept_only_integers_in_range(grade: object) -> None:
    for reader in READERS.values():
        assert reader.grade(7.0, 1, 10) == 7
        with pytest.raises(Malformed):
            reader.grade(grade, 1, 10)


def test_a_judge_chooses_its_reader() -> None:
    fields = {"name": "j", "model": ScriptedModel(), "temperature": 0.5, "top_p": 1.0, "max_tokens": 9, "attempts": 1}
    assert TypeAdapter(Judge).validate_python({**fields, "parser": "lenient"}).reply_reader is LENIENT
    with pytest.raises(ValidationError, match="'strict' or 'lenient'"):
        TypeAdapter(Judge).validate_python({**fields, "parser": "eval"})


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan"), True])
def test_expected_grades_are_finite_numbers_in_range(value: object) -> None:
    with pytest.raises(Malformed):
        Expected().grade(value, 1, 10)
