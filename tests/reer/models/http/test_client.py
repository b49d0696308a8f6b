"""Deadlines, rate limits and retries of the client, in virtual time."""

import pytest
from pydantic import TypeAdapter, ValidationError

from reer.errors import Incomplete, InputError
from reer.models.http.client import Call
from reer.models.http.errors import RateLimited, RetryState, Unanswered, Unavailable, Unreadable
from reer.models.services.openai import ChatServer
from tests.fakes.calls import completions
from tests.fakes.http import request
from tests.fakes.virtual_time import Script, Scripted, completion, opened

ANSWER = completion("x")


def in_turn(*replies: Scripted) -> Script:
    """These replies in order of the calls, the last one for all further calls."""
    rest = list(replies)
    return lambda prompt, now: rest.pop(0) if len(rest) > 1 else rest[0]


def test_a_429_is_waited_for_as_long_as_the_server_asks() -> None:
    with opened(in_turn(Scripted(429, {}, retry_after_seconds=60.0), ANSWER)) as server:
        assert completions(server.session, [request()])[0].text == "x"
    first, second = server.transport.times
    assert second - first >= 60


def test_a_replica_that_replies_only_429_for_the_length_of_an_outage_is_given_up() -> None:
    limited = Scripted(429, {"error": "slow down"}, retry_after_seconds=30.0)
    with (
        opened(lambda prompt, now: limited, outage_seconds=300.0) as server,
        pytest.raises(Incomplete, match=r"3 of 3 calls have no answer; last: nothing but 429 for 300 s.*slow down"),
    ):
        completions(server.session, [request(str(i)) for i in range(3)])


def test_calls_resume_apart_after_a_pause() -> None:
    with opened(
        in_turn(*[Scripted(429, {}, retry_after_seconds=80.0)] * 8, completion("x", seconds=5.0)), concurrency=8
    ) as server:
        completions(server.session, [request(str(i)) for i in range(8)])
    times = server.transport.times
    resumed = times[8:]
    assert min(resumed) - min(times) >= 80
    assert max(resumed) - min(resumed) > 0.005
    assert len(set(resumed)) == len(resumed)


def test_all_attempts_of_a_call_share_one_deadline() -> None:
    unavailable = Scripted(503, {"error": "overloaded"})
    with opened(lambda prompt, now: unavailable, total_seconds=40.0, attempts=50) as server:
        with pytest.raises(Incomplete, match=r"no answer in 40 s; last: HTTP 503"):
            completions(server.session, [request()])
        assert server.now <= 40


def test_waiting_for_a_slot_or_for_a_429_does_not_count_towards_the_deadline() -> None:
    script = in_turn(Scripted(429, {}, retry_after_seconds=50.0), completion("x", seconds=10.0))
    with opened(script, total_seconds=35.0, concurrency=1) as server:
        replies = completions(server.session, [request(str(i)) for i in range(5)])
    assert [reply.text for reply in replies] == ["x"] * 5


def test_other_calls_proceed_while_one_gets_no_reply() -> None:
    with opened(in_turn(Scripted(200, {}, hanging=True), ANSWER), timeout_seconds=30.0) as server:
        replies = completions(server.session, [request(str(i)) for i in range(4)])
    assert [reply.text for reply in replies] == ["x"] * 4
    assert sorted(server.transport.times)[3] < 1, "the other three were sent at once"


def test_the_recorded_seconds_are_those_of_the_successful_attempt() -> None:
    with opened(in_turn(Scripted(500, {}, seconds=7.0), completion("x", seconds=20.0))) as server:
        (reply,) = completions(server.session, [request()])
    assert reply.seconds == pytest.approx(20)


@pytest.mark.parametrize("name", ["concurrency", "attempts"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_wrong_count_is_named(name: str, value: int) -> None:
    with pytest.raises(ValidationError, match=rf"{name}\n  Input should be greater than 0"):
        TypeAdapter(ChatServer).validate_python({"model": "m", "base_url": "http://x", name: value})


@pytest.mark.parametrize("name", ["timeout_seconds", "total_seconds", "outage_seconds", "outage_pause_seconds"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_wrong_duration_is_named(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match=rf"{name}\n  Input should be greater than 0"):
        TypeAdapter(ChatServer).validate_python({"model": "m", "base_url": "http://x", name: value})


def state(attempts: int = 3, idempotent: bool = True) -> RetryState:
    return RetryState(attempts=attempts, timeout_seconds=600.0, total_seconds=3600.0, idempotent=idempotent)


def test_delays_grow_and_attempts_end() -> None:
    retry = state(attempts=4)
    delays = [retry.delay_after(Unreadable("empty"), 1.0) for _ in range(3)]
    assert [low / 2 <= delay <= low for delay, low in zip(delays, (0.05, 0.2, 0.8), strict=True)] == [True] * 3
    with pytest.raises(Unanswered, match="no answer after 4 attempts; last: empty"):
        retry.delay_after(Unreadable("empty"), 1.0)


def test_a_delay_is_at_least_what_an_unavailable_server_asks_for() -> None:
    assert state().delay_after(Unavailable("HTTP 503", wait_seconds=90.0), 1.0) == 90


def test_429s_are_not_attempts_and_spend_no_time() -> None:
    retry = state(attempts=1)
    assert all(retry.delay_after(RateLimited("HTTP 429", 0.0), 1000.0) <= 8 for _ in range(20))
    assert retry.remaining_seconds == 600


def test_a_call_that_is_not_idempotent_is_repeated_only_where_it_was_not_executed() -> None:
    assert state(idempotent=False).delay_after(Unavailable("HTTP 503", not_executed=True), 1.0) > 0
    for error in (Unavailable("HTTP 500"), Unreadable("empty")):
        with pytest.raises(Unanswered, match="it is not sent again"):
            state(idempotent=False).delay_after(error, 1.0)


def test_an_error_of_one_call_stops_the_others() -> None:
    with opened(in_turn(Scripted(401, {"error": "bad key"}), ANSWER)) as server, pytest.raises(InputError):
        completions(server.session, [request(str(i)) for i in range(4)])


def test_a_call_made_in_place_of_another_counts_as_many_tokens() -> None:
    in_flight: list[int] = []

    def read(body: object) -> str:
        (replica,) = client.replicas.values()
        in_flight.append(replica.limiter.tokens_in_flight)
        if len(in_flight) == 1:
            raise ValueError("not this shape")
        return "read"

    with opened(in_turn(completion("x"), completion("y"))) as server:
        client = server.session.client
        body = {"messages": [{"role": "user", "content": "q"}]}
        whole = Call(path="/chat/completions", body=body, read=read)
        call = Call(path="/chat/completions", body=body, read=read, tokens=9, instead=whole)
        assert server.runner.run(client.answer(call)) == "read"
    assert in_flight == [9, 9]
