"""A temporary outage costs time but no answers; a permanent one ends the work and keeps every answer so far.

All but the first two tests run in virtual time.
"""

import itertools
import logging
import threading
import time

import pytest

from reer.errors import Incomplete
from reer.models.http.circuit_breaker import CircuitBreaker
from tests.fakes.calls import completions
from tests.fakes.http import Handler, Serve, ask, request, respond, says
from tests.fakes.virtual_time import Script, Scripted, completion, opened

UNAVAILABLE = Scripted(503, {"error": "restarting"})
ANSWER = completion("x")


class Recovering:
    """A real server that is unavailable for some seconds from its first call on; counts failed calls."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.started: float | None = None
        self.failed = 0
        self.lock = threading.Lock()

    def __call__(self, handler: Handler) -> None:
        with self.lock:
            self.started = self.started or time.monotonic()
            down = time.monotonic() - self.started < self.seconds
            self.failed += down
        (respond(503, {"error": "restarting"}) if down else says("x"))(handler)


def test_an_outage_longer_than_all_attempts_is_waited_for(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    recovering = Recovering(0.3)
    _, url = serve(recovering)
    settings = {"outage_pause_seconds": 0.05, "outage_seconds": 5.0, "concurrency": 4, "attempts": 4}
    with caplog.at_level(logging.INFO, logger="reer"):
        replies = ask(url, *(request(str(i)) for i in range(60)), **settings)
    assert [reply.text for reply in replies] == ["x"] * 60
    assert recovering.failed < 10 + 4 + 5, "the calls in flight when the breaker opened, and the probes"
    opening, closing = caplog.messages
    assert "10 of the last 10 attempts failed (HTTP 503" in opening
    assert "responds again after" in closing


def test_a_replica_that_was_given_up_can_be_used_again_later(serve: Serve) -> None:
    _, url = serve(Recovering(0.3))
    settings = {"outage_pause_seconds": 0.05, "outage_seconds": 0.1}
    with pytest.raises(Incomplete, match=r"20 of 20"):
        ask(url, *(request(str(i)) for i in range(20)), **settings)
    time.sleep(0.3)
    assert len(ask(url, *(request(str(i)) for i in range(20)), **settings)) == 20


def available_after(seconds: float, failure: Scripted = UNAVAILABLE) -> Script:
    return lambda prompt, now: failure if now < seconds else ANSWER


def in_turn(*replies: Scripted) -> Script:
    """These replies in order of the calls, the last one for all further calls."""
    rest = list(replies)
    return lambda prompt, now: rest.pop(0) if len(rest) > 1 else rest[0]


@pytest.mark.parametrize(
    "failure",
    [Scripted(200, {}, hanging=True), Scripted(500, {}), Scripted(529, {"error": "overloaded"})],
    ids=["hangs", "500", "529"],
)
def test_every_kind_of_failure_opens_the_breaker_and_is_waited_for(failure: Scripted) -> None:
    settings = {"outage_pause_seconds": 10.0, "outage_seconds": 500.0, "attempts": 3, "timeout_seconds": 20.0}
    with opened(available_after(60, failure), **settings, concurrency=15) as server:
        replies = completions(server.session, [request(str(i)) for i in range(30)])
    assert [reply.text for reply in replies] == ["x"] * 30


def test_a_permanent_outage_ends_the_work_and_keeps_the_answers(caplog: pytest.LogCaptureFixture) -> None:
    answered: set[int] = set()
    script = in_turn(*[ANSWER] * 5, UNAVAILABLE)
    with opened(script, concurrency=4, outage_pause_seconds=5.0, outage_seconds=600.0) as server:
        with pytest.raises(Incomplete, match=r"495 of 500 calls have no answer; last: down for 600 s; last: HTTP 503"):
            answered.update(i for i, _ in server.session.generate([request(str(i)) for i in range(500)]))
        assert 600 <= server.now < 700
    assert len(answered) == 5
    assert len(server.transport.calls) < 40, "after the breaker opened only probes are sent"
    assert len(caplog.messages) == 1


def test_an_unavailable_replica_does_not_affect_another() -> None:
    answered: set[int] = set()
    with (
        opened(lambda prompt, now: ANSWER, lambda prompt, now: UNAVAILABLE) as server,
        pytest.raises(Incomplete, match="30 of 60"),
    ):
        answered.update(i for i, _ in server.session.generate([request(str(i)) for i in range(60)]))
    assert answered == set(range(0, 60, 2))


def test_the_same_session_may_retry_what_was_given_up() -> None:
    asked = [request(str(i)) for i in range(20)]
    with opened(available_after(500), outage_seconds=200.0) as server:
        with pytest.raises(Incomplete):
            completions(server.session, asked)
        server.wait(600)
        assert [reply.text for reply in completions(server.session, asked)] == ["x"] * 20


def test_429s_and_rejections_do_not_open_the_breaker(caplog: pytest.LogCaptureFixture) -> None:
    limited, rejected = Scripted(429, {}, retry_after_seconds=1.0), Scripted(400, {"error": "flagged as unsafe"})
    with opened(in_turn(*[limited, rejected] * 15, ANSWER), concurrency=4) as server:
        replies = completions(server.session, [request(str(i)) for i in range(40)])
    assert {reply.stopped for reply in replies} == {"stop", "refused"}
    assert caplog.messages == []


def test_one_failure_in_three_does_not_open_the_breaker(caplog: pytest.LogCaptureFixture) -> None:
    script = in_turn(*[ANSWER, ANSWER, Scripted(500, {})] * 30, ANSWER)
    with opened(script, concurrency=1, attempts=9) as server:
        assert len(completions(server.session, [request(str(i)) for i in range(14)])) == 14
    assert caplog.messages == []


def test_failures_before_an_outage_do_not_count_after_it() -> None:
    breaker = CircuitBreaker("m", 5.0, 900.0)
    for _ in range(10):
        breaker.on_failure(probe=False, why="HTTP 503")
    assert breaker.opened_at is not None
    breaker.on_answer()
    breaker.on_failure(probe=False, why="HTTP 503")
    assert breaker.opened_at is None


def test_the_pause_between_probes_doubles_up_to_a_minute() -> None:
    now = 0.0
    breaker = CircuitBreaker("m", 5.0, 900.0, clock=lambda: now)
    for _ in range(10):
        breaker.on_failure(probe=False, why="HTTP 503")
    pauses = [breaker.probe_at - now]
    for _ in range(5):
        now = breaker.probe_at
        breaker.on_failure(probe=True, why="HTTP 503")
        pauses.append(breaker.probe_at - now)
    assert pauses == [5, 10, 20, 40, 60, 60]
    assert breaker.remaining_seconds == 900 - now


def test_probes_are_not_attempts_of_a_call() -> None:
    with opened(available_after(70), concurrency=1, attempts=3, outage_pause_seconds=5.0) as server:
        assert len(completions(server.session, [request(str(i)) for i in range(14)])) == 14
    failed = sum(now < 70 for now in server.transport.times)
    assert failed >= 13, "ten failures open the breaker, and more probes fail than a call has attempts"


def test_a_call_that_always_fails_does_not_prolong_an_outage_as_its_probe() -> None:
    calls, answered = itertools.count(), set[int]()

    def script(prompt: str, now: float) -> Scripted:
        return UNAVAILABLE if next(calls) < 10 or prompt in ("0", "10") else ANSWER

    settings = {"concurrency": 1, "attempts": 3, "outage_pause_seconds": 5.0, "outage_seconds": 150.0}
    with opened(script, **settings) as server, pytest.raises(Incomplete, match="2 of 14"):
        answered.update(i for i, _ in server.session.generate([request(str(i)) for i in range(14)]))
    assert answered == set(range(14)) - {0, 10}


def test_the_duration_of_an_outage_does_not_count_towards_a_calls_total() -> None:
    settings = {"outage_pause_seconds": 10.0, "concurrency": 4, "total_seconds": 50.0, "attempts": 9}
    with opened(available_after(70), **settings) as server:
        replies = completions(server.session, [request(str(i)) for i in range(40)])
    assert [reply.text for reply in replies] == ["x"] * 40


def test_a_probe_without_a_reply_ends_with_the_outage() -> None:
    script = in_turn(*[UNAVAILABLE] * 10, Scripted(200, {}, hanging=True))
    with opened(script, outage_pause_seconds=10.0, outage_seconds=50.0, concurrency=1) as server:
        with pytest.raises(Incomplete, match=r"down for 50 s"):
            completions(server.session, [request(str(i)) for i in range(20)])
        assert server.now < 200
