"""Replies of judges and generators that are malformed, hostile, lost or doubled: none becomes a number, none ends the
work on the others, and each is paid for at most once more than the budget's ledger says."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all
from reer.errors import Incomplete, InputError
from reer.models.http.replies import MAX_REPLY_BYTES
from reer.models.protocols import Device
from tests.fakes.batches import ASKED, request, server_of
from tests.fakes.batches import ask as ask_batches
from tests.fakes.http import Act, Handler, Serve, ask, hangs, respond, says
from tests.fakes.judging import ANSWERS, BENCHMARK, ITEMS, MOST_USD, judge, verdicts
from tests.fakes.providers import Anthropic, OpenAi, Provider, Rows

SCORE = '{"score": 7}'


def for_item(number: int, act: Act, others: Act) -> Act:
    """`act` for the item of this number, `others` for all other items."""

    def play(handler: Handler) -> None:
        (act if f"prompt {number}" in handler.asked["messages"][0]["content"] else others)(handler)

    return play


def completion(text: str = SCORE, **usage: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}


def raw(text: str) -> Act:
    return respond(200, text.encode())


@pytest.mark.parametrize(
    "reply",
    [
        "I would give it a 7.",
        "{'score': 7}",
        '{"score": 7,}',
        '{"score": 7, "score": 9}',
        '{"score": 7, "rea',
        "</think>",
        "{" * 100_000,
        '{"a":' * 100_000,
        "x" * 1_000_000,
        '__import__("os").abort()',
    ],
    ids=lambda reply: reply[:20],
)
def test_fault_22_a_reply_that_is_not_one_verdict_is_unscored(serve: Serve, tmp_path: Path, reply: str) -> None:
    """A judge's reply without exactly one readable verdict has a reason instead of a score; the others are scored."""
    _, url = serve(for_item(1, says(reply), says(SCORE)))
    found = verdicts(tmp_path, url)
    assert [verdict.scores is None for verdict in found] == [False, True, False, False]
    assert found[1].why is not None


@pytest.mark.parametrize("score", ["NaN", "Infinity", "1e999", '"7"', "7.5", "0", "11", "-1", "true", "null", "[7]"])
def test_fault_23_a_score_that_is_no_grade_is_invalid(serve: Serve, tmp_path: Path, score: str) -> None:
    """A score that is no integer from 1 to 10 leaves the item unscored."""
    _, url = serve(for_item(1, says(f'{{"score": {score}}}'), says(SCORE)))
    found = verdicts(tmp_path, url)
    assert [verdict.scores is None for verdict in found] == [False, True, False, False]


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (says("I cannot.", finish="content_filter"), "refused"),
        (respond(400, {"error": {"message": "the content_filter was triggered"}}), "refused"),
        (says(""), "empty_reply"),
    ],
)
def test_fault_24_a_refusal_is_no_score_and_is_counted(serve: Serve, tmp_path: Path, act: Act, why: str) -> None:
    """A refused or empty reply is unscored with its reason, and is asked again by the next run."""
    _, url = serve(for_item(1, act, says(SCORE)))
    found = verdicts(tmp_path, url)
    assert [verdict.why for verdict in found] == [None, why, None, None]
    server, url = serve(says(SCORE))
    verdicts(tmp_path, url)
    assert len(server.bodies) == 1


UNREADABLE = {
    "nested": "[" * 100_000,
    "nested and whole": "[" * 500 + "]" * 500,
    "many digits": '{"choices": ' + "7" * 5000 + "}",
    "not UTF-8": "\udcff",
}


@pytest.mark.parametrize("reply", UNREADABLE.values(), ids=list(UNREADABLE))
def test_an_unreadable_reply_costs_one_item_alone(serve: Serve, tmp_path: Path, reply: str) -> None:
    bad = respond(200, reply.encode("utf-8", "surrogateescape"))
    server, url = serve(for_item(1, bad, says(SCORE)))
    with pytest.raises(Incomplete, match="1 of 4 calls have no answer; last: no answer after 2 attempts"):
        verdicts(tmp_path, url)
    assert len(Judgements(tmp_path)) == 3
    assert len(server.bodies) == 5, "it was asked twice"


