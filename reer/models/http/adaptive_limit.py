"""How many calls a replica gets at once: 429s lower the limit, successful answers raise it again.

An isolated 429 lowers the limit by one; it recovers after ten successes. When more than one in seven of the latest
replies are 429s, a limit of the server has been met, and each round of calls lowers the limit by a fifth.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_PAUSE_SECONDS = 120.0  # the longest single wait, whatever a server asks for
SUCCESSES_PER_SLOT = 10  # successes that raise the limit by one
WINDOW = 40  # latest replies that are considered
CROWDED = 6  # 429s among them that are no longer isolated
NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?")


class AdaptiveLimiter:
    """Bounds the calls in flight to one replica, served in order of arrival: their number by `limit`, at most
    `max_limit`, and the sum of their tokens by `max_tokens` (None: no bound; a call with more is in flight alone).
    `clock` is a monotonic time in seconds."""

    def __init__(
        self, max_limit: int, clock: Callable[[], float] = time.monotonic, max_tokens: int | None = None
    ) -> None:
        self.max_limit = self.limit = max_limit
        self.max_tokens = max_tokens
        self.in_flight = self.tokens_in_flight = self.successes = 0
        self.resume_at = self.spread_seconds = 0.0
        self.lowered_at = float("-inf")
        self.only_429s_since: float | None = None
        self._clock = clock
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._queue: deque[tuple[asyncio.Future[None], int]] = deque()

    @asynccontextmanager
    async def acquire(self, first: bool, tokens: int = 0) -> AsyncIterator[None]:
        """Hold a slot for a call of so many tokens, once there is room for it and the pause of the replica is over;
        `first` goes to the head of the queue."""
        await self._queued(first, tokens)
        try:
            while (wait := self.resume_at - self._clock()) > 0:
                await asyncio.sleep(wait + random.uniform(0, self.spread_seconds))
            yield
        finally:
            self._release(tokens)

    async def _queued(self, first: bool, tokens: int) -> None:
        if self._has_room(tokens) and not self._queue:
            self._take(tokens)
            return
        turn = asyncio.get_running_loop().create_future()
        (self._queue.appendleft if first else self._queue.append)((turn, tokens))
        try:
            await turn  # `_release` has counted the slot as taken
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._release(tokens)
            raise

    def _has_room(self, tokens: int) -> bool:
        if self.in_flight >= self.limit:
            return False
        return self.max_tokens is None or not self.in_flight or self.tokens_in_flight + tokens <= self.max_tokens

    def _take(self, tokens: int) -> None:
        self.in_flight += 1
        self.tokens_in_flight += tokens

    def _release(self, tokens: int) -> None:
        self.in_flight -= 1
        self.tokens_in_flight -= tokens
        while self._queue and (self._queue[0][0].done() or self._has_room(self._queue[0][1])):
            turn, wanted = self._queue.popleft()
            if not turn.done():
                self._take(wanted)
                turn.set_result(None)

    def on_429(self, sent_at: float, pause_seconds: float) -> None:
        """Record a 429. It lowers the limit, once for all calls that were in flight together, and pauses the replica
        for `pause_seconds`; calls resume slightly apart."""
        now = self._clock()
        self._recent.append(True)
        self.only_429s_since = now if self.only_429s_since is None else self.only_429s_since
        if sent_at > self.lowered_at:
            crowded = sum(self._recent) >= CROWDED
            self.limit = max(1, self.limit * 4 // 5 if crowded else self.limit - 1)
            self.lowered_at = now
        if now + pause_seconds > self.resume_at:
            self.resume_at, self.spread_seconds = now + pause_seconds, min(1.0, pause_seconds / 10)

    @property
    def starved_seconds(self) -> float:
        """For how long every reply has been a 429."""
        return 0.0 if self.only_429s_since is None else self._clock() - self.only_429s_since

    def on_success(self) -> None:
        """Record a successful answer."""
        self._recent.append(False)
        self.only_429s_since = None
        self.successes += 1
        if self.successes >= SUCCESSES_PER_SLOT:
            self.limit, self.successes = min(self.max_limit, self.limit + 1), 0


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait: `retry-after-ms`, or `retry-after` in seconds or as an HTTP date. 0 where
    neither header is readable or the date is past; at most `MAX_PAUSE_SECONDS`."""
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(header, "").strip()
        if NUMBER.fullmatch(value):
            return min(float(value) * unit, MAX_PAUSE_SECONDS)
    return min(max(_seconds_until(headers.get("retry-after", "")), 0.0), MAX_PAUSE_SECONDS)


def _seconds_until(date: str) -> float:
    try:
        then = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return 0.0
    return (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
