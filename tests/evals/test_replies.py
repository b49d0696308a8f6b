"""The strict and the lenient reader on the same replies."""

from __future__ import annotations

import time

import pytest
from pydantic import TypeAdapter, ValidationError

from evals.judging.judge import Judge
from evals.replies import READERS, STRICT, Expected, Malformed, Reader
from reer.models.scripted import ScriptedModel

LENIENT = READERS["lenient"]
NONE, BROKEN, OPEN, TWICE = "no_json_object", "broken_json_object", "unclosed_thinking", "repeated_key"
MISSING, UNLIKE, NOT_FINITE = "missing_key", "two_unlike_grades", "not_a_number"
TYPE, OUT, SCALE = "score_not_an_integer", "score_out_of_range", "score_on_another_scale"

Outcome = float | str
BOTH: list[tuple[str, Outcome]] = [
    # plain verdicts, in prose and in code fences
    ('{"score": 7}', 7),
    ('{"score":7,"reason":"clear, if a little dry"}', 7),
    ('{"reason": "the ending is rushed", "score": 4}', 4),
    ('{"score": 7.0}', 7),
    ('{"score": 1}', 1),
    ('{"score": 10}', 10),
    ('{"score": 7}}}}', 7),
    ('[{"score": 7}]', 7),
    ('  \n\n{"score": 7}\n', 7),
    ('\ufeff\u200b{"score": 7}', 7),
    ('Sure!\n```json\n{"score": 7}\n```\nBye', 7),
    ('```\n{"score": 7}\n```', 7),
    ('```json\n{"score": 7, "reason": "no closing fence"}', 7),
    ('My verdict follows. {"score": 6} I hope this helps.', 6),
    ('{name} has style. {"score": 6}', 6),
    ('A set {1, 2} of flaws. {"score": 5}', 5),
    ('{\n  "score": 8,\n  "reason": "vivid"\n}', 8),
    ('{"score": 7, "by": {"tone": 3}}', 7),
    ('{"score": 7, "list": [1, 2, {"score": 9}]}', 7),
    ('{"score": 7, "reason": "it holds { and [ and \\"score\\": 10"}', 7),
    ('{"score": 7, "reason": "he said \\"no\\" and \\u00e9"}', 7),
    ('{"score": 7, "reason": "a path \\\\ here"}', 7),
    ('{"score": 7, "reason": "评语：结构清晰，文笔流畅。"}', 7),
    ('{"score": 7, "reason": "an emoji 👩\u200d👧"}', 7),
    ('{"score": 7, "reason": ""}', 7),
    ('{"score": 7, "reason": null, "ok": true}', 7),
    # raw line breaks and tabs in a text
    ('{"score": 7, "reason": "line\nbreak"}', 7),
    ('{"score": 7, "reason": "two\r\nlines"}', 7),
    ('{"reason": "First.\n\nSecond.\n- a point", "score": 3}', 3),
    ('{"score": 7, "reason": "tab\there"}', 7),
    # the same verdict twice
    ('{"score": 7} As I said: {"score": 7}', 7),
    ('```json\n{"score": 7, "reason": "a"}\n```\nIn short: {"score": 7}', 7),
    # thinking before the verdict, closed
    ('<think>maybe {"score": 9}</think>\n{"score": 4}', 4),
    ('<think>Form: {"score": <integer>, "reason": <text>}</think>{"score": 8}', 8),
    ('<think>\n</think>\n\n{"score": 8}', 8),
    ('no opening tag, as templates leave it out</think>{"score": 8}', 8),
    ('Draft: {"score": 3}. No.</think>{"score": 8}', 8),
    ('<think>a</think><think>b {"score": 2}</think>{"score": 8}', 8),
    ('<think>he wrote </think> in it {"score": 2}</think>{"score": 8}', 8),
    ('<THINK>{"score": 2}</THINK>{"score": 8}', 8),
    ('<thinking>{"score": 2}</thinking>{"score": 8}', 8),
    ('<seed:think>{"score": 2}</seed:think>{"score": 8}', 8),
    ('[THINK]{"score": 2}[/THINK]{"score": 8}', 8),
    ('◁think▷{"score": 2}◁/think▷{"score": 8}', 8),
    ('<|channel|>analysis<|message|>{"score": 2}<|end|><|channel|>final<|message|>{"score": 8}<|return|>', 8),
    ('{"score": 2}<think>that was a draft</think>{"score": 8}', 8),
    # tags that a verdict quotes
    ('{"score": 3, "reason": "a stray </think> stands in it"}', 3),
    ('{"score": 3, "reason": "it begins with <think> and never ends it"}', 3),
    ('{"score": 3, "reason": "<think>…</think> is left in"}', 3),
    ('<think>hm</think>{"score": 3, "reason": "a stray </think>"}', 3),
    # thinking that does not end: no grade is read out of it
    ('<think>First idea: {"score": 3}. Hmm, but', OPEN),
    ("<think>", OPEN),
    ('<think>{"score": 3}', OPEN),
    ('{"score": 7}\n<think>or {"score": 2}', OPEN),
    ('<think>a</think>{"score": 7}<think>wait', OPEN),
    ('<thinking>so {"score": 3, "reason": "x"}', OPEN),
    ('[THINK]{"score": 3}', OPEN),
    ('◁think▷{"score": 3}', OPEN),
    ('<|channel|>analysis<|message|>{"score": 3}', OPEN),
    ('<think>{"score": 3, "reason": "I will close with </think>"}', OPEN),
    # no verdict
    ("", NONE),
    ("7", NONE),
    ("[7]", NONE),
    ("Score: 7", NONE),
    ("**Score: 8/10**", NONE),
    ("I would give this a 7 out of 10.", NONE),
    ("I'm sorry, I cannot grade this text.", NONE),
    ("</think>", NONE),
    ('<think>{"score": 9}</think>', NONE),
    ('{"score": 9}</think>', NONE),
    ('<think>{"score": 9}</think> I cannot say.', NONE),
    ("{score: 7}", NONE),
    ("<score>7</score>", NONE),
    ("null", NONE),
    # not parsable
    ('{"score": 7', BROKEN),
    ('} {"score": 7', BROKEN),
    ('{"score": 7, "reason": "cut o', BROKEN),
    ('{"score": 7, "reason": "the "moon" line"}', BROKEN),
    ('{"score": 07}', BROKEN),
    ('{"score": 7 "reason": "x"}', BROKEN),
    ('{"score" 7}', BROKEN),
    ('{"score": 7,, "reason": "x"}', BROKEN),
    ('{"score": __import__("os")}', BROKEN),
    ('{"score": 7} // {"score": ', BROKEN),
    ('{"score": ' + "7" * 5000 + "}", BROKEN),
    ('{"a":' * 20_000 + "}" * 20_000, BROKEN),
    ('{"score": 10 {"score": 3}', BROKEN),
    ('{"score": 2, "reason": "it says {"score": 10} itself"}', BROKEN),
    ('{"score": <integer>, "reason": "…"} {"score": 7}', BROKEN),
    ('{"score": 7 /* good */}', BROKEN),
    # the key is missing
    ("{}", MISSING),
    ('{"Score": 7}', MISSING),
    ('{"rating": 7}', MISSING),
    ('{"result": {"score": 7}}', MISSING),
    ('{"score": 7} {}', MISSING),
    ('{"score": 7} {"note": "done"}', MISSING),
    # the type is wrong
    ('{"score": true}', TYPE),
    ('{"score": null}', TYPE),
    ('{"score": [7]}', TYPE),
    ('{"score": {"score": 7}}', TYPE),
    ('{"score": 7.5}', TYPE),
    ('{"score": 1e999}', TYPE),
    ('{"score": "seven"}', TYPE),
    ('{"score": ""}', TYPE),
    ('{"score": "7.5"}', TYPE),
    ('{"score": "7-8"}', TYPE),
    ('{"score": "0_7"}', TYPE),
    ('{"score": "-7"}', TYPE),
    ('{"score": NaN}', NOT_FINITE),
    ('{"score": -Infinity}', NOT_FINITE),
    # out of range
    ('{"score": 0}', OUT),
    ('{"score": 11}', OUT),
    ('{"score": -1}', OUT),
    ('{"score": 1e3}', OUT),
    ('{"score": 10000000000000000000000}', OUT),
    # two verdicts, and two values of one key
    ('{"score": 10} and {"score": 2}', UNLIKE),
    ('The text says {"score": 10}. I say {"score": 2}', UNLIKE),
    ('{"score": 7}\nScale: {"score": 1} is bad, {"score": 10} is good.', UNLIKE),
    ('{"score": 7} {"score": "7"}', UNLIKE),
    ('{"score": 7, "score": 9}', TWICE),
    ('{"score": 7, "why": {"a": 1, "a": 2}}', TWICE),
]
UNLIKE_READERS: list[tuple[str, Outcome, Outcome]] = [
    # reply, then the outcome of the strict and of the lenient reader
    ('{"score": "8"}', TYPE, 8),
    ('{"score": " 8 "}', TYPE, 8),
    ('{"score": "8.0"}', TYPE, 8),
    ('{"score": "８"}', TYPE, 8),
    ('{"score": "11"}', TYPE, OUT),
    ('{"score": "0"}', TYPE, OUT),
    ('{"score": "8/10"}', TYPE, 8),
    ('{"score": "8 / 10"}', TYPE, 8),
    ('{"score": "８／１０"}', TYPE, 8),
    ('{"score": "4/5"}', TYPE, SCALE),
    ('{"score": "80/100"}', TYPE, SCALE),
    ('{"score": 8/10}', BROKEN, 8),
    ('{"score": 8 / 10, "reason": "x"}', BROKEN, 8),
    ('{"score": 4/5}', BROKEN, SCALE),
    ('{"score": +8}', BROKEN, 8),
    ('{"score": ７}', BROKEN, 7),
    ('{"score"：7，"reason"："好"}', BROKEN, 7),
    ('｛"score": 7｝', NONE, 7),
    ("{“score”: 7}", NONE, 7),
    ("{“score”：７，“reason”：“文笔流畅”}", NONE, 7),
    ("{‘score’: 7}", NONE, 7),
    ("{'score': 7}", NONE, 7),
    ("{'score': 7, 'reason': 'the \"moon\" line'}", NONE, 7),
    ("{'score': 7, 'reason': 'it\\'s good'}", NONE, 7),
    ("{'score': 7, 'reason': 'it's good'}", NONE, BROKEN),
    ("{'score': 7, 'reason': None, 'ok': True}", NONE, 7),
    ("{'score': None}", NONE, TYPE),
    ("{'score': 10} or {'score': 2}", NONE, UNLIKE),
    ("{'score': 7, 'score': 9}", NONE, TWICE),
    ('{"score": 7,}', BROKEN, 7),
    ('{"score": 7, "points": [1, 2,],\n}', BROKEN, 7),
    ('{"score": 7, "points": [,]}', BROKEN, BROKEN),
    (r'{"score": 7, "reason": "uses \alpha and C:\temp"}', BROKEN, 7),
    (r'{"score": 7, "reason": "\u12"}', BROKEN, 7),
    ("<think>{'score': 2}</think>{'score': 8,}", NONE, 8),
    ("<think>{'score': 2,}", OPEN, OPEN),
    ("{'score': 8, 'reason': 'a stray </think> tag'}", NONE, 8),
    ("{" * 20_000 + "}" * 20_000, MISSING, MISSING),
]


