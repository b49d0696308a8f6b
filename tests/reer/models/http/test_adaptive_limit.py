"""The limiter is lowered by 429s and raised by answers; `retry-after` is read in every form that servers use."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from reer.models.http.adaptive_limit import AdaptiveLimiter, retry_after
from tests.fakes.virtual_time import in_virtual_time


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "9", "retry-after-ms": "x"}, 9.0),
        ({"retry-after": "3600"}, 120.0),
        ({"retry-after": "9" * 400}, 120.0),
        ({"retry-after-ms": "3600000"}, 120.0),
        ({"retry-after": in_seconds(7200)}, 120.0),
        ({"retry-after": in_seconds(-60)}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "soon"}, 0.0),
        ({"retry-after": "²"}, 0.0),
        ({"retry-after": "nan"}, 0.0),
        ({"retry-after": ""}, 0.0),
        ({}, 0.0),
    ],
)
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers) == seconds


def test_a_date_to_wait_for_is_seconds_from_now() -> None:
    assert 28 < retry_after({"retry-after": in_seconds(30)}) <= 30


class Clock:
    """A clock set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> float:
        """Move on by a second; the time then."""
        self.now += 1.0
        return self.now


def test_429s_of_calls_sent_together_lower_the_limit_once_and_successes_raise_it() -> None:
    clock = Clock()
    limiter = AdaptiveLimiter(20, clock)
    together = clock.tick()
    for _ in range(5):
        limiter.on_429(together, pause_seconds=0)
    assert limiter.limit == 19
    clock.tick()
    limiter.on_429(clock.now, pause_seconds=0)
    assert limiter.limit == 15, "six of the latest replies are 429s: a limit was met"
    for _ in range(200):
        limiter.on_success()
    assert limiter.limit == 20


def test_isolated_429s_hardly_lower_the_limit() -> None:
    clock = Clock()
    limiter, lowest = AdaptiveLimiter(32, clock), 32
    for reply in range(2000):
        limiter.on_429(clock.tick(), 0) if reply % 20 == 0 else limiter.on_success()
        lowest = min(lowest, limiter.limit)
    assert lowest >= 30


@pytest.mark.parametrize("capacity", [1, 4, 10, 25])
def test_the_limit_approaches_the_capacity_of_the_server(capacity: int) -> None:
    clock = Clock()
    limiter, limits = AdaptiveLimiter(32, clock), list[int]()
    for _ in range(120):
        sent_at = clock.tick()
        for call in range(limiter.limit):
            limiter.on_success() if call < capacity else limiter.on_429(sent_at, 0)
        limits.append(limiter.limit)
    assert max(limits[60:]) <= 1.25 * capacity + 1
    assert min(limits[60:]) >= 0.75 * capacity


def test_starvation_is_measured_from_the_first_429_without_a_success() -> None:
    clock = Clock()
    limiter = AdaptiveLimiter(4, clock)
    assert limiter.starved_seconds == 0
    limiter.on_429(0.0, 0)
    clock.now = 30.0
    limiter.on_429(30.0, 0)
    assert limiter.starved_seconds == 30
    limiter.on_success()
    assert limiter.starved_seconds == 0


def test_calls_resume_slightly_apart_after_a_pause() -> None:
    async def resumed() -> list[float]:
        clock = asyncio.get_running_loop().time
        limiter, times = AdaptiveLimiter(20, clock), list[float]()

        async def call() -> None:
            async with limiter.acquire(first=False):
                times.append(clock())

        limiter.on_429(sent_at=0.0, pause_seconds=30.0)
        await asyncio.gather(*(call() for _ in range(15)))
        return times

    times = in_virtual_time(resumed)
    assert min(times) >= 30
    assert max(times) - min(times) > 0.01


def test_a_retry_goes_to_the_head_of_the_queue() -> None:
    async def order() -> list[str]:
        limiter, served = AdaptiveLimiter(1), list[str]()

        async def call(name: str, first: bool) -> None:
            async with limiter.acquire(first):
                await asyncio.sleep(0)
                served.append(name)

        await asyncio.gather(call("a", False), call("b", False), call("c", False), call("retry", True))
        assert limiter.in_flight == 0
        return served

    assert in_virtual_time(order) == ["a", "retry", "b", "c"]


def test_a_call_cancelled_in_the_queue_takes_no_slot() -> None:
    async def in_flight() -> int:
        limiter = AdaptiveLimiter(1)

        async def call() -> None:
            async with limiter.acquire(first=False):
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(call()) for _ in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert tasks[3].exception() is None
        return limiter.in_flight

    assert in_virtual_time(in_flight) == 0


def test_tokens_bound_the_calls_in_flight_in_order_of_arrival() -> None:
    async def started() -> list[tuple[str, float]]:
        clock = asyncio.get_running_loop().time
        limiter, times = AdaptiveLimiter(9, clock, max_tokens=10), list[tuple[str, float]]()

        async def call(name: str, tokens: int) -> None:
            async with limiter.acquire(first=False, tokens=tokens):
                times.append((name, clock()))
                await asyncio.sleep(1)

        await asyncio.gather(call("a", 6), call("b", 4), call("c", 7), call("small", 1), call("longest", 99))
        assert limiter.tokens_in_flight == limiter.in_flight == 0
        return times

    assert in_virtual_time(started) == [("a", 0), ("b", 0), ("c", 1), ("small", 1), ("longest", 2)]
