"""Scripted batch APIs of OpenAI and Anthropic, as far as a client sees them."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import Any

from tests.fakes.http import Handler, respond

Rows = list[dict[str, Any]]
Play = Callable[[int, Rows], Rows]


def answer_all(batch: int, rows: Rows) -> Rows:
    return rows


@dataclass
class Provider(ABC):
    """A provider. `play` turns the answered rows of a batch, given its number, into its results. `statuses` are
    reported one after the other, then the last one repeatedly."""

    play: Play = answer_all
    statuses: tuple[str, ...] = ("in_progress", "completed")
    errors: Rows = field(default_factory=list)
    polled: int = 0
    sent: list[Rows] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def __call__(self, handler: Handler) -> None:
        status, body = self.reply(handler)
        respond(status, body)(handler)

    def status(self) -> str:
        self.polled += 1
        return self.statuses[min(self.polled, len(self.statuses)) - 1]

    @abstractmethod
    def reply(self, handler: Handler) -> tuple[int, Any]: ...

    def texts(self) -> list[list[str]]:
        """The prompts of each batch."""
        return [[self.body(row)["messages"][0]["content"] for row in rows] for rows in self.sent]

    @abstractmethod
    def body(self, row: dict[str, Any]) -> dict[str, Any]: ...

    @abstractmethod
    def failed(self, row: dict[str, Any], status: int, words: str) -> dict[str, Any]: ...

    @abstractmethod
    def late(self, row: dict[str, Any]) -> dict[str, Any]: ...


def lines(rows: Rows) -> bytes:
    return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows)


def form_of(handler: Handler) -> dict[str, Any]:
    """The parts of a multipart form by name."""
    head = f"Content-Type: {handler.headers['Content-Type']}\r\n\r\n".encode()
    parts: Any = message_from_bytes(head + handler.raw).get_payload()
    return {part.get_param("name", header="content-disposition"): part for part in parts}


class OpenAi(Provider):
    def reply(self, handler: Handler) -> tuple[int, Any]:
        path = handler.path.removeprefix("/v1")
        if path == "/files":
            form = form_of(handler)
            assert form["purpose"].get_payload() == "batch"
            assert form["file"].get_filename() == "requests.jsonl"
            assert form["file"].get_content_type() == "application/jsonl"
            self.raw.append(form["file"].get_payload(decode=True))
            return 200, {"id": f"file-{len(self.raw)}"}
        if path == "/batches":
            asked = {**handler.asked}
            number = int(asked.pop("input_file_id").removeprefix("file-"))
            assert asked == {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
            self.sent.append([json.loads(line) for line in self.raw[number - 1].split(b"\n") if line])
            return 200, {"id": f"batch_{len(self.sent)}", "status": "validating"}
        if path.startswith("/batches/"):
            number, status = int(path.removeprefix("/batches/batch_")), self.status()
            if number > len(self.sent):
                return 404, {"error": "no such batch"}
            body: dict[str, Any] = {"id": f"batch_{number}", "status": status, "output_file_id": None}
            if status in ("completed", "expired", "cancelled"):
                body |= {"output_file_id": f"out-{number}", "error_file_id": f"err-{number}"}
            return 200, body | ({"errors": {"data": self.errors}} if self.errors else {})
        kind, number = re.fullmatch(r"/files/(out|err)-(\d+)/content", path).groups()  # type: ignore[union-attr]
        rows = self.play(int(number), [self.answered(row) for row in self.sent[int(number) - 1]])
        failed = [row.get("error") is not None or row["response"]["status_code"] != 200 for row in rows]
        return 200, lines([row for row, bad in zip(rows, failed, strict=True) if bad == (kind == "err")])

    def body(self, row: dict[str, Any]) -> dict[str, Any]:
        assert (row["method"], row["url"]) == ("POST", "/v1/chat/completions")
        return row["body"]

    def answered(self, row: dict[str, Any]) -> dict[str, Any]:
        choice = {"message": {"content": self.body(row)["messages"][0]["content"].upper()}, "finish_reason": "stop"}
        body = {"model": "m-001", "choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
        return {"custom_id": row["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}

    def failed(self, row: dict[str, Any], status: int, words: str) -> dict[str, Any]:
        return row | {"response": {"status_code": status, "body": {"error": {"message": words}}}}

    def late(self, row: dict[str, Any]) -> dict[str, Any]:
        return row | {"response": None, "error": {"code": "batch_expired", "message": "not within 24 h"}}


class Anthropic(Provider):
    def reply(self, handler: Handler) -> tuple[int, Any]:
        path = handler.path.removeprefix("/v1/messages/batches")
        if not path:
            self.sent.append(handler.asked["requests"])
            return 200, {"id": f"msgbatch_{len(self.sent)}", "processing_status": "in_progress"}
        number = int(re.findall(r"msgbatch_(\d+)", path)[0])
        if number > len(self.sent):
            self.polled += 1
            return 404, {"error": {"type": "not_found_error", "message": "no such batch"}}
        if path.endswith("/results"):
            return 200, lines(self.play(number, [self.answered(row) for row in self.sent[number - 1]]))
        status = {"completed": "ended", "cancelling": "canceling"}.get(word := self.status(), word)
        host = f"http://127.0.0.1:{handler.server.server_port}"
        url = f"{host}/v1/messages/batches/msgbatch_{number}/results" if status == "ended" else None
        return 200, {"id": f"msgbatch_{number}", "processing_status": status, "results_url": url}

    def body(self, row: dict[str, Any]) -> dict[str, Any]:
        return row["params"]

    def answered(self, row: dict[str, Any]) -> dict[str, Any]:
        message = {
            "model": "m-001",
            "content": [{"type": "text", "text": self.body(row)["messages"][0]["content"].upper()}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 7, "output_tokens": 3},
        }
        return {"custom_id": row["custom_id"], "result": {"type": "succeeded", "message": message}}

    def failed(self, row: dict[str, Any], status: int, words: str) -> dict[str, Any]:
        kinds = {400: "invalid_request_error", 401: "authentication_error", 500: "api_error"}
        error = {"type": "error", "error": {"type": kinds[status], "message": words}}
        return row | {"result": {"type": "errored", "error": error}}

    def late(self, row: dict[str, Any]) -> dict[str, Any]:
        return row | {"result": {"type": "expired"}}