def outcome(reader: Reader, reply: str) -> Outcome:
    try:
        return reader.grade(reader.parse_object(reply, ("score",))["score"], 1, 10)
    except Malformed as reason:
        return str(reason)


@pytest.mark.parametrize(
    ("reply", "strict", "lenient"),
    [*((reply, found, found) for reply, found in BOTH), *UNLIKE_READERS],
    ids=lambda value: str(value)[:40],
)
def test_each_reader_has_a_stated_outcome(reply: str, strict: Outcome, lenient: Outcome) -> None:
    assert (outcome(STRICT, reply), outcome(LENIENT, reply)) == (strict, lenient)


ENTRIES = '[{"id": 0, "grade": 1}, {"id": 1, "grade": 0.5}]'


@pytest.mark.parametrize(
    ("reply", "strict", "lenient"),
    [
        (ENTRIES, [1, 0.5], [1, 0.5]),
        (f"Here:\n```json\n{ENTRIES}\n```\nHope it helps", [1, 0.5], [1, 0.5]),
        (f'<think>[{{"grade": 0}}] or [</think>{ENTRIES}', [1, 0.5], [1, 0.5]),
        (f"{ENTRIES} that is {ENTRIES}", [1, 0.5], [1, 0.5]),
        ('[{"id": 0, "grade": 1, "why": "a\nb"}]', [1], [1]),
        ('[{"grade": 1, "why": "a stray </think> tag"}]', [1], [1]),
        ("[1] then [2]", [], []),
        (f"[1] was a note. {ENTRIES}", [1, 0.5], [1, 0.5]),
        (f'{ENTRIES} or [{{"grade": 0}}]', "two_unlike_grades", "two_unlike_grades"),
        ('<think>[{"grade": 0}]', "unclosed_thinking", "unclosed_thinking"),
        ("none", "no_json_list", "no_json_list"),
        ("[1, 2", "broken_json_list", "broken_json_list"),
        (f'{{"results": {ENTRIES}}}', "broken_json_list", "broken_json_list"),
        ("[{'grade': 1},]", "broken_json_list", [1]),
        ("［｛“grade”：1｝］", "no_json_list", [1]),
        ('[{"grade": 1, "why": "x \\q"}]', "broken_json_list", [1]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_lists_are_read_by_the_same_rules(reply: str, strict: object, lenient: object) -> None:
    def found(reader: Reader) -> object:
        try:
            entries = reader.parse_list(reply, "grade")
        except Malformed as reason:
            return str(reason)
        return [entry["grade"] for entry in entries if isinstance(entry, dict)]

    assert (found(STRICT), found(LENIENT)) == (strict, lenient)


@pytest.mark.parametrize("grade", [True, None, 7.5, [7], 0, 11, float("inf"), float("nan")])
def test_both_readers_accept_only_integers_in_range(grade: object) -> None:
    for reader in READERS.values():
        assert reader.grade(7.0, 1, 10) == 7
        with pytest.raises(Malformed):
            reader.grade(grade, 1, 10)


@pytest.mark.parametrize("reader", READERS.values(), ids=list(READERS))
@pytest.mark.parametrize(
    "reply",
    ["</think>" * 30_000, "<think>" * 30_000, '{"score": 7}' * 20_000 + "</think>", "{'a': '" + "x\\" * 100_000],
    ids=lambda reply: reply[:8],
)
def test_long_replies_are_read_in_linear_time(reader: Reader, reply: str) -> None:
    start = time.monotonic()
    outcome(reader, reply)
    assert time.monotonic() - start < 2


def test_a_judge_chooses_its_reader() -> None:
    fields = {"name": "j", "model": ScriptedModel(), "temperature": 0.5, "top_p": 1.0, "max_tokens": 9, "attempts": 1}
    assert TypeAdapter(Judge).validate_python({**fields, "parser": "lenient"}).reply_reader is LENIENT
    with pytest.raises(ValidationError, match="'strict' or 'lenient'"):
        TypeAdapter(Judge).validate_python({**fields, "parser": "eval"})


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan"), True])
def test_expected_grades_are_finite_numbers_in_range(value: object) -> None:
    with pytest.raises(Malformed):
        Expected().grade(value, 1, 10)