def test_a_reply_without_end_is_left_after_the_bound(serve: Serve) -> None:
    sent: list[int] = []

    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**12))
        handler.end_headers()
        sent.append(0)
        for _ in range(10 * MAX_REPLY_BYTES // 2**20):
            handler.wfile.write(b" " * 2**20)
            sent[-1] += 2**20

    _, url = serve(endless)
    with pytest.raises(Incomplete, match="the reply is longer than"):
        ask(url, attempts=1)
    time.sleep(0.05)
    assert sent[0] < 2 * MAX_REPLY_BYTES


def test_a_compressed_reply_is_not_unpacked(serve: Serve) -> None:
    server, url = serve(respond(200, gzip.compress(b" " * 10_000_000), Content_Encoding="gzip"))
    with pytest.raises(Incomplete, match="content-encoding 'gzip', which was not asked for"):
        ask(url, attempts=1)
    assert server.headers[0]["Accept-Encoding"] == "identity"


USAGES: dict[str, dict[str, Any]] = {
    "negative": {"prompt_tokens": -1_000_000, "completion_tokens": 3},
    "missing": {},
    "zero": {"prompt_tokens": 0, "completion_tokens": 0},
    "too many digits": {"prompt_tokens": 10**400, "completion_tokens": 3},
    "text": {"prompt_tokens": "x", "completion_tokens": 3},
    "partial": {"prompt_tokens": 7},
    "NaN": {"prompt_tokens": float("nan"), "completion_tokens": 3},
    "Infinity": {"prompt_tokens": float("inf"), "completion_tokens": 3},
}


@pytest.mark.parametrize("usage", USAGES.values(), ids=list(USAGES))
def test_a_usage_that_cannot_be_true_costs_the_most_it_can(serve: Serve, tmp_path: Path, usage: dict[str, Any]) -> None:
    server, url = serve(respond(200, completion(**usage)))
    with pytest.raises(Incomplete, match=r"budget: .* of budget\.usd=0\.25 is spent"):
        verdicts(tmp_path, url, 0.25)
    assert len(server.bodies) == 2, "two calls at the most they can cost fit"
    assert 2 * 0.1 < Judgements(tmp_path).usd <= 0.25


def test_1e400_tokens_cost_the_most_they_can(serve: Serve, tmp_path: Path) -> None:
    text = json.dumps(completion(prompt_tokens=77, completion_tokens=3)).replace("77", "1e400")
    server, url = serve(raw(text))
    with pytest.raises(Incomplete, match=r"budget\.usd=0\.25"):
        verdicts(tmp_path, url, 0.25)
    assert len(server.bodies) == 2


@pytest.mark.parametrize("usd", [float("nan"), float("inf"), -1.0])
def test_a_budget_that_is_no_amount_is_refused(serve: Serve, tmp_path: Path, usd: float) -> None:
    server, url = serve(says(SCORE))
    with pytest.raises(InputError, match=r"budget\.usd: want a number of dollars"):
        verdicts(tmp_path, url, usd)
    assert server.bodies == []


def test_fault_33_an_attempt_that_timed_out_is_charged_and_has_one_answer(serve: Serve, tmp_path: Path) -> None:
    """A call that times out after the server did the work, and is sent again, gives one answer; the ledger holds the
    cost of both attempts."""
    server, url = serve(hangs(1.0), says(SCORE))
    found = verdicts(tmp_path, url, 10.0, timeout_seconds=0.4, concurrency=1)
    assert all(verdict.scores for verdict in found)
    records = Judgements(tmp_path)
    assert len(server.bodies) == 5
    assert len(records) == 4, "one answer for each question"
    answered = 4 * (7 * 100 + 3 * 1000) / 1e6
    assert answered + 0.1 < records.usd < answered + MOST_USD
    assert b'"status": "unanswered"' in b"".join(file.read_bytes() for file in tmp_path.glob("*.jsonl"))


def test_fault_33_what_the_budget_does_not_cover_is_not_sent_again(serve: Serve, tmp_path: Path) -> None:
    """An attempt that may have been billed is repeated only if the budget pays for one more."""
    server, url = serve(raw("["))
    with pytest.raises(Incomplete, match="another attempt is not affordable"):
        verdicts(tmp_path, url, 0.25, attempts=6, concurrency=1)
    assert len(server.bodies) == 2, "two calls at the most they can cost fit"
    assert 0.2 < Judgements(tmp_path).usd <= 0.25


def test_a_call_that_was_certainly_not_carried_out_costs_nothing(serve: Serve, tmp_path: Path) -> None:
    _, url = serve(respond(503, {}), respond(429, {}), says(SCORE))
    verdicts(tmp_path, url, 10.0, concurrency=1)
    assert Judgements(tmp_path).usd == pytest.approx(4 * (7 * 100 + 3 * 1000) / 1e6)


def test_calls_that_were_interrupted_are_charged(serve: Serve, tmp_path: Path) -> None:
    _, url = serve(for_item(0, respond(401, {"error": "bad key"}), hangs(1.0)))
    with pytest.raises(InputError, match="bad key"):
        verdicts(tmp_path, url, 10.0)
    assert 3 * 0.1 < Judgements(tmp_path).usd < 3 * MOST_USD


def test_a_free_judge_has_no_records_of_attempts(serve: Serve, tmp_path: Path) -> None:
    _, url = serve(raw("["), says(SCORE))
    free = judge(url, prices={}, concurrency=1)
    with JudgeSession(free, Judgements(tmp_path), Device()) as session:
        judge_all(BENCHMARK, ITEMS, ANSWERS, session)
    assert b"unanswered" not in b"".join(file.read_bytes() for file in tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize("kind", [OpenAi, Anthropic], ids=lambda kind: kind.__name__)
def test_fault_34_results_of_a_batch_are_matched_by_id(kind: type[Provider], serve: Serve, tmp_path: Path) -> None:
    """Results in another order, twice, of unknown ids, expired and unreadable ones: each answer reaches its request,
    and what has none is sent again."""

    def play(batch: int, rows: Rows) -> Rows:
        if batch > 1:
            return rows
        foreign = rows[0] | {"custom_id": "unknown"}
        hostile: Rows = [rows[0] | {"custom_id": value} for value in ([], {}, 7, "../../x")]
        return [*rows[:1:-1], foreign, *hostile, rows[3], provider.late(rows[1])]

    provider = kind(play)
    _, url = serve(provider)
    replies = ask_batches(kind, url, tmp_path)
    assert [reply.text for reply in replies] == [f"Q{i}" for i in range(len(ASKED))]
    assert [sorted(texts) for texts in provider.texts()[1:]] == [["q0", "q1"]]


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"custom_id": NaN}', b"\xff", b"7", b'{"custom_id": "a"}'])
def test_fault_34_an_unreadable_line_of_a_batch_is_skipped(serve: Serve, tmp_path: Path, line: bytes) -> None:
    """A line that cannot be read costs no other line of its file."""
    provider = OpenAi()

    def act(handler: Handler) -> None:
        status, body = provider.reply(handler)
        respond(status, line + b"\n" + body if isinstance(body, bytes) and body else body)(handler)

    _, url = serve(act)
    assert [reply.text for reply in ask_batches(OpenAi, url, tmp_path, [request("a")])] == ["A"]


def test_a_batch_whose_results_are_lost_is_charged(serve: Serve, tmp_path: Path) -> None:
    provider = OpenAi(lambda batch, rows: [] if batch == 1 else rows)
    _, url = serve(provider)
    lost: list[int] = []
    with server_of(OpenAi, url).open_batches(tmp_path) as session:
        session.on_lost = lambda index: (lost.append(index), True)[1]
        assert len(list(session.generate(ASKED))) == len(ASKED)
    assert sorted(lost) == list(range(len(ASKED)))
    provider = OpenAi(lambda batch, rows: [])
    _, url = serve(provider)
    with server_of(OpenAi, url).open_batches(tmp_path / "other") as session:
        session.on_lost = lambda index: False
        with pytest.raises(Incomplete):
            list(session.generate(ASKED))
    assert len(provider.sent) == 1, "nothing is sent again that may not be"
