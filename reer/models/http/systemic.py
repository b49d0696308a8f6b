"""Decides whether a rejected call (HTTP 400, 413, 422) is due to its own content or to the parameters of every call.

Servers use the same statuses for both. A rejection concerns the parameters when several calls with the same parameters
were rejected, or all of them, and none has ever succeeded, unless the server's message names the content. A rejection
of one call becomes its answer; a systemic one stops the work.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from reer.errors import InputError
from reer.models.http.errors import Rejected

Result = TypeVar("Result")
PER_CALL = (400, 413, 422)  # statuses that may concern one call; 401, 403 and 404 concern all of them
SEVERAL = 3
CONTENT = re.compile(r"content.{0,3}(filter|policy|management)|moderation|flagged|safety|usage polic", re.I)


@dataclass(frozen=True)
class RequestProfile(Generic[Result]):
    """What calls have in common: their `parameters`, the `advice` which settings omit them, and `rejected`, which makes
    an answer of the server's message."""

    parameters: str
    advice: str
    rejected: Callable[[str], Result]


@dataclass(frozen=True)
class Rejection(Generic[Result]):
    """One rejected call. `accepted` tells whether a call of the same profile is known to have succeeded."""

    profile: RequestProfile[Result]
    error: Rejected
    accepted: Callable[[], bool]

    def answer(self, every: bool) -> Result:
        """The rejection as an answer. Raises InputError where `every` call of the round was rejected and none of this
        profile has ever succeeded."""
        if every and self.systemic:
            raise self.systemic_error()
        return self.profile.rejected(self.error.reason)

    @property
    def systemic(self) -> bool:
        """Whether, as far as is known, the rejection may concern the parameters of every call."""
        return not self.accepted() and not CONTENT.search(self.error.reason)

    def systemic_error(self) -> InputError:
        return InputError(
            f"{self.error}\nNo call with these parameters has succeeded, so the server rejects the parameters or the "
            f"model's name. Sent: {self.profile.parameters}. {self.profile.advice}"
        )


class Rejections:
    """The rejected calls of a client, and the profiles that its servers have accepted."""

    def __init__(self, concurrency: int) -> None:
        """`concurrency`: calls in flight at once. Rejections are fast and arrive before the first answer."""
        self.several = max(SEVERAL, concurrency)
        self._accepted: set[str] = set()
        self._rejected: Counter[str] = Counter()

    def on_success(self, profile: RequestProfile[Result] | None) -> None:
        """Record that a call succeeded: its parameters are accepted."""
        if profile is not None:
            self._accepted.add(profile.parameters)

    def on_rejection(self, profile: RequestProfile[Result] | None, error: Rejected) -> Rejection[Result]:
        """Record a rejected call. Raises InputError where it does not, or no longer, concern one call."""
        if profile is None or error.status not in PER_CALL:
            raise error
        rejection = Rejection(profile, error, lambda: profile.parameters in self._accepted)
        self._rejected[profile.parameters] += rejection.systemic
        if self._rejected[profile.parameters] >= self.several and rejection.systemic:
            raise rejection.systemic_error()
        return rejection
