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
from reer.models.protocols import Completion, JsonReply

RETRIED = {200, 408, 409, 425}  # 200: with an unreadable body, as gateways send
NOT_EXECUTED = {503, 529}  # a server that replies with these has not carried out the call
MAX_RATE_LIMIT_PAUSE_SECONDS, MAX_BACKOFF_SECONDS = 8.0, 30.0
CONTEXT_EXCEEDED = re.compile(
    r"context.{0,3}length|maximum context|too many tokens|prompt is too long|exceed context limit|context size"
    r"|maximum prompt length|maximum number of tokens|reduce the length|too large for model|range of input length"
    r"|`inputs` tokens \+ `max_new_tokens`",
    re.I,
)
QUOTA_EXCEEDED = re.compile(  # a 429 that waiting does not end
    r"insufficient_quota|credit balance|insufficient.balance|billing_hard_limit|exceeded_current_quota|arrearage", re.I
)
NOT_JSON_COMPLIANT = re.compile(r"not JSON compliant", re.I)  # vLLM's 500 for a log-probability that is NaN
STATUS_OF = {  # the HTTP status of each of the providers' types of errors, where a reply gives no number
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
    "context_length_exceeded": 400,
    "invalid_api_key": 401,
    "model_not_found": 404,
}
PROMPT_TOO_LONG = Completion(text="", stopped="prompt_too_long", prompt_tokens=0, tokens=0)
UNREADABLE_REPLY = Completion(text="", stopped="unreadable", prompt_tokens=0, tokens=0)


class Unreadable(ValueError):
    """A reply that is not a valid answer; the message says what is wrong with it."""


class WrongShape(Unreadable):
    """A whole reply in JSON that does not hold what is read. Asking again rarely changes it."""


class PromptTooLong(Exception):
    """The call exceeds the context of the server's model."""


class Unanswered(Exception):
    """A call that was given up without an answer; the message says why. `lasting` where every further attempt would
    probably end alike."""

    def __init__(self, why: str, lasting: bool = False) -> None:
        super().__init__(why)
        self.lasting = lasting


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
    if NOT_JSON_COMPLIANT.search(text):
        return WrongShape(why)
    if status in (400, 413, 422) and CONTEXT_EXCEEDED.search(text):
        return PromptTooLong()
    if status == 429 and not QUOTA_EXCEEDED.search(text):
        return RateLimited(why, retry_after(headers))
    if status >= 500:
        return Unavailable(why, retry_after(headers), status in NOT_EXECUTED)
    return Unreadable(why) if status in RETRIED else Rejected(name, status, why)


def wrapped_error(name: str, reply: JsonReply, text: str, headers: Mapping[str, str]) -> Exception | None:
    """The error in a reply with HTTP status 200, as gateways pass on those of their providers; None if there is none.
    An error of unknown kind is one of the provider, which may pass."""
    error = reply.get("error") if isinstance(reply, dict) else None
    if isinstance(reply, dict) and not error and reply.get("object") == "error":
        error = reply
    if not error:
        return None
    fields = error if isinstance(error, dict) else {}
    status = next((found for key in ("code", "status", "type") if (found := _status_of(fields.get(key)))), 500)
    return classify_response(name, status, text, headers)


def _status_of(code: object) -> int | None:
    if isinstance(code, str):
        return STATUS_OF.get(code) or (_status_of(int(code)) if code.isdecimal() and len(code) == 3 else None)
    if isinstance(code, bool) or not isinstance(code, int):
        return None
    return code if 400 <= code < 600 else None


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
            why = f"no answer after {self.attempts} attempts; last: {error}"
            raise Unanswered(why, lasting=isinstance(error, WrongShape))
        delay = _backoff(self.failures, MAX_BACKOFF_SECONDS)
        if isinstance(error, Unavailable):
            delay = max(delay, error.wait_seconds)
        self.spent_seconds += seconds + delay
        if self.remaining_seconds <= 0:
            why = f"no answer in {self.total_seconds:g} s; last: {error}"
            raise Unanswered(why, lasting=isinstance(error, WrongShape))
        return delay


def _backoff(failures: int, max_seconds: float) -> float:
    """Exponential backoff with jitter: most failures are over at once, so the first delay is short and each next one
    four times as long."""
    return min(0.05 * 4.0 ** min(failures - 1, 9), max_seconds) * random.uniform(0.5, 1.0)
