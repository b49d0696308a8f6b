"""A scripted HTTP server on this machine, and the requests that tests send to it.

An act answers one HTTP request in whatever way a test needs: with a status, slowly, partially or not at all.
"""

import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import pytest

from reer.models.protocols import Completion, Device, Prompt, Request, Sampling
from reer.models.services.openai import ChatServer
from reer.types import Message
from tests.fakes.calls import completions


class Handler(BaseHTTPRequestHandler):
    """One HTTP request: `raw` is its body as bytes, `asked` the same as JSON (empty for other content types)."""

    raw: bytes = b""
    asked: dict[str, Any]
    server: ThreadingHTTPServer

    def log_message(self, format: str, *args: Any) -> None:
        pass


Act = Callable[[Handler], None]
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=32)


def request(text: str = "q", seed: int = 5, sampling: Sampling = SAMPLING, prefill: str = "") -> Request:
    return Request(Prompt((Message("user", text),), prefill), sampling, seed)


def respond(status: int, body: Any, **headers: str) -> Act:
    """A reply with this status, body (bytes, or an object as JSON) and headers (`_` means `-`)."""

    def act(handler: Handler) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(raw)

    return act


def says(text: str | None, finish: str = "stop", after: float = 0.0) -> Act:
    """A chat completion, after some seconds."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    reply = respond(200, {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})

    def act(handler: Handler) -> None:
        time.sleep(after)
        reply(handler)

    return act


def hangs(seconds: float) -> Act:
    """Closes the connection after some seconds, without a reply."""
    return lambda handler: time.sleep(seconds)


def cuts_off(handler: Handler) -> None:
    """Sends the beginning of a reply only."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')


class Server:
    """Plays its acts in order of arrival, then repeats the last. Records bodies, headers and arrival times."""

    def __init__(self, *acts: Act) -> None:
        self.acts, self.lock = list(acts), Lock()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []

    def record(self, body: dict[str, Any], headers: dict[str, str]) -> Act:
        with self.lock:
            self.bodies.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            return self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]


class QuietServer(ThreadingHTTPServer):
    """Accepts many connections at once (TCP retries a dropped one only after a second); ignores clients that leave."""

    daemon_threads, block_on_close, request_queue_size = True, False, 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


Serve = Callable[..., tuple[Server, str]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts servers that play the given acts; gives each server's record and its base URL."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running: list[ThreadingHTTPServer] = []

    def start(*acts: Act) -> tuple[Server, str]:
        plays = Server(*acts)

        class Playing(Handler):
            def do_POST(self) -> None:
                self.raw = self.rfile.read(int(self.headers["Content-Length"]))
                self.asked = json.loads(self.raw) if self.headers["Content-Type"] == "application/json" else {}
                plays.record(self.asked, dict(self.headers))(self)

            def do_GET(self) -> None:
                self.asked = {}
                plays.record(self.asked, dict(self.headers))(self)

        http = QuietServer(("127.0.0.1", 0), Playing)
        running.append(http)
        Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return plays, f"http://127.0.0.1:{http.server_port}/v1"

    yield start
    for http in running:
        http.shutdown()
        http.server_close()


def ask(url: str, *requests: Request, **settings: Any) -> list[Completion]:
    """The completions of a chat server at `url`, opened with these settings."""
    with ChatServer(model="m", base_url=url, **{"health_check": False, **settings}).open(Device()) as session:
        return completions(session, requests or (request(),))
