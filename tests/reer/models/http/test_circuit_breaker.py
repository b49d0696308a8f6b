"""A server that is down for a while costs time, no answers; one that stays down ends the work with all that is kept."""

import itertools
import logging
import threading
import time
from typing import Any

import pytest

from reer.errors import Incomplete
from reer.models.http.circuit_breaker import CircuitBreaker
from reer.models.protocols import Device
from reer.models.services.openai import ChatServer
from tests.fakes.http import Act, Handler, Serve, ask, hangs, request, respond, says

DOWN = respond(503, {"error": "restarting"})
QUICK = {"outage_pause_seconds": 0.1, "outage_seconds": 5.0, "attempts": 3}


class Failing:
    """Fails by `act` from the first call on for some seconds, then answers; counts both."""

    def __init__(self, act: Act, seconds: float) -> None:
        self.act, self.seconds = act, seconds
        self.started: float | None = None
        self.failed = self.answered = 0
        self.lock = threading.Lock()

    def __call__(self, handler: Handler) -> None:
        with self.lock:
            self.started = self.started or time.monotonic()
            down = time.monotonic() - self.started < self.seconds
            self.failed, self.answered = self.failed + down, self.answered + (not down)
        (self.act if down else says("x"))(handler)


def test_an_outage_is_waited_for_though_it_outlasts_all_attempts(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(DOWN, 0.6)
    _, url = serve(failing)
    with caplog.at_level(logging.INFO, logger="reer"):
        replies = ask(url, *(request(str(i)) for i in range(60)), **{**QUICK, "concurrency": 4, "attempts": 4})
    assert [reply.text for reply in replies] == ["x"] * 60
    assert failing.failed < 10 + 4 + 5, "those on their way when it opened, and the probes"
    opened, closed = caplog.messages
    assert "10 of the last 10 attempts failed (HTTP 503" in opened
    assert "answers again after" in closed


@pytest.mark.parametrize("act", [hangs(0.5), respond(500, {}), respond(529, {"error": "overloaded"})])
def test_whatever_a_replica_is_down_of(serve: Serve, act: Act) -> None:
    failing = Failing(act, 0.6)
    _, url = serve(failing)
    replies = ask(url, *(request(str(i)) for i in range(30)), **QUICK, timeout_seconds=0.2, concurrency=15)
    assert [reply.text for reply in replies] == ["x"] * 30


def test_an_outage_that_does_not_end_ends_the_work_and_keeps_what_there_is(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server, url = serve(*[says("x")] * 5, DOWN)
    heard: set[int] = set()
    chat = ChatServer(
        "m", base_url=url, health_check=False, concurrency=4, outage_pause_seconds=0.05, outage_seconds=0.6
    )
    start = time.monotonic()
    with (
        chat.open(Device()) as session,
        pytest.raises(Incomplete, match=r"495 of 500 calls have no answer; last: down for 0\.6 s; last: HTTP 503"),
    ):
        session.generate([request(str(i)) for i in range(500)], lambda at, replies: heard.update(at))
    assert time.monotonic() - start < 3
    assert len(heard) == 5
    assert len(server.bodies) < 40, "nothing was sent to it but probes"
    assert len(caplog.messages) == 1


def test_a_replica_that_is_down_does_not_keep_the_other_from_answering(serve: Serve) -> None:
    (_, url), (_, other) = serve(says("x")), serve(DOWN)
    heard: set[int] = set()
    chat = ChatServer(
        "m", base_url=url, replicas=(other,), health_check=False, outage_pause_seconds=0.05, outage_seconds=0.4
    )
    with chat.open(Device()) as session, pytest.raises(Incomplete, match="30 of 60"):
        session.generate([request(str(i)) for i in range(60)], lambda at, replies: heard.update(at))
    assert heard == set(range(0, 60, 2))


def test_what_was_given_up_may_be_asked_again(serve: Serve) -> None:
    failing = Failing(DOWN, 0.5)
    _, url = serve(failing)
    chat = ChatServer("m", base_url=url, health_check=False, outage_pause_seconds=0.05, outage_seconds=0.2)
    asked = [request(str(i)) for i in range(20)]
    with chat.open(Device()) as session:
        with pytest.raises(Incomplete):
            session.generate(asked)
        time.sleep(0.6)
        assert [reply.text for reply in session.generate(asked)] == ["x"] * 20


def test_429s_and_refusals_are_no_outage(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    busy, refused = respond(429, {}, Retry_After_ms="10"), respond(400, {"error": "flagged as unsafe"})
    _, url = serve(*[busy, refused] * 15, says("x"))
    replies = ask(url, *(request(str(i)) for i in range(40)), concurrency=4)
    assert {reply.stopped for reply in replies} == {"stop", "refused"}
    assert caplog.messages == []


def test_one_failure_in_three_is_no_outage(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    acts: list[Any] = [says("x"), says("x"), respond(500, {})] * 30
    _, url = serve(*acts, says("x"))
    assert len(ask(url, *(request(str(i)) for i in range(14)), concurrency=1, attempts=9)) == 14
    assert caplog.messages == []


def test_after_an_outage_the_next_failure_is_one_and_not_the_eleventh() -> None:
    breaker = CircuitBreaker("m", 0.1, 1.0)
    for _ in range(10):
        breaker.failed(probe=False, why="HTTP 503")
    assert breaker.opened_at is not None
    breaker.answered()
    breaker.failed(probe=False, why="HTTP 503")
    assert breaker.opened_at is None


def test_probes_cost_no_attempts(serve: Serve) -> None:
    failing = Failing(DOWN, 0.7)
    _, url = serve(failing)
    settings = {"concurrency": 1, "attempts": 3, "outage_pause_seconds": 0.05}
    assert len(ask(url, *(request(str(i)) for i in range(14)), **settings)) == 14
    assert failing.failed >= 13, "more probes failed than a call has attempts"


def test_a_call_that_always_fails_does_not_keep_an_outage_going_as_its_probe(serve: Serve) -> None:
    calls = itertools.count()

    def act(handler: Handler) -> None:
        text = handler.asked["messages"][0]["content"]
        (DOWN if next(calls) < 10 or text in ("0", "10") else says("x"))(handler)

    _, url = serve(act)
    heard: set[int] = set()
    chat = ChatServer(
        "m", base_url=url, health_check=False, concurrency=1, attempts=3, outage_pause_seconds=0.05, outage_seconds=1.5
    )
    with chat.open(Device()) as session, pytest.raises(Incomplete, match="2 of 14"):
        session.generate([request(str(i)) for i in range(14)], lambda at, replies: heard.update(at))
    assert heard == set(range(14)) - {0, 10}


def test_time_in_an_outage_is_not_counted_against_a_call(serve: Serve) -> None:
    _, url = serve(Failing(DOWN, 0.7))
    settings = {"outage_pause_seconds": 0.1, "concurrency": 4, "total_seconds": 0.5, "attempts": 9}
    replies = ask(url, *(request(str(i)) for i in range(40)), **settings)
    assert [reply.text for reply in replies] == ["x"] * 40


def test_a_probe_that_hangs_ends_with_the_outage(serve: Serve) -> None:
    _, url = serve(*[DOWN] * 10, hangs(5))
    start = time.monotonic()
    with pytest.raises(Incomplete, match=r"down for 0\.5 s"):
        ask(url, *(request(str(i)) for i in range(20)), outage_pause_seconds=0.1, outage_seconds=0.5, concurrency=1)
    assert time.monotonic() - start < 2
