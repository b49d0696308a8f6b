"""Whether a refusal is about one call, which is then its answer, or about the parameters, which every call sends.

A server says 400 to both. It is the parameters where calls that sent the same ones were refused several times, or all
of them, and none was ever answered; unless the server names the content.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from reer.errors import InputError
from reer.models.http.errors import Refused

Result = TypeVar("Result")
ALONE = (400, 413, 422)  # what is said of one call; 401, 403 and 404 are said of all
SEVERAL = 3
CONTENT = re.compile(r"content.{0,3}(filter|policy|management)|moderation|flagged|safety|usage polic", re.I)


@dataclass(frozen=True)
class RequestProfile(Generic[Result]):
    """How a call is asked: `sent` are its parameters, `advice` says which switches leave them out, and `refused` makes
    an answer of the server's words."""

    sent: str
    advice: str
    refused: Callable[[str], Result]


@dataclass(frozen=True)
class Refusal(Generic[Result]):
    """One call that was refused; `accepted` says whether a call of its manner is known to have been answered."""

    manner: RequestProfile[Result]
    error: Refused
    accepted: Callable[[], bool]

    def answer(self, every: bool) -> Result:
        """The answer that it is. Raises InputError where `every` call of its round was refused, none ever answered."""
        if every and self.about_all:
            raise self.of_all()
        return self.manner.refused(self.error.reason)

    @property
    def about_all(self) -> bool:
        """May be, as far as is known, a refusal of what every call sends."""
        return not self.accepted() and not CONTENT.search(self.error.reason)

    def of_all(self) -> InputError:
        return InputError(
            f"{self.error}\nNothing sent like this was answered, so it is refused for its parameters or the model's "
            f"name. Sent: {self.manner.sent}. {self.manner.advice}"
        )


class Refusals:
    """What a client's servers have refused, and in which manner they have answered."""

    def __init__(self, together: int) -> None:
        """`together` is how many calls are on their way at once: refusals are quick, and outrun the first answer."""
        self.several = max(SEVERAL, together)
        self._answered: set[str] = set()
        self._refused: Counter[str] = Counter()

    def answered(self, manner: RequestProfile[Result] | None) -> None:
        """Note that a call was answered: its parameters are accepted."""
        if manner is not None:
            self._answered.add(manner.sent)

    def note(self, manner: RequestProfile[Result] | None, error: Refused) -> Refusal[Result]:
        """Note a refusal. Raises InputError where it is not, or no more, about one call."""
        if manner is None or error.status not in ALONE:
            raise error
        refusal = Refusal(manner, error, lambda: manner.sent in self._answered)
        self._refused[manner.sent] += refusal.about_all
        if self._refused[manner.sent] >= self.several and refusal.about_all:
            raise refusal.of_all()
        return refusal
