"""A generator behind an OpenAI-compatible chat server: a judge in the cloud, or a vLLM/SGLang server of one's own.

It cannot score: chat servers do not return the log-probabilities of a prompt. Keys are named, never written down.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from reer.models.protocols import Completion, Device, Request
from reer.types import InputError

RETRIED = {200, 408, 409, 429, 500, 502, 503, 504}  # 200: with a body that is no completion, as gateways send


@dataclass(frozen=True)
class ChatServer:
    """A model on a server. `key_variable` names the environment variable that holds the key ('' for none);
    `send_seed` and `send_top_p` are off for providers that refuse these parameters."""

    model: str
    base_url: str = field(metadata={"identity": False})
    key_variable: str = field(default="", metadata={"identity": False})
    concurrency: int = field(default=8, metadata={"identity": False})
    timeout_seconds: float = field(default=600.0, metadata={"identity": False})
    attempts: int = field(default=6, metadata={"identity": False})
    send_seed: bool = True
    send_top_p: bool = True

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise InputError(f"server: base_url wants http:// or https://, got {self.base_url!r}")
        if any(mark in self.key_variable for mark in ("-", ".", " ")) or len(self.key_variable) > 60:
            raise InputError("server: key_variable wants the NAME of an environment variable, not a key")

    @contextmanager
    def open(self, device: Device) -> Iterator[ChatSession]:
        import httpx

        key = os.environ.get(self.key_variable, "") if self.key_variable else ""
        if self.key_variable and not key:
            raise InputError(f"server {self.model}: set the environment variable {self.key_variable} to your key")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(self.timeout_seconds, connect=10.0)
        with httpx.Client(base_url=self.base_url, headers=headers, timeout=timeout) as client:
            yield ChatSession(self, client)


class ChatSession:
    """An open connection; see `Generator`."""

    def __init__(self, server: ChatServer, client: Any) -> None:
        self.server, self.client = server, client
        unsent = "".join(f"-no_{field}" for field in ("seed", "top_p") if not getattr(server, f"send_{field}"))
        self.name = f"{server.model}/chat-server{unsent}"

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """All requests, `concurrency` at a time. Raises RuntimeError when one has no answer after all attempts."""
        with ThreadPoolExecutor(self.server.concurrency) as pool:
            return list(pool.map(self._one, requests))

    def _one(self, request: Request) -> Completion:
        import httpx

        why = ""
        for attempt in range(self.server.attempts):
            try:
                reply = self.client.post("/chat/completions", json=self._body(request))
            except httpx.TransportError as error:
                why = f"{type(error).__name__}: {error}"
            else:
                done = _completion(reply) if reply.status_code == 200 else None
                if done:
                    return done
                why = f"HTTP {reply.status_code}: {reply.text[:300]}"
                if reply.status_code not in RETRIED:
                    raise InputError(f"server {self.server.model} refused the request: {why}")
                wait = reply.headers.get("retry-after", "")
                if wait.replace(".", "", 1).isdecimal():
                    time.sleep(min(float(wait), 120.0))
                    continue
            time.sleep(min(0.5 * 2**attempt, 30.0) * random.uniform(0.5, 1.0))
        raise RuntimeError(f"server {self.server.model}: no answer after {self.server.attempts} attempts; last: {why}")

    def _body(self, request: Request) -> dict[str, Any]:
        turns = [{"role": m.role, "content": m.content} for m in request.prompt.messages]
        if request.prompt.prefill:
            turns.append({"role": "assistant", "content": request.prompt.prefill})
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.server.model, "messages": turns, "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
        }  # fmt: skip
        if request.prompt.prefill:  # how vLLM and SGLang are asked to continue a turn instead of opening one
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        if self.server.send_top_p:
            body["top_p"] = sampling.top_p
        if self.server.send_seed:
            body["seed"] = request.seed
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        return body


def _completion(reply: Any) -> Completion | None:
    """The completion a reply holds, or None if its body is no completion. Half surrogate pairs become `?`."""
    try:
        body = reply.json()
        choice, usage = body["choices"][0], body.get("usage") or {}
        text = (choice["message"].get("content") or "").encode("utf-8", "replace").decode("utf-8")
        used = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return Completion(text, "length" if choice.get("finish_reason") == "length" else "stop", *used)
