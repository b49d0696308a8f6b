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
from reer.models.http.errors import STATUS_OF, Unanswered, classify_response
from reer.models.http.replies import MAX_FILE_BYTES, UNREADABLE, parse_json
from reer.models.protocols import JsonReply
from reer.models.services.batches import Outcome, State

Result = TypeVar("Result")
ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True)
class OpenAiBatchApi:
    """OpenAI's batches. Results and errors are in two files once the batch has ended, with whatever status."""

    client: Client

    def line(self, custom_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": dict(body)}

    def submit(self, lines: Sequence[Mapping[str, Any]], on_lost: Callable[[], bool]) -> str:
        upload = b"".join(encoded(line) + b"\n" for line in lines)
        file = _ask(self.client, Call(path="/files", body={"purpose": "batch"}, read=_id, upload=upload))
        body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return _ask(self.client, Call(path="/batches", body=body, read=_id, idempotent=False, on_lost=on_lost))

    def look(self, batch: str) -> State:
        return _ask(self.client, Call(path=f"/batches/{batch}", body={}, read=self._state, method="GET"))

    def _state(self, reply: JsonReply) -> State:
        status = str(reply["status"])
        files = tuple(_checked_id(reply[key]) for key in ("output_file_id", "error_file_id") if reply.get(key))
        errors = (reply.get("errors") or {}).get("data") or []
        why = f"batch {reply['id']} {status}: {json.dumps(errors)[:300]}" if errors else ""
        return State(status=status, ended=status in ENDED, cancelling=status == "cancelling", files=files, why=why)

    def outcomes(self, state: State) -> Iterator[Outcome]:
        for file in state.files:
            for row in _lines(self.client, f"/files/{file}/content"):
                yield from _read(row, self._outcome)

    def _outcome(self, row: JsonReply) -> Outcome:
        key, error, response = _checked_id(row["custom_id"]), row.get("error"), row.get("response")
        if response is None:
            return Outcome(key, None, Unanswered(f"{error['code']}: {error['message']}"[:300]))
        status, body = int(response["status_code"]), response["body"]
        if status == 200:
            return Outcome(key, body, None)
        return Outcome(key, None, classify_response(self.client.name, status, json.dumps(body), {}))


@dataclass(frozen=True)
class AnthropicBatchApi:
    """Anthropic's batches. A batch ends when each of its requests has succeeded, errored, expired or been canceled."""

    client: Client

    def line(self, custom_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"custom_id": custom_id, "params": dict(body)}

    def submit(self, lines: Sequence[Mapping[str, Any]], on_lost: Callable[[], bool]) -> str:
        body = {"requests": list(lines)}
        call = Call(path="/v1/messages/batches", body=body, read=_id, idempotent=False, on_lost=on_lost)
        return _ask(self.client, call)

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
        key, result = _checked_id(row["custom_id"]), row["result"]
        if result["type"] == "succeeded":
            return Outcome(key, result["message"], None)
        if result["type"] != "errored":
            return Outcome(key, None, Unanswered(f"the request was {result['type']}"[:300]))
        error = result["error"].get("error") or result["error"]
        status = STATUS_OF.get(error["type"], 500)
        return Outcome(key, None, classify_response(self.client.name, status, json.dumps(error), {}))


def _ask(client: Client, call: Call[Result]) -> Result:
    """The answer to one call; the calls of this module are never too long for a context, so it is never None."""
    ((_, answer),) = client.ask([call])
    assert answer is not None
    return answer


def _id(reply: JsonReply) -> str:
    return _checked_id(reply["id"])


def _checked_id(value: object) -> str:
    """An id of a batch, a file or a request. It becomes part of a path; raises ValueError where it is no plain name."""
    if not isinstance(value, str) or not value.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"{str(value)[:100]!r} is not an id")
    return value


def _lines(client: Client, path: str) -> list[str]:
    call = Call(
        path=path,
        body={},
        read=lambda text: text.split("\n"),
        method="GET",
        plain=True,
        max_bytes=MAX_FILE_BYTES,
    )
    return _ask(client, call)


def _read(line: str, read: Callable[[Any], Outcome]) -> Iterator[Outcome]:
    """The outcome of a line; unreadable lines are skipped, so that a truncated file gives all its whole lines."""
    try:
        yield read(parse_json(line))
    except UNREADABLE:
        return
