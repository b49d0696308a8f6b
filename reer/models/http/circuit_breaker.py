"""A circuit breaker for one replica: while the replica is down, only an occasional probe is sent to it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable

from reer.models.http.errors import Unanswered

WINDOW = 20  # latest attempts that decide whether a replica is down
MIN_ATTEMPTS = 10  # attempts needed before it can be declared down
MAX_PAUSE_SECONDS = 60.0
log = logging.getLogger(__name__)


class CircuitBreaker:
    """Closed while a replica answers. Opens when half of the latest attempts failed with 5xx, a broken connection or a
    deadline (429s do not count). After a pause, which doubles each time, one call probes; any answer closes the
    breaker. An outage of `outage_seconds` is given up. `clock` is a monotonic time in seconds."""

    def __init__(
        self,
        name: str,
        first_pause_seconds: float,
        outage_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.first_pause_seconds, self.outage_seconds = name, first_pause_seconds, outage_seconds
        self.opened_at: float | None = None
        self.probe_at = self.pause_seconds = 0.0
        self.probing, self.why = False, ""
        self._clock = clock
        self._failures: deque[bool] = deque(maxlen=WINDOW)
        self._changed = asyncio.Event()

    @property
    def gives_up_at(self) -> float:
        """When the current outage is given up; infinity where there is none."""
        return float("inf") if self.opened_at is None else self.opened_at + self.outage_seconds

    @property
    def remaining_seconds(self) -> float:
        """How long an attempt may take before the outage is given up."""
        return self.gives_up_at - self._clock()

    def reset(self) -> None:
        """Allow a replica that was given up, or whose probe was interrupted, to be tried again."""
        self.probing = False
        if self._clock() >= self.gives_up_at:
            self.opened_at = self.probe_at = self._clock()

    async def admit(self) -> bool:
        """Wait until a call may be sent; True for the one call that probes. Raises Unanswered when the outage is given
        up."""
        waited = False
        while self.opened_at is not None:
            now = self._clock()
            if now >= self.gives_up_at:
                raise Unanswered(f"down for {self.outage_seconds:g} s; last: {self.why}")
            if not self.probing and now >= self.probe_at:
                self.probing = True
                return True
            await self._wait((self.gives_up_at if self.probing else min(self.probe_at, self.gives_up_at)) - now)
            waited = True
        if waited:  # a replica that has just recovered does not get all waiting calls at once
            await asyncio.sleep(random.uniform(0, min(1.0, self.first_pause_seconds / 5)))
        return False

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return

    def on_answer(self, counts: bool = True) -> None:
        """Record an answer of any kind. One that does not count (a 429) only shows that the replica is reachable."""
        if self.opened_at is not None:
            log.warning("%s: responds again after %.0f s", self.name, self._clock() - self.opened_at)
            self.opened_at, self.probing = None, False
            self._failures.clear()
            self._notify()
        if counts:
            self._failures.append(False)

    def on_failure(self, probe: bool, why: str) -> None:
        """Record an attempt without an answer."""
        self.why = why
        if probe:
            self.pause_seconds = min(2 * self.pause_seconds, MAX_PAUSE_SECONDS)
            self.probing, self.probe_at = False, self._clock() + self.pause_seconds
            self._notify()
        elif self.opened_at is None:
            self._failures.append(True)
            if len(self._failures) >= MIN_ATTEMPTS and 2 * sum(self._failures) >= len(self._failures):
                self._open()

    def _open(self) -> None:
        self.opened_at, self.pause_seconds = self._clock(), self.first_pause_seconds
        self.probe_at = self.opened_at + self.pause_seconds
        log.warning(
            "%s: %d of the last %d attempts failed (%s); no new calls are sent, the first probe follows in %g s, and "
            "the replica is given up after %g s",
            self.name,
            sum(self._failures),
            len(self._failures),
            self.why,
            self.pause_seconds,
            self.outage_seconds,
        )

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
