"""What can go wrong with a call, and how long it is retried.

openai-python 3.54 (`_base_client.py`) retries the same statuses, but ignores a requested wait of more than two minutes;
here a 429 is waited for and does not count as an attempt.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from reer.errors import InputError
from reer.models.http.adaptive_limit import retry_after
from reer.models.protocols import Completion

RETRIED = {200, 408, 409, 425}  # 200: with an unreadable body, as gateways send
NOT_EXECUTED = {503, 529}  # a server that replies with these has not carried out the call
MAX_RATE_LIMIT_PAUSE_SECONDS, MAX_BACKOFF_SECONDS = 8.0, 30.0
CONTEXT_EXCEEDED = re.compile(
    r"context.{0,3}length|maximum context|too many tokens|prompt is too long|exceed context limit", re.I
)
QUOTA_EXCEEDED = re.compile(r"insufficient_quota|credit balance", re.I)  # a 429 that waiting does not end
PROMPT_TOO_LONG = Completion(text="", stopped="prompt_too_long", prompt_tokens=0, tokens=0)


class Unreadable(ValueError):
    """A reply that is not a valid answer; the message says what is wrong with it."""


class PromptTooLong(Exception):
    """The call exceeds the context of the server's model."""


class Unanswered(Exception):
    """A call that was given up without an answer; the message says why."""


class Rejected(InputError):
    """A call that the server rejects. `status` is the HTTP status, `reason` the server's message."""

    def __init__(self, name: str, status: int, reason: str) -> None:
        super().__init__(f"server {name} rejected the request: {reason}")
        self.status, self.reason = status, reason


class Unavailable(ConnectionError):
    """5xx, a broken connection or a deadline. `not_executed` where the server certainly did not carry out the call."""

    def __init__(self, why: str, wait_seconds: float = 0.0, not_executed: bool = False) -> None:
        super().__init__(why)
        self.wait_seconds, self.not_executed = wait_seconds, not_executed


class RateLimited(Exception):
    """A 429, with the seconds that the server asks to wait."""

    def __init__(self, why: str, wait_seconds: float) -> None:
        super().__init__(why)
        self.wait_seconds = wait_seconds


def may_be_billed(error: Exception) -> bool:
    """Whether the server may have carried out a call that ended in `error`."""
    return isinstance(error, Unreadable) or (isinstance(error, Unavailable) and not error.not_executed)


def classify_response(name: str, status: int, text: str, headers: Mapping[str, str]) -> Exception:
    """The error of an unsuccessful response of server `name`."""
    why = f"HTTP {status}: {text[:300]}"
    if status in (400, 413, 422) and CONTEXT_EXCEEDED.search(text):
        return PromptTooLong()
    if status == 429 and not QUOTA_EXCEEDED.search(text):
        return RateLimited(why, retry_after(headers))
    if status >= 500:
        return Unavailable(why, retry_after(headers), status in NOT_EXECUTED)
    return Unreadable(why) if status in RETRIED else Rejected(name, status, why)


@dataclass(kw_only=True)
class RetryState:
    """The attempts and the time that one call has left. A call that is not `idempotent` is not repeated where the
    server may have carried it out. Time is passed in, so this needs no clock."""

    attempts: int
    timeout_seconds: float
    total_seconds: float
    idempotent: bool
    failures: int = 0
    rate_limits: int = 0
    spent_seconds: float = 0.0

    @property
    def remaining_seconds(self) -> float:
        """How long the next attempt may take."""
        return min(self.timeout_seconds, self.total_seconds - self.spent_seconds)

    def delay_after(self, error: Exception, seconds: float) -> float:
        """Seconds to wait after an attempt that took `seconds` and ended in `error`. Raises Unanswered where the call
        is not to be attempted again."""
        if isinstance(error, RateLimited):
            self.rate_limits += 1
            delay = _backoff(self.rate_limits, MAX_RATE_LIMIT_PAUSE_SECONDS)
            return min(delay, error.wait_seconds) if error.wait_seconds else delay  # the limiter waits for the rest
        if not self.idempotent and not (isinstance(error, Unavailable) and error.not_executed):
            raise Unanswered(f"{error}; the server may have carried it out nevertheless, so it is not sent again")
        self.failures += 1
        if self.failures >= self.attempts:
            raise Unanswered(f"no answer after {self.attempts} attempts; last: {error}")
        delay = _backoff(self.failures, MAX_BACKOFF_SECONDS)
        if isinstance(error, Unavailable):
            delay = max(delay, error.wait_seconds)
        self.spent_seconds += seconds + delay
        if self.remaining_seconds <= 0:
            raise Unanswered(f"no answer in {self.total_seconds:g} s; last: {error}")
        return delay


def _backoff(failures: int, max_seconds: float) -> float:
    """Exponential backoff with jitter: most failures are over at once, so the first delay is short and each next one
    four times as long."""
    return min(0.05 * 4.0 ** min(failures - 1, 9), max_seconds) * random.uniform(0.5, 1.0)
