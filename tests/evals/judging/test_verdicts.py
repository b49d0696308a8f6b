"""Replies and verdicts: every hostile reply has a known outcome, repeats are bounded, empty answers are not sent."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from pydantic import TypeAdapter, ValidationError

from evals.benchmark import Item, JudgeCall, Response, Verdict, View
from evals.benchmarks.longbench_write import DIMENSIONS, LongBenchWrite
from evals.benchmarks.writing import WritingPrompts
from evals.judging.judge import Judge
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all, unscored_reasons
from evals.replies import Malformed
from reer.errors import InputError
from reer.models.protocols import Completion, Device, Generator, Prompt, Request, StopReason
from reer.models.scripted import ScriptedModel, ScriptedSession
from reer.types import Message
from tests.conftest import pinned

BENCH = WritingPrompts(
    judge_prompt='{{prompt}}\n{{answer}}\n{{rubric}}\n{"score": <1-10>}', temperature=0.7, top_p=0.95, min_coverage=0.98
)
JUDGE = Judge(name="test", model=ScriptedModel(), temperature=0.5, top_p=0.9, max_tokens=100, attempts=3)
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
    ('The text says {"score": 10}. I say {"score": 2}', "two_unlike_grades"),
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
    ('{"Score": 7}', "missing_key"),
    ('{"rating": 7}', "missing_key"),
    ("{}", "missing_key"),
    ('{"score": 7} {}', "missing_key"),
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


@pytest.mark.parametrize(
    "reply",
    ["prose " * 200_000, '{"a": "' + "x" * 1_000_000, "{} " * 100_000, '"{' * 200_000, "{" * 1_000_000, "{ " * 500_000],
    ids=lambda reply: reply[:8],
)
def test_a_reply_of_a_megabyte_is_parsed_in_seconds(reply: str) -> None:
    start = time.monotonic()
    with pytest.raises(Malformed):
        BENCH.parse(CALL, reply)
    assert time.monotonic() - start < 5


class Scripted:
    """A judge whose replies are a function of the prompt and the attempt; it records its requests."""

    name = "scripted"

    def __init__(self, answer: Callable[[str, int], str]) -> None:
        self.answer = answer
        self.asked: list[Request] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        replies = [self.answer(r.prompt.messages[0].content, self._attempt(r)) for r in requests]
        self.asked += requests
        yield from enumerate([Completion(text=reply, stopped="stop", prompt_tokens=1, tokens=1) for reply in replies])

    def _attempt(self, request: Request) -> int:
        return sum(before.prompt == request.prompt for before in self.asked)


ITEMS = [
    Item(id=f"i{n}", prompt=f"prompt {n}", language="en", category="c", length=100, rubric=("good?",)) for n in range(4)
]


def answers(*texts: str) -> list[Response]:
    return [Response.read(item.id, text, False, 1) for item, text in zip(ITEMS, texts, strict=True)]


@dataclass(frozen=True)
class Serving:
    """A model that opens the session it was given."""

    session: Generator
    name: str = "scripted"

    @contextmanager
    def open(self, device: Device) -> Iterator[Generator]:
        yield self.session


def grade(
    judge: Judge, session: Generator, responses: list[Response], progress: list[int] | None = None
) -> list[Verdict]:
    with TemporaryDirectory() as folder:
        serving = replace(judge, model=Serving(session))
        with JudgeSession(serving, Judgements(Path(folder)), Device()) as judge_session:
            counts = progress if progress is not None else []
            return judge_all(BENCH, ITEMS, responses, judge_session, lambda settled, _: counts.append(settled))


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
    assert verdicts[1] == Verdict(
        item_id="i1", criterion="quality", scores=None, reply="", why="empty_answer", attempts=0
    )
    assert len(session.asked) == 3
    assert not any("prompt 1" in request.prompt.messages[0].content for request in session.asked)


def test_repeats_are_bounded_and_each_has_another_seed() -> None:
    session = Scripted(lambda text, attempt: "no")
    verdicts = grade(JUDGE, session, answers("a", "b", "c", "d"))
    assert len(session.asked) == 12
    assert len({request.seed for request in session.asked}) == 12, "no two verdicts share a random stream"
    assert all((v.scores, v.why, v.attempts, v.reply) == (None, NONE, 3, "no") for v in verdicts)


def test_only_questions_without_a_verdict_are_repeated() -> None:
    progress: list[int] = []
    session = Scripted(lambda text, attempt: '{"score": 5}' if "prompt 2" not in text or attempt == 1 else "hm")
    verdicts = grade(JUDGE, session, answers("a", "b", "c", "d"), progress)
    assert len(session.asked) == 5
    assert [verdict.attempts for verdict in verdicts] == [1, 1, 2, 1]
    assert progress == [1, 2, 2, 3, 4], "the call that is asked again is not counted before"


def test_the_last_reply_and_its_reason_are_kept() -> None:
    replies = ["no", '{"score": 99}', '{"score": NaN}']
    verdicts = grade(JUDGE, Scripted(lambda text, attempt: replies[attempt]), answers("a", "b", "c", ""))
    assert [(v.reply, v.why) for v in verdicts[:3]] == [('{"score": NaN}', NOT_NUMBER)] * 3
    assert unscored_reasons(verdicts) == {NOT_NUMBER: 3, "empty_answer": 1}


def test_closing_is_appended_to_stopped_replies_only() -> None:
    closing = replace(JUDGE, prefill='{"score": ', stop=(",", "}"), closing="}")
    assert closing.sampling(BENCH).stop == (",", "}")
    assert closing.full_reply(Completion(text="8", stopped="stop", prompt_tokens=1, tokens=1)) == '{"score": 8}'
    assert (
        closing.full_reply(Completion(text="8 8 8", stopped="length", prompt_tokens=1, tokens=3)) == '{"score": 8 8 8'
    )


class PromptTooLong(Scripted):
    """A judge whose context no prompt fits."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        yield from enumerate(
            [Completion(text="", stopped="prompt_too_long", prompt_tokens=9, tokens=0) for _ in requests]
        )


