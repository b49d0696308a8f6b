"""The two errors a user meets by name; whatever else is raised is a bug or a fault of the system."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be worked with; the message says what, where, and what to do next."""


class Incomplete(Exception):
    """Work that ended before its end, by a limit the user set or an outage outside. What was done is kept; the message
    says how much is left and what to do."""
