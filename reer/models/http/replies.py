"""Reads the JSON of servers, which may hold anything: what is not a usable reply raises one of `UNREADABLE`."""

from __future__ import annotations

import json

from reer.models.protocols import JsonReply

MAX_REPLY_BYTES = 32 * 2**20  # vLLM's log-probabilities of a prompt of 131,072 tokens take about 20 MB
MAX_FILE_BYTES = 512 * 2**20  # a batch holds up to 50,000 requests, with replies of about 10 kB
MAX_NESTING = 64  # the replies of all supported servers nest less than ten levels
MAX_TOKENS = 10**9  # no call has as many
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, OverflowError)
"""What reading a reply of an unexpected shape raises."""


def parse_json(content: bytes | str) -> JsonReply:
    """The value of a JSON text; bytes are UTF-8. NaN and infinities are read too: whoever reads a number refuses them.
    Raises ValueError for anything else and for a value that nests deeper than `MAX_NESTING`."""
    text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if not _nests_at_most(value, MAX_NESTING):
        raise ValueError(f"the JSON is nested more than {MAX_NESTING} levels deep")
    return value


def _nests_at_most(value: JsonReply, levels: int) -> bool:
    """Whether a value has at most this many levels. Goes level by level: a recursion could itself be too deep."""
    containers = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        if not containers:
            return True
        children = [child for inner in containers for child in (inner.values() if isinstance(inner, dict) else inner)]
        containers = [child for child in children if isinstance(child, dict | list)]
    return not containers


def token_count(value: object) -> int | None:
    """A number of tokens in a reply; None where the value cannot be one: negative, fractional, infinite, of another
    type."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TOKENS:
        return None
    return int(value) if value == int(value) else None