class Ending(Scripted):
    """A judge whose replies are given with the reason why they ended, one for each attempt."""

    def __init__(self, *replies: tuple[str, StopReason]) -> None:
        super().__init__(lambda text, attempt: "")
        self.replies = replies

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        attempts = [self._attempt(request) for request in requests]
        self.asked += requests
        for i, attempt in enumerate(attempts):
            text, stopped = self.replies[min(attempt, len(self.replies) - 1)]
            yield i, Completion(text=text, stopped=stopped, prompt_tokens=9, tokens=9)


@pytest.mark.parametrize(
    ("text", "stopped", "why"),
    [
        ('<think>First idea: {"score": 3, "reason": "dull"}. Hmm, but', "length", "unfinished_thinking"),
        ('First idea: {"score": 3}. Hmm, but', "length", "unfinished"),
        ('<think>done</think>{"score": 3}', "length", "unfinished"),
        ("", "length", "unfinished_thinking"),
        ("<think>done</think>", "length", "unfinished_thinking"),
        ('<think>First idea: {"score": 3}', "stop", "unclosed_thinking"),
        ("", "stop", "empty_reply"),
        ('{"score": 3}', "refused", "refused"),
    ],
)
def test_what_never_was_an_answer_is_asked_for_again_and_then_unscored(
    text: str, stopped: StopReason, why: str
) -> None:
    session = Ending((text, stopped))
    verdicts = grade(JUDGE, session, answers("a", "b", "c", "d"))
    assert {(verdict.scores is None, verdict.why, verdict.attempts) for verdict in verdicts} == {(True, why, 3)}
    healthy = Ending((text, stopped), ('<think>Form: {"score": <integer>}</think>{"score": 8}', "stop"))
    verdicts = grade(JUDGE, healthy, answers("a", "b", "c", "d"))
    assert [verdict.scores for verdict in verdicts] == [{"quality": 8.0}] * 4
    assert verdicts[0].replies[0] == text, "the official scripts read every reply"


