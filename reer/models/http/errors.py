"""What can go wrong with a call, told apart, and how much patience is left for it.

openai-python 3.54 (`_base_client.py`) retries the same statuses but does not wait where it is asked for more than two
minutes; here a 429 is waited for and costs no attempt.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any

from reer.errors import InputError
from reer.models.http.adaptive_limit import retry_after
from reer.models.protocols import Completion

RETRIED = {200, 408, 409, 425}  # 200: with a body that is no answer, as gateways send
NO_ROOM = Completion("", "prompt_too_long", 0, 0)
UNDONE = {503, 529}  # who answers so has not done what was asked
LONGEST_BUSY_SECONDS, LONGEST_BACKOFF_SECONDS = 8.0, 30.0
TOO_LONG = re.compile(
    r"context.{0,3}length|maximum context|too many tokens|prompt is too long|exceed context limit", re.I
)
QUOTA = re.compile(r"insufficient_quota|credit balance", re.I)  # a 429 that no waiting ends


class Unreadable(ValueError):
    """A reply that is no answer; the message says what is wrong with it."""


class PromptTooLong(Exception):
    """The server says that the call does not fit its context."""


class Unanswered(Exception):
    """A call that has no answer, and will have none now; the message says why."""


class Refused(InputError):
    """What the server will not do. `status` is its HTTP status, `reason` its words."""

    def __init__(self, name: str, status: int, reason: str) -> None:
        super().__init__(f"server {name} refused the request: {reason}")
        self.status, self.reason = status, reason


class Down(ConnectionError):
    """5xx, a broken connection or a deadline. `undone` where the call has surely not been carried out."""

    def __init__(self, why: str, wait_seconds: float = 0.0, undone: bool = False) -> None:
        super().__init__(why)
        self.wait_seconds, self.undone = wait_seconds, undone


class Busy(Exception):
    """A 429, with the seconds it asks to wait."""

    def __init__(self, why: str, wait_seconds: float) -> None:
        super().__init__(why)
        self.wait_seconds = wait_seconds


def trouble(name: str, status: int, text: str, headers: Any) -> Exception:
    """What a reply of this status and text is, when it is no answer."""
    why = f"HTTP {status}: {text[:300]}"
    if status in (400, 413, 422) and TOO_LONG.search(text):
        return PromptTooLong()
    if status == 429 and not QUOTA.search(text):
        return Busy(why, retry_after(headers))
    if status >= 500:
        return Down(why, retry_after(headers), status in UNDONE)
    return Unreadable(why) if status in RETRIED else Refused(name, status, why)


@dataclass
class RetryState:
    """What is left of it for one call. `once`: not to be sent again where the server may have carried it out."""

    attempts: int
    timeout_seconds: float
    total_seconds: float
    once: bool
    failures: int = 0
    busy: int = 0
    spent_seconds: float = 0.0

    @property
    def left_seconds(self) -> float:
        """How long the next attempt may take."""
        return min(self.timeout_seconds, self.total_seconds - self.spent_seconds)

    def after(self, error: Exception, seconds: float) -> float:
        """Seconds to wait after an attempt that took `seconds`. Raises Unanswered where no other is to follow."""
        if isinstance(error, Busy):
            self.busy += 1
            wait = _pause(self.busy, LONGEST_BUSY_SECONDS)
            return min(wait, error.wait_seconds) if error.wait_seconds else wait  # what is told is waited for in a slot
        if self.once and not (isinstance(error, Down) and error.undone):
            raise Unanswered(f"{error}; it may have been carried out all the same, so it is not sent again")
        self.failures += 1
        if self.failures >= self.attempts:
            raise Unanswered(f"no answer after {self.attempts} attempts; last: {error}")
        wait = _pause(self.failures, LONGEST_BACKOFF_SECONDS)
        if isinstance(error, Down):
            wait = max(wait, error.wait_seconds)
        self.spent_seconds += seconds + wait
        if self.left_seconds <= 0:
            raise Unanswered(f"no answer in {self.total_seconds:g} s; last: {error}")
        return wait


def _pause(times: int, longest_seconds: float) -> float:
    """Most trouble is over at once, what is not lasts: the first pause is short, each next one four times as long."""
    return min(0.05 * 4.0 ** min(times - 1, 9), longest_seconds) * random.uniform(0.5, 1.0)
