"""Judgements on disk: found by what was asked, paid once, within a budget, and enough to judge again without a key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from evals.benchmark import Item, Response
from evals.benchmarks.writing import WritingPrompts
from evals.judging.judge import Judge
from evals.judging.records import Judgements, Question, judgement
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all
from reer.errors import Incomplete, InputError
from reer.models.protocols import Completion, Device, Prompt, Request, Sampling
from reer.models.scripted import ScriptedModel
from reer.models.services.openai import ChatServer
from reer.types import Message

BENCH = WritingPrompts(
    judge_prompt="{{prompt}}\n{{answer}}\n{{rubric}}", temperature=0.7, top_p=0.95, min_coverage=0.98
)
ITEMS = [
    Item(id=f"i{n}", prompt=f"prompt {n}", language="en", category="c", length=100, rubric=("good?",)) for n in range(6)
]
ANSWERS = [Response.read(item.id, f"text {item.id}", False, 1) for item in ITEMS]


@dataclass
class Counting:
    """A chat that remembers what it was asked; each reply costs its tokens."""

    asked: list[Request] = field(default_factory=list)
    name: str = "counting"
    base_url: str = "http://nowhere"
    fails_after: int | None = None
    stopped: Any = "stop"

    @contextmanager
    def open(self, device: Device) -> Iterator[Counting]:
        yield self

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for i, request in enumerate(requests):
            if self.fails_after is not None and len(self.asked) >= self.fails_after:
                raise Incomplete("the server is gone")
            self.asked.append(request)
            yield (
                i,
                Completion(
                    text='{"score": 7}',
                    stopped=self.stopped,
                    prompt_tokens=20,
                    tokens=100,
                    seconds=0.25,
                    served="counting-2026",
                ),
            )


def judge(chat: Any, **changed: Any) -> Judge:
    prices = {"usd_per_million_read": 100.0, "usd_per_million_written": 1000.0}
    return Judge(name="j", model=chat, temperature=0.5, top_p=0.9, max_tokens=100, attempts=1, **{**prices, **changed})


def verdicts(folder: Path, chat: Any, budget_usd: float | None = None, **changed: Any) -> list[Any]:
    with JudgeSession(judge(chat, **changed), Judgements(folder), Device(), budget_usd) as session:
        return judge_all(BENCH, ITEMS, ANSWERS, session)


def test_the_same_question_is_never_asked_twice(tmp_path: Path) -> None:
    chat = Counting()
    first = verdicts(tmp_path, chat)
    assert verdicts(tmp_path, chat) == first
    assert len(chat.asked) == 6
    assert Judgements(tmp_path).usd == pytest.approx(6 * (20 * 100 + 100 * 1000) / 1e6)


@pytest.mark.parametrize(
    "changed", [{"temperature": 0.6}, {"top_p": 0.8}, {"max_tokens": 99}, {"prefill": "{"}, {"delimit_answer": True}]
)
def test_whatever_changes_the_question_is_asked_again(tmp_path: Path, changed: dict[str, Any]) -> None:
    chat = Counting()
    verdicts(tmp_path, chat)
    with JudgeSession(replace(judge(chat), **changed), Judgements(tmp_path), Device()) as session:
        judge_all(BENCH, ITEMS, ANSWERS, session)
    assert len(chat.asked) == 12


def test_another_model_another_prompt_and_a_repeat_are_other_questions(tmp_path: Path) -> None:
    chat = Counting()
    verdicts(tmp_path, chat)
    other = Counting(name="other")
    verdicts(tmp_path, other)
    assert len(other.asked) == 6
    with JudgeSession(judge(chat), Judgements(tmp_path), Device()) as session:
        judge_all(replace(BENCH, judge_prompt="?{{prompt}}{{answer}}{{rubric}}"), ITEMS, ANSWERS, session)
        judge_all(BENCH, ITEMS, ANSWERS, session, repeat="again")
    assert len(chat.asked) == 18


def test_a_record_holds_what_was_asked_and_what_came(tmp_path: Path) -> None:
    (found, *_) = verdicts(tmp_path, Counting())
    record = Judgements(tmp_path).find(found.records[0])
    assert record is not None
    assert (record.benchmark, record.item_id, record.judge) == (BENCH.version, "i0", "counting")
    assert "text i0" in record.messages[0].content
    assert (record.reply, record.status, record.stopped) == ('{"score": 7}', "read", "stop")
    assert (record.prompt_tokens, record.tokens, record.seconds, record.served) == (20, 100, 0.25, "counting-2026")
    assert record.sampling == Sampling(temperature=0.5, top_p=0.9, max_tokens=100)
    assert record.usd == pytest.approx(0.102)


def test_records_alone_judge_again_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not there and whose key is not set is never opened."""
    monkeypatch.delenv("REER_TEST_KEY", raising=False)
    server = ChatServer(base_url="http://127.0.0.1:9", key_variable="REER_TEST_KEY", model="m")
    first = verdicts(tmp_path, Counting(name=server.name))
    assert verdicts(tmp_path, server) == first
    with pytest.raises(InputError, match="REER_TEST_KEY"):
        verdicts(tmp_path / "none", server)


