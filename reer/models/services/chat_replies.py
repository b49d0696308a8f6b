"""The texts of chat replies and the reasons why they ended, in the spellings that providers document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reer.models.http.errors import Unavailable
from reer.models.http.replies import token_count
from reer.models.protocols import JsonReply, StopReason

ENDS: dict[StopReason, frozenset[str]] = {
    "stop": frozenset({"stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete"}),
    "length": frozenset(
        {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "error_limit"}
    ),
    "refused": frozenset(
        {
            "content_filter",
            "content_filtered",
            "refusal",
            "guardrail_intervened",
            "error_toxic",
            "sensitive",
            "safety",
            "recitation",
            "blocklist",
            "prohibited_content",
            "spii",
        }
    ),
}
FAILED = frozenset(
    {
        "error",
        "abort",
        "aborted",
        "cancelled",
        "canceled",
        "user_cancel",
        "timeout",
        "network_error",
        "overloaded",
        "insufficient_system_resource",
    }
)
TEXTS = ("text", "output_text")
THOUGHTS = ("thinking", "redacted_thinking", "reasoning", "reasoning_content", "summary")


def stop_reason(finish: object) -> StopReason:
    """Why a reply ended. Raises Unavailable where the provider failed, and ValueError for any other end, such as a call
    of a tool, and where no reason is given: such a reply is no answer."""
    name = finish.lower() if isinstance(finish, str) else ""
    if name in FAILED:
        raise Unavailable(f"the provider ended the reply with the reason {name!r}")
    for reason, names in ENDS.items():
        if name in names:
            return reason
    raise ValueError(f"the reply ended for the reason {str(finish)[:40]!r}, which is no end of an answer")


def text_of(content: object) -> str:
    """The text of a message: a string, or the text parts of a list, without its thinking. Raises ValueError or
    LookupError for another shape."""
    return "".join(part for kind, part in _parts(content) if kind in TEXTS)


def refusal_of(message: JsonReply) -> str:
    """The refusal in a message, in a field or a part of its own; '' where there is none."""
    parts = "".join(part for kind, part in _parts(message.get("content")) if kind == "refusal")
    return parts or str(message.get("refusal") or "")


def _parts(content: object) -> Iterator[tuple[str, str]]:
    """The kind and the text of each part; thinking has no text here."""
    if content is None:
        return
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield "text", part
        elif isinstance(part, dict) and part.get("type") in (*TEXTS, "refusal"):
            yield part["type"], _string(part["refusal" if part["type"] == "refusal" else "text"])
        elif not (isinstance(part, dict) and part.get("type") in THOUGHTS):
            raise ValueError(f"{str(part)[:80]!r} is no part of a text")


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:80]!r} is no text")
    return value


def usage_fields(reply: JsonReply) -> dict[str, Any]:
    """The usage of a reply; empty where there is none, or none of a known shape."""
    usage = reply.get("usage")
    return usage if isinstance(usage, dict) else {}


def written_tokens(usage: dict[str, Any]) -> object:
    """The generated tokens in an OpenAI-compatible usage. Some providers leave thinking out of `completion_tokens`, but
    not out of `total_tokens`, which is then what is billed."""
    read, written = (token_count(usage.get(key)) for key in ("prompt_tokens", "completion_tokens"))
    total = token_count(usage.get("total_tokens"))
    if read is None or written is None or total is None:
        return usage.get("completion_tokens")
    return max(written, total - read)
