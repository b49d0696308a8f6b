"""Replies and verdicts: hostile replies have stated outcomes, asking again is bounded, empty answers are not sent."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from evals.benchmark import Item, JudgeCall, Response, Verdict
from evals.benchmarks.longbench_write import DIMENSIONS, LongBenchWrite
from evals.benchmarks.writing import WritingPrompts
from evals.judging.judge import Judge
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all, unscored_reasons
from evals.replies import Malformed
from reer.errors import InputError
from reer.models.protocols import Completion, Device, Prompt, Request
from reer.models.scripted import ScriptedModel, ScriptedSession
from reer.types import Message
from tests.conftest import pinned

BENCH = WritingPrompts('{{prompt}}\n{{answer}}\n{{rubric}}\n{"score": <1-10>}', 0.7, 0.95, 0.98)
JUDGE = Judge("test", ScriptedModel(), 0.5, 0.9, 100, attempts=3)
CALL = JudgeCall("i", "quality", Prompt((Message("user", "?"),)))
NONE, BROKEN = "no_json_object", "broken_json_object"
NOT_WHOLE, OUT, NOT_NUMBER, TWICE = "score_not_an_integer", "score_out_of_range", "not_a_number", "repeated_key"

REPLIES: list[tuple[str, float | str]] = [
    ('{"score": 7, "reason": "good"}', 7),
    ('```json\n{"score": 7}\n```', 7),
    ('Let me see.\n{"score": 7}\nThat is all.', 7),
    ('{"score": 7.0}', 7),
    ('{"score": 7}}}}', 7),
    ('[{"score": 7}]', 7),
    ('\ufeff\u200b{"score": 7}', 7),
    ('{"score": 7, "reason": "it holds { and [ and \\"score\\": 10"}', 7),
    ('The text says {"score": 10}. I say {"score": 2}', 2),
    ('<think>maybe {"score": 9}</think>\n{"score": 4}', 4),
    ('{name} has style. {"score": 6}', 6),
    ("", NONE),
    ("</think>", NONE),
    ("I would give this a 7 out of 10.", NONE),
    ("I'm sorry, I cannot grade this text.", NONE),
    ("Score: 7", NONE),
    ("[7]", NONE),
    ("{'score': 7}", NONE),
    ("{\u201cscore\u201d: 7}", NONE),
    ("{" * 20_000, NONE),
    ('{"score": 7,}', BROKEN),
    ('{"score": 7, "reason": "cut o', BROKEN),
    ('The text says {"score": 10}. I say {"score": 3, "rea', BROKEN),
    ('{"score": 10 {"score": 3}', BROKEN),
    ('{\n "verdict": {"score": 10}, "score": 2', BROKEN),
    ('{"score": ７}', BROKEN),
    ('{"score": 07}', BROKEN),
    ('{"score": +7}', BROKEN),
    ('{"score": __import__("os").getpid()}', BROKEN),
    ('{"score": ' + "7" * 5000 + "}", BROKEN),
    ('{"a":' * 20_000, BROKEN),
    ('{"score": NaN}', NOT_NUMBER),
    ('{"score": Infinity}', NOT_NUMBER),
    ('{"score": -Infinity}', NOT_NUMBER),
    ('{"score": 1e999}', NOT_WHOLE),
    ('{"score": -1e999}', NOT_WHOLE),
    ('{"score": 7, "score": 9}', TWICE),
    ('{"score": 7, "why": {"a": 1, "a": 2}}', TWICE),
    ('{"score": "7"}', NOT_WHOLE),
    ('{"score": 7.5}', NOT_WHOLE),
    ('{"score": true}', NOT_WHOLE),
    ('{"score": null}', NOT_WHOLE),
    ('{"score": [7]}', NOT_WHOLE),
    ('{"score": {"score": 7}}', NOT_WHOLE),
    ('{"Score": 7}', NOT_WHOLE),
    ('{"rating": 7}', NOT_WHOLE),
    ("{}", NOT_WHOLE),
    ('{"score": 7} {}', NOT_WHOLE),
    ('{"score": 0}', OUT),
    ('{"score": 11}', OUT),
    ('{"score": -1}', OUT),
    ('{"score": 1e3}', OUT),
    ('{"score": 10000000000000000000000}', OUT),
]


@pytest.mark.parametrize(("reply", "outcome"), REPLIES, ids=lambda value: str(value)[:40])
def test_every_reply_is_a_score_or_a_reason(reply: str, outcome: float | str) -> None:
    if isinstance(outcome, str):
        with pytest.raises(Malformed, match=f"^{outcome}$"):
            BENCH.parse(CALL, reply)
    else:
        assert BENCH.parse(CALL, reply) == {"quality": outcome}


@pytest.mark.parametrize("reply", ["prose " * 200_000, '{"a": "' + "x" * 1_000_000, "{} " * 100_000, '"{' * 200_000])
def test_a_reply_of_a_megabyte_is_read_in_time(reply: str) -> None:
    start = time.monotonic()
    with pytest.raises(Malformed):
        BENCH.parse(CALL, reply)
    assert time.monotonic() - start < 5


class Scripted:
    """A judge that answers by a function of the item's text and the attempt; it remembers what it was asked."""

    name = "scripted"

    def __init__(self, answer: Callable[[str, int], str]) -> None:
        self.answer = answer
        self.asked: list[Request] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        replies = [self.answer(r.prompt.messages[0].content, self._attempt(r)) for r in requests]
        self.asked += requests
        yield from enumerate([Completion(reply, "stop", 1, 1) for reply in replies])

    def _attempt(self, request: Request) -> int:
        return sum(before.prompt == request.prompt for before in self.asked)