def test_cut_replies_are_told_with_their_cure(caplog: pytest.LogCaptureFixture) -> None:
    grade(JUDGE, Ending(("<think>hm", "length")), answers("a", "b", "c", ""))
    assert "judge test: 3 of 4 verdicts are unscored because the replies ended at their limit" in caplog.text
    assert "raise judge.max_tokens" in caplog.text


def test_a_reply_that_stays_unreadable_is_not_asked_for_again() -> None:
    session = Ending(("", "unreadable"))
    verdicts = grade(JUDGE, session, answers("a", "b", "c", "d"))
    assert {(verdict.why, verdict.attempts) for verdict in verdicts} == {("unreadable", 1)}
    assert len(session.asked) == 4


def test_a_prompt_longer_than_the_judges_context_is_unscored() -> None:
    verdicts = grade(JUDGE, PromptTooLong(lambda text, attempt: ""), answers("a", "b", "c", "d"))
    assert unscored_reasons(verdicts) == {"prompt_too_long": 4}


def test_a_prefill_opens_the_reply_that_is_parsed() -> None:
    prefilled = replace(JUDGE, attempts=1, prefill='{"score": ')
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


def test_a_failing_judge_is_an_error_and_not_a_verdict() -> None:
    def breaks(text: str, attempt: int) -> str:
        raise RuntimeError("no answer after 6 attempts")

    with pytest.raises(RuntimeError, match="no answer"):
        grade(JUDGE, Scripted(breaks), answers("a", "b", "c", "d"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempts", 0),
        ("temperature", -0.1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("max_tokens", 0),
        ("usd_per_million_read", -1.0),
        ("settings", "theirs"),
        ("parser", "eval"),
        ("model", "a name"),
    ],
)
def test_a_value_out_of_range_is_rejected_with_the_name_of_the_field(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(Judge).validate_python({**vars(JUDGE), field: value})
    assert [fault["loc"][0] for fault in error.value.errors()] == [field]


def test_repeating_requests_to_a_greedy_judge_is_rejected() -> None:
    with pytest.raises(InputError, match="asks for the same reply again"):
        replace(JUDGE, temperature=0.0, attempts=2)


def test_a_batch_needs_a_model_with_a_batch_interface() -> None:
    with pytest.raises(InputError, match="scripted-s0 has no batch interface"):
        replace(JUDGE, batch=True)


def test_grades_need_a_model_that_scores_texts() -> None:
    generates_only = replace(JUDGE, attempts=1, grades=tuple(range(1, 11)))
    with pytest.raises(InputError, match="does not score"):
        grade(generates_only, Scripted(lambda text, attempt: ""), answers("a", "b", "c", "d"))


def test_scored_verdicts_have_no_reason() -> None:
    assert (
        unscored_reasons(
            [Verdict(item_id="i", criterion="q", scores={"quality": 1.0}, reply=json.dumps({}), why=None, attempts=1)]
        )
        == {}
    )


@pytest.mark.parametrize(("judge_sees", "requests"), [("answer", 0), ("official", 1)])
def test_the_official_view_judges_unclosed_thinking(shared: Path, judge_sees: View, requests: int) -> None:
    folder = pinned(shared / "benchmarks" / "longbench_write")
    longbench = LongBenchWrite(
        data=folder, judged=True, temperature=0.5, min_coverage=0.98, items_limit=1, judge_sees=judge_sees
    )
    (first,) = longbench.items()
    response = Response.read(first.id, "<think>only a plan of seven words here", True, 8, "length")
    session = Scripted(lambda text, attempt: json.dumps(dict.fromkeys(DIMENSIONS, 3)))
    with (
        TemporaryDirectory() as work,
        JudgeSession(replace(JUDGE, model=Serving(session)), Judgements(Path(work)), Device()) as judge_session,
    ):
        (verdict,) = judge_all(longbench, [first], [response], judge_session)
    assert len(session.asked) == requests
    assert (verdict.scores is not None) == bool(requests)
    assert (longbench.scores(first, response, [verdict])["S_l"] or 0) >= 0
    assert (response.stopped, response.truncated, response.closed, response.answer) == ("length", True, False, "")
