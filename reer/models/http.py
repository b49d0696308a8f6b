"""A generator behind an OpenAI-compatible chat server: a judge in the cloud, or a vLLM/SGLang server of one's own.

It cannot score: chat servers do not return the log-probabilities of a prompt. Keys are named, never written down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from reer.models.client import Call, Client, Served, connect
from reer.models.protocols import Completion, Device, Heard, Prompt, Request, Sampling, unheard
from reer.types import Message

NO_ROOM = Completion("", "no_room", 0, 0)


@dataclass(frozen=True)
class ChatServer(Served):
    """A model on a server. `send_seed` and `send_top_p` are off for providers that refuse these parameters;
    `health_check` asks each replica for one token before any work."""

    model: str
    send_seed: bool = True
    send_top_p: bool = True
    health_check: bool = field(default=True, metadata={"identity": False})

    @property
    def name(self) -> str:
        """The model and what is left unsent to it, as its sessions are called."""
        unsent = "".join(f"-no_{field}" for field in ("seed", "top_p") if not getattr(self, f"send_{field}"))
        return f"{self.model}/chat-server{unsent}"

    @contextmanager
    def open(self, device: Device) -> Iterator[ChatSession]:
        with connect(self.model, self) as client:
            session = ChatSession(self, client)
            if self.health_check:
                session.check()
            yield session


class ChatSession:
    """An open connection; see `Generator`. Some servers (llama.cpp's) give a prefill back in front of what they add to
    it, others (vLLM, SGLang) do not; before the first prefill is sent, the server is asked which it is."""

    def __init__(self, server: ChatServer, client: Client) -> None:
        self.server, self.client, self.name = server, client, server.name
        self.echoes: bool | None = None

    def generate(self, requests: Sequence[Request], heard: Heard = unheard) -> list[Completion]:
        """All requests, in order. Raises RuntimeError when one has no answer after all attempts."""

        def placed(positions: Sequence[int], replies: Sequence[Completion | None]) -> None:
            heard(positions, [reply or NO_ROOM for reply in replies])

        if self.echoes is None and any(request.prompt.prefill for request in requests):
            self.echoes = self._echoes()
        calls = [self._call(request) for request in requests]
        return [reply or NO_ROOM for reply in self.client.ask(calls, placed)]

    def check(self) -> None:
        """One token from each replica, so that a wrong address, key or model name is found before any work."""
        hello = self._call(self._one_token(Prompt((Message("user", "Hello"),))))
        self.client.ask([replace(hello, url=url) for url in self.server.urls])

    def _one_token(self, prompt: Prompt) -> Request:
        return Request(prompt, Sampling(0.0 if self.server.send_top_p else 1.0, 1.0, max_tokens=1), 0)

    def _echoes(self) -> bool:
        """True if one token of continuation comes back with all of the prefill before it."""
        prompt = Prompt((Message("user", "Count from one to ten."),), "One, two, three, four,")
        (reply,) = self.client.ask([self._call(self._one_token(prompt))])
        return reply is not None and reply.text.startswith(prompt.prefill)

    def _call(self, request: Request) -> Call[Completion]:
        given = request.prompt.prefill if self.echoes else ""
        return Call("/chat/completions", self._body(request), lambda reply: _completion(reply, given), request.group)

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


def _completion(body: Any, given: str) -> Completion:
    """The completion a reply holds, without what was given to be continued. Half surrogate pairs become `?`. Raises
    ValueError where a server that gives it back has not."""
    choice, usage = body["choices"][0], body.get("usage") or {}
    text = (choice["message"].get("content") or "").encode("utf-8", "replace").decode("utf-8")
    if not text.startswith(given):
        raise ValueError(f"the reply does not begin with the words it was to continue, {given[:40]!r}")
    text = text.removeprefix(given)
    used = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    return Completion(text, "length" if choice.get("finish_reason") == "length" else "stop", *used)
