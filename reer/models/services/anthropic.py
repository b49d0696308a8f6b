"""A client of Anthropic's Messages API (platform.claude.com/docs/en/api/messages, version 2023-06-01)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from reer.errors import InputError
from reer.models.http.client import Client
from reer.models.protocols import Completion, JsonReply, Request
from reer.models.services.batch_apis import AnthropicBatchApi
from reer.models.services.chat_replies import stop_reason, text_of, usage_fields
from reer.models.services.service import MAX_NAME, ChatService, clean, usage_of

# Claude Opus 4.1 and later 4.x, Sonnet 4.5 and Haiku 4.5 and later reject both together (WritingBench issue 25)
TEMPERATURE_OR_TOP_P = re.compile(r"claude-(opus-4-[1-9]|(sonnet|haiku)-4-[5-9])(?![0-9])")
CACHED_TOKENS = ("cache_creation_input_tokens", "cache_read_input_tokens")


@dataclass(frozen=True, kw_only=True)
class AnthropicServer(ChatService):
    """A model served by Anthropic. The API has no seed: equal requests give different completions each time, and only
    recorded answers make a run reproducible. Models from Claude Opus 4.1 and Sonnet 4.5 on reject temperature together
    with top_p: set `send_top_p` or `send_temperature` to false. Models from Claude Opus 4.7 on reject both parameters,
    and those from Claude Opus 4.6 on reject a prefill; the server's message then says so."""

    engine: ClassVar[str] = "anthropic"
    path: ClassVar[str] = "/v1/messages"

    base_url: str = field(default="https://api.anthropic.com", kw_only=True, metadata={"identity": False})

    def __post_init__(self) -> None:
        super().__post_init__()
        if TEMPERATURE_OR_TOP_P.search(self.model) and self.send_temperature and self.send_top_p:
            raise InputError(
                f"server: {self.model} rejects temperature together with top_p; set send_top_p=false for this "
                "model (judge.model.send_top_p=false for a judge), or send_temperature=false"
            )

    def headers(self, key: str) -> dict[str, str]:
        return {"anthropic-version": "2023-06-01", **({"x-api-key": key} if key else {})}

    def body(self, request: Request) -> dict[str, Any]:
        messages, sampling = request.prompt.messages, request.sampling
        turns = [{"role": m.role, "content": m.content} for m in messages if m.role != "system"]
        prefill = request.prompt.prefill.rstrip()  # the API rejects trailing white space
        if prefill:
            turns.append({"role": "assistant", "content": prefill})
        body: dict[str, Any] = {"model": self.model, "messages": turns, "max_tokens": sampling.max_tokens}
        if system := "\n\n".join(m.content for m in messages if m.role == "system"):
            body["system"] = system
        body |= self.sampled(sampling)
        if sampling.stop:
            body["stop_sequences"] = list(sampling.stop)
        if request.schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": json.loads(request.schema)}}
        return body

    def completion(self, reply: JsonReply, request: Request) -> Completion:
        """The text blocks of a reply as one completion, without the white space that was stripped from the prefill."""
        prefill, usage = request.prompt.prefill, usage_fields(reply)
        text = clean(text_of(reply["content"]).removeprefix(prefill[len(prefill.rstrip()) :]))
        cached = (usage.get(kind) or 0 for kind in CACHED_TOKENS)
        used = usage_of(text, usage.get("output_tokens"), usage.get("input_tokens"), *cached)
        stopped = stop_reason(reply["stop_reason"])
        return Completion(
            text=text,
            stopped=stopped,
            prompt_tokens=used.prompt_tokens,
            tokens=used.tokens,
            served=clean(str(reply.get("model") or ""))[:MAX_NAME],
            counted=used.counted,
        )

    def batch_api(self, client: Client) -> AnthropicBatchApi:
        return AnthropicBatchApi(client)
