"""A circuit breaker for one replica: while it is down nothing is sent to it but one call now and then, to see."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque

from reer.models.http.errors import Unanswered

WINDOW = 20  # attempts that say whether a replica is down
ENOUGH = 10  # of them, at least, before it is said
LONGEST_PAUSE_SECONDS = 60.0
log = logging.getLogger(__name__)


class CircuitBreaker:
    """Closed while a replica answers; open once half of its last attempts failed by 5xx, a broken connection or a
    deadline (429s say nothing here). After a pause, twice as long each time, one call probes; any answer closes it.
    After `outage_seconds` open, it gives up."""

    def __init__(self, name: str, first_pause_seconds: float, outage_seconds: float) -> None:
        self.name, self.first_pause_seconds, self.outage_seconds = name, first_pause_seconds, outage_seconds
        self.opened_at: float | None = None
        self.probe_at = self.pause_seconds = 0.0
        self.probing, self.why = False, ""
        self._failed: deque[bool] = deque(maxlen=WINDOW)
        self._moved = asyncio.Event()

    @property
    def ends_at(self) -> float:
        """When an outage is given up on; never, where there is none."""
        return float("inf") if self.opened_at is None else self.opened_at + self.outage_seconds

    @property
    def left_seconds(self) -> float:
        """How long an attempt may take before that."""
        return self.ends_at - time.monotonic()

    def renew(self) -> None:
        """What was given up on, or left in the middle, may be tried again."""
        self.probing = False
        if time.monotonic() >= self.ends_at:
            self.opened_at = self.probe_at = time.monotonic()

    async def admit(self) -> bool:
        """Wait until something may be sent; True for the one call that probes. Raises Unanswered on giving up."""
        waited = False
        while self.opened_at is not None:
            now = time.monotonic()
            if now >= self.ends_at:
                raise Unanswered(f"down for {self.outage_seconds:g} s; last: {self.why}")
            if not self.probing and now >= self.probe_at:
                self.probing = True
                return True
            await self._wait((self.ends_at if self.probing else min(self.probe_at, self.ends_at)) - now)
            waited = True
        if waited:  # a server that has just come back is not stormed
            await asyncio.sleep(random.uniform(0, min(1.0, self.first_pause_seconds / 5)))
        return False

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._moved.wait(), seconds)
        except TimeoutError:
            return

    def answered(self, counts: bool = True) -> None:
        """Note an answer, of whatever kind; one that does not count says only that there is somebody."""
        if self.opened_at is not None:
            log.warning("%s: answers again after %.0f s", self.name, time.monotonic() - self.opened_at)
            self.opened_at, self.probing = None, False
            self._failed.clear()
            self._move()
        if counts:
            self._failed.append(False)

    def failed(self, probe: bool, why: str) -> None:
        """Note an attempt without an answer."""
        self.why = why
        if probe:
            self.pause_seconds = min(2 * self.pause_seconds, LONGEST_PAUSE_SECONDS)
            self.probing, self.probe_at = False, time.monotonic() + self.pause_seconds
            self._move()
        elif self.opened_at is None:
            self._failed.append(True)
            if len(self._failed) >= ENOUGH and 2 * sum(self._failed) >= len(self._failed):
                self._open()

    def _open(self) -> None:
        self.opened_at, self.pause_seconds = time.monotonic(), self.first_pause_seconds
        self.probe_at = self.opened_at + self.pause_seconds
        log.warning(
            "%s: %d of the last %d attempts failed (%s); nothing new is sent, a first try follows in %g s, and after "
            "%g s it is given up",
            self.name,
            sum(self._failed),
            len(self._failed),
            self.why,
            self.pause_seconds,
            self.outage_seconds,
        )

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
