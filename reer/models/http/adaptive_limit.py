"""How many calls a replica is given at once: a server's 429s shrink that number, good answers grow it back.

A lone 429 says little: it takes one slot, which is back after a few good answers. Where more than one in seven of the
last replies is a 429 a limit has been met, and each round of calls takes a fifth of the slots.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_SECONDS = 120.0  # nobody is waited for longer at a time, whatever a server asks
GROWS_AFTER = 10  # good answers, for one slot more
WINDOW, CROWD = 40, 6  # replies that say whether 429s come alone, and how many of them are no accident
NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?")


class AdaptiveLimiter:
    """The slots of one replica, given out in order of asking; `limit` of at most `most` are in use."""

    def __init__(self, most: int) -> None:
        self.most = self.limit = most
        self.busy = self.successes = 0
        self.resume_at = self.spread_seconds = self.shrunk_at = 0.0
        self.busy_since: float | None = None
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._queue: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def one(self, first: bool) -> AsyncIterator[None]:
        """A slot, once one is free and the replica's pause is over; `first` goes before those who wait."""
        await self._turn(first)
        try:
            while (wait := self.resume_at - time.monotonic()) > 0:
                await asyncio.sleep(wait + random.uniform(0, self.spread_seconds))
            yield
        finally:
            self._give()

    async def _turn(self, first: bool) -> None:
        if self.busy < self.limit and not self._queue:
            self.busy += 1
            return
        turn = asyncio.get_running_loop().create_future()
        (self._queue.appendleft if first else self._queue.append)(turn)
        try:
            await turn  # whoever ends it has counted the slot as taken
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._give()
            raise

    def _give(self) -> None:
        self.busy -= 1
        while self._queue and self.busy < self.limit:
            turn = self._queue.popleft()
            if not turn.done():
                self.busy += 1
                turn.set_result(None)

    def too_many(self, sent_at: float, pause_seconds: float) -> None:
        """Note a 429: shrink, once for all calls that were on their way together, and pause as long as asked. Calls
        resume a little apart."""
        now = time.monotonic()
        self._recent.append(True)
        self.busy_since = now if self.busy_since is None else self.busy_since
        if sent_at >= self.shrunk_at:
            crowded = sum(self._recent) >= CROWD
            self.limit = max(1, self.limit * 4 // 5 if crowded else self.limit - 1)
            self.shrunk_at = now
        if now + pause_seconds > self.resume_at:
            self.resume_at, self.spread_seconds = now + pause_seconds, min(1.0, pause_seconds / 10)

    @property
    def starved_seconds(self) -> float:
        """For how long there was nothing but 429s."""
        return 0.0 if self.busy_since is None else time.monotonic() - self.busy_since

    def well(self) -> None:
        """Note a good answer."""
        self._recent.append(False)
        self.busy_since = None
        self.successes += 1
        if self.successes >= GROWS_AFTER:
            self.limit, self.successes = min(self.most, self.limit + 1), 0


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait: by `retry-after-ms`, or by `retry-after` in seconds or as an HTTP date. 0
    where it gives none that can be read or that lies ahead; two minutes at most."""
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        given = headers.get(header, "").strip()
        if NUMBER.fullmatch(given):
            return min(float(given) * unit, LONGEST_SECONDS)
    return min(max(_seconds_until(headers.get("retry-after", "")), 0.0), LONGEST_SECONDS)


def _seconds_until(date: str) -> float:
    try:
        then = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return 0.0
    return (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
