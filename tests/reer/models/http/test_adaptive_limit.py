"""AdaptiveLimiter shrink by 429s and grow by answers; what a server asks to wait is read in every form it comes in."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from reer.models.http.adaptive_limit import AdaptiveLimiter, retry_after


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


def test_too_many_requests_shrink_the_slots_once_and_success_grows_them_back() -> None:
    slots = AdaptiveLimiter(most=20)
    together = time.monotonic()
    for _ in range(5):
        slots.too_many(together, pause_seconds=0)
    assert slots.limit == 19
    slots.too_many(time.monotonic(), pause_seconds=0)
    assert slots.limit == 15, "six of the last replies are 429s: a limit was met"
    for _ in range(200):
        slots.well()
    assert slots.limit == 20


def test_429s_that_come_alone_hardly_shrink_the_slots() -> None:
    slots, least = AdaptiveLimiter(most=32), 32
    for reply in range(2000):
        slots.too_many(time.monotonic(), 0) if reply % 20 == 0 else slots.well()
        least = min(least, slots.limit)
    assert least >= 30


@pytest.mark.parametrize("room", [1, 4, 10, 25])
def test_a_limit_of_the_servers_is_found(room: int) -> None:
    slots, seen = AdaptiveLimiter(most=32), []
    for _ in range(120):
        sent_at, busy = time.monotonic(), slots.limit
        for call in range(busy):
            slots.well() if call < room else slots.too_many(sent_at, 0)
        seen.append(slots.limit)
    assert max(seen[60:]) <= 1.25 * room + 1
    assert min(seen[60:]) >= 0.75 * room


def test_calls_resume_a_little_apart_after_a_pause() -> None:
    async def resumed() -> list[float]:
        slots, times = AdaptiveLimiter(most=20), []

        async def call() -> None:
            async with slots.one(first=False):
                times.append(time.monotonic() - start)

        start = time.monotonic()
        slots.too_many(start - 1, pause_seconds=0.3)
        await asyncio.gather(*(call() for _ in range(15)))
        return times

    times = asyncio.run(resumed())
    assert min(times) >= 0.3
    assert max(times) - min(times) > 0.01


def test_who_tries_again_goes_before_those_who_wait() -> None:
    async def order() -> list[str]:
        slots, told = AdaptiveLimiter(most=1), []

        async def call(name: str, first: bool) -> None:
            async with slots.one(first):
                await asyncio.sleep(0)
                told.append(name)

        await asyncio.gather(call("a", False), call("b", False), call("c", False), call("again", True))
        assert slots.busy == 0
        return told

    assert asyncio.run(order()) == ["a", "again", "b", "c"]


def test_a_call_that_is_given_up_while_it_waits_takes_no_slot_with_it() -> None:
    async def left() -> int:
        slots = AdaptiveLimiter(most=1)

        async def call() -> None:
            async with slots.one(first=False):
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(call()) for _ in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert tasks[3].exception() is None
        return slots.busy

    assert asyncio.run(left()) == 0