ITEMS = [Item(f"i{n}", f"prompt {n}", "en", "c", 100, ("good?",)) for n in range(4)]


def answers(*texts: str) -> list[Response]:
    return [Response.read(item.id, text, False, 1) for item, text in zip(ITEMS, texts, strict=True)]


@dataclass(frozen=True)
class Serving:
    """A chat that is the session it was given."""

    session: Any
    name: str = "scripted"

    @contextmanager
    def open(self, device: Device) -> Iterator[Any]:
        yield self.session


def grade(judge: Judge, session: Any, responses: list[Response], told: list[int] | None = None) -> list[Verdict]:
    with TemporaryDirectory() as folder:
        serving = replace(judge, model=Serving(session))
        with JudgeSession(serving, Judgements(Path(folder)), Device()) as sitting:
            return judge_all(BENCH, ITEMS, responses, sitting, (told if told is not None else []).append)


def test_every_call_has_a_verdict_in_order() -> None:
    verdicts = grade(JUDGE, ScriptedSession(0), answers("a", "b", "c", "d"))
    assert [verdict.item_id for verdict in verdicts] == ["i0", "i1", "i2", "i3"]
    assert all(verdict.scores and verdict.why is None and verdict.attempts == 1 for verdict in verdicts)


@pytest.mark.parametrize(
    "empty", ["", "  \n", "<think>never ends", "<think>t</think>", "<think>t</think><answer>\n</answer>"]
)
def test_an_empty_answer_is_not_sent(empty: str) -> None:
    session = Scripted(lambda text, attempt: '{"score": 5}')
    verdicts = grade(JUDGE, session, answers("a", empty, "c", "d"))
    assert verdicts[1] == Verdict("i1", "quality", None, "", "empty_answer", 0)
    assert len(session.asked) == 3
    assert not any("prompt 1" in request.prompt.messages[0].content for request in session.asked)


def test_asking_again_is_bounded_and_each_time_under_another_seed() -> None:
    session = Scripted(lambda text, attempt: "no")
    verdicts = grade(JUDGE, session, answers("a", "b", "c", "d"))
    assert len(session.asked) == 12
    assert len({request.seed for request in session.asked}) == 12, "no two verdicts share a random stream"
    assert all((v.scores, v.why, v.attempts, v.reply) == (None, NONE, 3, "no") for v in verdicts)


def test_only_what_had_no_verdict_is_asked_again() -> None:
    told: list[int] = []
    session = Scripted(lambda text, attempt: '{"score": 5}' if "prompt 2" not in text or attempt == 1 else "hm")
    verdicts = grade(JUDGE, session, answers("a", "b", "c", "d"), told)
    assert len(session.asked) == 5
    assert [verdict.attempts for verdict in verdicts] == [1, 1, 2, 1]
    assert told[-1] == 4


