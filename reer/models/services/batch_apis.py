"""The providers' batch interfaces: OpenAI's (files in, files out) and Anthropic's (one call in, one file out).

OpenAI: developers.openai.com/api/reference, /files and /batches. Anthropic: platform.claude.com/docs/en/api/messages,
/batches. Neither offers idempotent submission, so a submission that may have arrived is not sent again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from reer.models.http.client import Call, Client, encoded
from reer.models.http.errors import Unanswered, classify_response
from reer.models.protocols import JsonReply
from reer.models.services.batches import Outcome, State

Result = TypeVar("Result")
ENDED = ("completed", "failed", "expired", "cancelled")
STATUS = {  # the HTTP status of each of Anthropic's error types
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


@dataclass(frozen=True)
class OpenAiBatchApi:
    """OpenAI's batches. Results and errors are in two files once the batch has ended, with whatever status."""

    client: Client

    def line(self, custom_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": dict(body)}

    def submit(self, lines: Sequence[Mapping[str, Any]]) -> str:
        upload = b"".join(encoded(line) + b"\n" for line in lines)
        file = _ask(self.client, Call(path="/files", body={"purpose": "batch"}, read=_id, upload=upload))
        body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return _ask(self.client, Call(path="/batches", body=body, read=_id, idempotent=False))

    def look(self, batch: str) -> State:
        return _ask(self.client, Call(path=f"/batches/{batch}", body={}, read=self._state, method="GET"))

    def _state(self, reply: JsonReply) -> State:
        status = str(reply["status"])
        files = tuple(str(reply[key]) for key in ("output_file_id", "error_file_id") if reply.get(key))
        errors = (reply.get("errors") or {}).get("data") or []
        why = f"batch {reply['id']} {status}: {json.dumps(errors)[:300]}" if errors else ""
        return State(status=status, ended=status in ENDED, cancelling=status == "cancelling", files=files, why=why)

    def outcomes(self, state: State) -> Iterator[Outcome]:
        for file in state.files:
            for row in _lines(self.client, f"/files/{file}/content"):
                yield from _read(row, self._outcome)

    def _outcome(self, row: JsonReply) -> Outcome:
        error, response = row.get("error"), row.get("response")
        if response is None:
            return Outcome(row["custom_id"], None, Unanswered(f"{error['code']}: {error['message']}"[:300]))
        status, body = int(response["status_code"]), response["body"]
        if status == 200:
            return Outcome(row["custom_id"], body, None)
        return Outcome(row["custom_id"], None, classify_response(self.client.name, status, json.dumps(body), {}))


@dataclass(frozen=True)
class AnthropicBatchApi:
    """Anthropic's batches. A batch ends when each of its requests has succeeded, errored, expired or been canceled."""

    client: Client

    def line(self, custom_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"custom_id": custom_id, "params": dict(body)}

    def submit(self, lines: Sequence[Mapping[str, Any]]) -> str:
        return _ask(
            self.client, Call(path="/v1/messages/batches", body={"requests": list(lines)}, read=_id, idempotent=False)
        )

    def look(self, batch: str) -> State:
        return _ask(self.client, Call(path=f"/v1/messages/batches/{batch}", body={}, read=self._state, method="GET"))

    def _state(self, reply: JsonReply) -> State:
        status, base = str(reply["processing_status"]), self.client.endpoint.base_url.rstrip("/")
        url = str(reply.get("results_url") or "")
        # the key is sent to base_url only: a gateway may pass on result addresses of another host
        path = url.removeprefix(base) if url.startswith(base + "/") else f"/v1/messages/batches/{reply['id']}/results"
        return State(
            status=status, ended=status == "ended", cancelling=status == "canceling", files=(path,) if url else ()
        )

    def outcomes(self, state: State) -> Iterator[Outcome]:
        for path in state.files:
            for row in _lines(self.client, path):
                yield from _read(row, self._outcome)

    def _outcome(self, row: JsonReply) -> Outcome:
        result = row["result"]
        if result["type"] == "succeeded":
            return Outcome(row["custom_id"], result["message"], None)
        if result["type"] != "errored":
            return Outcome(row["custom_id"], None, Unanswered(f"the request was {result['type']}"))
        error = result["error"].get("error") or result["error"]
        status = STATUS.get(error["type"], 500)
        return Outcome(row["custom_id"], None, classify_response(self.client.name, status, json.dumps(error), {}))


def _ask(client: Client, call: Call[Result]) -> Result:
    """The answer to one call; the calls of this module are never too long for a context, so it is never None."""
    ((_, answer),) = client.ask([call])
    assert answer is not None
    return answer


def _id(reply: JsonReply) -> str:
    if not isinstance(reply["id"], str) or not reply["id"].replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"{reply['id']!r} is not an id")
    return reply["id"]


def _lines(client: Client, path: str) -> list[str]:
    return _ask(client, Call(path=path, body={}, read=lambda text: text.split("\n"), method="GET", plain=True))


def _read(line: str, read: Callable[[Any], Outcome]) -> Iterator[Outcome]:
    """The outcome of a line; unreadable lines are skipped, so that a truncated file gives all its whole lines."""
    try:
        yield read(json.loads(line))
    except (ValueError, LookupError, TypeError, AttributeError):
        return
