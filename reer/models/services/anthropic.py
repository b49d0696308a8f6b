"""A generator behind Anthropic's Messages interface (platform.claude.com/docs/en/api/messages, version 2023-06-01)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from reer.errors import InputError
from reer.models.http.client import Client
from reer.models.protocols import Completion, Request
from reer.models.services.batch_apis import AnthropicWire
from reer.models.services.service import ChatService

# Claude Opus 4.1 and later 4.x, Sonnet 4.5 and Haiku 4.5 and later: one of the two at most (WritingBench issue 25)
ONE_OF_TWO = re.compile(r"claude-(opus-4-[1-9]|(sonnet|haiku)-4-[5-9])(?![0-9])")
READ = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
STOPPED = {"max_tokens": "length", "model_context_window_exceeded": "length", "refusal": "refused"}


@dataclass(frozen=True)
class AnthropicServer(ChatService):
    """A model of Anthropic's. There is no seed in this interface: equal requests give other words each time, and only
    the record of an answer makes a run repeatable. Models from Claude Opus 4.1 and Sonnet 4.5 on refuse temperature
    together with top_p: set `send_top_p` or `send_temperature` to false. Those from Claude Opus 4.7 on refuse both, and
    those from Claude Opus 4.6 on a prefill, as their server then says."""

    engine: ClassVar[str] = "anthropic"
    path: ClassVar[str] = "/v1/messages"

    base_url: str = field(default="https://api.anthropic.com", kw_only=True, metadata={"identity": False})

    def __post_init__(self) -> None:
        super().__post_init__()
        if ONE_OF_TWO.search(self.model) and self.send_temperature and self.send_top_p:
            raise InputError(
                f"server: {self.model} refuses temperature together with top_p; set send_top_p=false in its chat "
                "settings (judge.model.send_top_p=false for a judge), or send_temperature=false"
            )

    def headers(self, key: str) -> dict[str, str]:
        return {"anthropic-version": "2023-06-01", **({"x-api-key": key} if key else {})}

    def body(self, request: Request) -> dict[str, Any]:
        messages, sampling = request.prompt.messages, request.sampling
        turns = [{"role": m.role, "content": m.content} for m in messages if m.role != "system"]
        given = request.prompt.prefill.rstrip()  # white space at its end is refused
        if given:
            turns.append({"role": "assistant", "content": given})
        body: dict[str, Any] = {"model": self.model, "messages": turns, "max_tokens": sampling.max_tokens}
        if system := "\n\n".join(m.content for m in messages if m.role == "system"):
            body["system"] = system
        body |= self.sampled(sampling)
        if sampling.stop:
            body["stop_sequences"] = list(sampling.stop)
        return body

    def completion(self, reply: Any, request: Request) -> Completion:
        """What a reply says: its blocks of text in one. White space that was cut off the prefill is no part of it."""
        given, usage = request.prompt.prefill, reply["usage"]
        said = "".join(block["text"] for block in reply["content"] if block["type"] == "text")
        text = said.removeprefix(given[len(given.rstrip()) :]).encode("utf-8", "replace").decode("utf-8")
        read = sum(int(usage.get(kind) or 0) for kind in READ)
        stopped: Any = STOPPED.get(reply["stop_reason"], "stop")
        return Completion(text, stopped, read, int(usage["output_tokens"]), served=str(reply.get("model") or ""))

    def wire(self, client: Client) -> AnthropicWire:
        return AnthropicWire(client)