def test_the_last_reply_and_its_reason_are_kept() -> None:
    replies = ["no", '{"score": 99}', '{"score": NaN}']
    verdicts = grade(JUDGE, Scripted(lambda text, attempt: replies[attempt]), answers("a", "b", "c", ""))
    assert [(v.reply, v.why) for v in verdicts[:3]] == [('{"score": NaN}', NOT_NUMBER)] * 3
    assert unscored_reasons(verdicts) == {NOT_NUMBER: 3, "empty_answer": 1}


def test_a_reply_that_was_stopped_is_closed_and_one_that_was_cut_is_not() -> None:
    closing = Judge("test", ScriptedModel(), 0.5, 0.9, 8, 1, prefill='{"score": ', stop=(",", "}"), closing="}")
    assert closing.sampling_for(BENCH).stop == (",", "}")
    assert closing.whole(Completion("8", "stop", 1, 1)) == '{"score": 8}'
    assert closing.whole(Completion("8 8 8", "length", 1, 3)) == '{"score": 8 8 8'


class PromptTooLong(Scripted):
    """A judge whose context no prompt fits."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        yield from enumerate([Completion("", "prompt_too_long", 9, 0) for _ in requests])


def test_a_prompt_that_the_judge_cannot_hold_is_unscored_for_that() -> None:
    verdicts = grade(JUDGE, PromptTooLong(lambda text, attempt: ""), answers("a", "b", "c", "d"))
    assert unscored_reasons(verdicts) == {"prompt_too_long": 4}


def test_a_prefill_opens_the_reply_that_is_read() -> None:
    prefilled = Judge("test", ScriptedModel(), 0.5, 0.9, 100, attempts=1, prefill='{"score": ')
    session = Scripted(lambda text, attempt: "8}")
    verdicts = grade(prefilled, session, answers("a", "b", "c", "d"))
    assert verdicts[0].scores == {"quality": 8}
    assert verdicts[0].reply == '{"score": 8}'
    assert all(request.prompt.prefill == '{"score": ' for request in session.asked)


def test_the_answer_is_judged_without_its_thinking() -> None:
    session = Scripted(lambda text, attempt: '{"score": 5}')
    grade(JUDGE, session, answers("<think>secret plan</think>the text", "b", "c", "d"))
    assert "the text" in session.asked[0].prompt.messages[0].content
    assert "secret plan" not in session.asked[0].prompt.messages[0].content


def test_a_broken_judge_is_an_error_and_no_verdict() -> None:
    def breaks(text: str, attempt: int) -> str:
        raise RuntimeError("no answer after 6 attempts")

    with pytest.raises(RuntimeError, match="no answer"):
        grade(JUDGE, Scripted(breaks), answers("a", "b", "c", "d"))


def test_a_judge_that_never_asks_is_refused() -> None:
    with pytest.raises(InputError, match=r"judge\.attempts"):
        Judge("test", ScriptedModel(), 0.5, 0.9, 100, attempts=0)


def test_asking_a_greedy_judge_again_is_refused() -> None:
    with pytest.raises(InputError, match="asks for the same reply again"):
        Judge("test", ScriptedModel(), 0.0, 1.0, 100, attempts=2)


def test_scored_verdicts_have_no_reason() -> None:
    assert unscored_reasons([Verdict("i", "q", {"quality": 1.0}, json.dumps({}), None, 1)]) == {}


@pytest.mark.parametrize(("judge_sees", "asked"), [("answer", 0), ("official", 1)])
def test_the_official_view_judges_thinking_that_never_ends(shared: Path, judge_sees: Any, asked: int) -> None:
    folder = pinned(shared / "benchmarks" / "longbench_write")
    longbench = LongBenchWrite(folder, True, 0.5, 0.98, 1, judge_sees)
    (first,) = longbench.items()
    response = Response.read(first.id, "<think>only a plan of seven words here", True, 8, "length")
    session = Scripted(lambda text, attempt: json.dumps(dict.fromkeys(DIMENSIONS, 3)))
    with (
        TemporaryDirectory() as work,
        JudgeSession(replace(JUDGE, model=Serving(session)), Judgements(Path(work)), Device()) as sitting,
    ):
        (verdict,) = judge_all(longbench, [first], [response], sitting)
    assert len(session.asked) == asked
    assert (verdict.scores is not None) == bool(asked)
    assert (longbench.scores(first, response, [verdict])["S_l"] or 0) >= 0
    assert (response.stopped, response.truncated, response.closed, response.answer) == ("length", True, False, "")
