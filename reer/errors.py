"""The two errors a user meets by name; whatever else is raised is a bug or a fault of the system."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be worked with; the message says what, where, and what to do next."""


class Incomplete(Exception):
    """Work that ended before its end, by a limit the user set or an outage outside. What was done is kept; the message
    says how much is left and what to do."""


def near(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: `; did you mean X?`, or nothing where no known name is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]}?" if matches else ""