def test_what_was_answered_outlives_an_outage(tmp_path: Path) -> None:
    chat = Counting(fails_after=4)
    with pytest.raises(Incomplete, match="gone"):
        verdicts(tmp_path, chat)
    assert len(Judgements(tmp_path)) == 4
    after = Counting()
    assert all(verdict.scores for verdict in verdicts(tmp_path, after))
    assert len(after.asked) == 2


@pytest.mark.parametrize(
    ("stopped", "why"),
    [("refused",) * 2, ("prompt_too_long",) * 2, ("unreadable",) * 2, ("length", "unfinished")],
)
def test_what_was_no_answer_is_recorded_and_asked_again(tmp_path: Path, stopped: str, why: str) -> None:
    unscored = verdicts(tmp_path, Counting(stopped=stopped))
    assert {verdict.why for verdict in unscored} == {why}
    records = Judgements(tmp_path)
    assert sum(record.usd for v in unscored if (record := records.find(v.records[0]))) == pytest.approx(records.usd)
    assert len(b"".join(f.read_bytes() for f in tmp_path.glob("*.jsonl")).splitlines()) == 6
    assert all(verdict.scores for verdict in verdicts(tmp_path, Counting()))


@pytest.mark.parametrize("budget_usd", [0.0, 0.11, 0.35, 0.6])
def test_a_budget_is_never_passed_and_goes_on_where_it_stopped(tmp_path: Path, budget_usd: float) -> None:
    chat = Counting()
    with pytest.raises(Incomplete, match=rf"budget\.usd={budget_usd:g}"):
        verdicts(tmp_path, chat, budget_usd)
    assert Judgements(tmp_path).usd <= budget_usd
    before = len(chat.asked)
    assert before == len(Judgements(tmp_path)) < 6
    assert len(verdicts(tmp_path, chat, 100.0)) == 6
    assert len(chat.asked) == 6


def test_a_budget_counts_what_others_paid(tmp_path: Path) -> None:
    verdicts(tmp_path, Counting(name="another run's judge"))
    with pytest.raises(Incomplete, match=r"0\.6120 of budget"):
        verdicts(tmp_path, Counting(), 0.7)


def test_a_budget_without_prices_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="usd_per_million"):
        verdicts(tmp_path, Counting(), 1.0, usd_per_million_read=None, usd_per_million_written=None)
    with pytest.raises(InputError, match="usd_per_million"):
        verdicts(tmp_path, Counting(), 1.0, usd_per_million_read=None)
    stated = verdicts(tmp_path / "own", Counting(), 1.0, usd_per_million_read=0.0, usd_per_million_written=0.0)
    assert all(verdict.scores for verdict in stated), "a price of nothing may be stated, and is never assumed"
    local = Judge(name="j", model=ScriptedModel(), temperature=0.5, top_p=0.9, max_tokens=100, attempts=1)
    with JudgeSession(local, Judgements(tmp_path), Device(), 1.0) as session:
        assert len(judge_all(BENCH, ITEMS, ANSWERS, session)) == 6, "a judge of this machine costs nothing"


QUESTION = Question(
    benchmark="b@1",
    item_id="i",
    criterion="q",
    judge="m",
    request=Request(Prompt((Message("user", "?"),)), Sampling(temperature=0.5, top_p=1.0, max_tokens=9), 3),
    attempt=0,
)
REPLY = Completion(text="é\u2028\n{}", stopped="stop", prompt_tokens=3, tokens=2)


def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    store = Judgements(tmp_path)
    store.keep(judgement(QUESTION, REPLY, "read", 0.5))
    (file,) = tmp_path.glob("*.jsonl")
    whole = file.read_bytes()
    (tmp_path / "other.jsonl").write_bytes(b'\x00\xff\n[]\n{"key": 1}\n{"usd": "x", "key": "k", "stopped": "stop"}\n')
    for cut in range(len(whole)):
        file.write_bytes(whole[:cut])
        assert len(Judgements(tmp_path)) == 0
    file.write_bytes(whole)
    found = Judgements(tmp_path).find(QUESTION.key)
    assert found is not None
    assert found.completion == REPLY


def test_what_another_process_writes_is_seen(tmp_path: Path) -> None:
    ours, theirs = Judgements(tmp_path), Judgements(tmp_path)
    theirs.keep(judgement(QUESTION, REPLY, "read", 0.5))
    assert QUESTION.key not in ours
    ours.refresh()
    assert QUESTION.key in ours
    assert ours.usd == 0.5
    ours.refresh()
    assert ours.usd == 0.5, "counted once"


def test_a_key_is_of_all_that_the_answer_depends_on_and_nothing_else() -> None:
    request = QUESTION.request
    others = [
        replace(QUESTION, benchmark="b@2"),
        replace(QUESTION, judge="n"),
        replace(QUESTION, repeat="again"),
        replace(QUESTION, request=replace(request, seed=4)),
        replace(QUESTION, request=replace(request, prompt=Prompt((Message("system", "?"),)))),
    ]
    assert len({QUESTION.key, *(other.key for other in others)}) == 6
    assert replace(QUESTION, request=replace(request, group="g"), attempt=2, criterion="r").key == QUESTION.key
