"""A generator behind an OpenAI-compatible chat server: a cloud judge, or your own vLLM or SGLang server.

It cannot score: chat servers do not return the log-probabilities of a prompt. Keys are read from environment variables.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from reer.models.http.client import Client
from reer.models.http.errors import Unavailable
from reer.models.protocols import Completion, JsonReply, Prompt, Request, Sampling
from reer.models.services.batch_apis import OpenAiBatchApi
from reer.models.services.chat_replies import refusal_of, stop_reason, text_of, usage_fields, written_tokens
from reer.models.services.service import MAX_NAME, ChatService, ChatSession, clean, one_token, usage_of
from reer.types import Message

LENGTHS = ("max_tokens", "max_completion_tokens")
HEALTH_CHECK_TOKENS = 256  # models with max_completion_tokens think first, and reject a limit within their thinking


@dataclass(frozen=True, kw_only=True)
class ChatServer(ChatService):
    """A model behind an OpenAI-compatible chat server."""

    engine: ClassVar[str] = "chat-server"
    path: ClassVar[str] = "/chat/completions"
    switches: ClassVar[tuple[str, ...]] = ("seed", "top_p", "temperature")

    send_seed: bool = field(default=True, kw_only=True)
    """False for providers that reject the parameter."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = field(
        default="max_tokens", kw_only=True, metadata={"identity": False}
    )
    """The name of the token limit; OpenAI's reasoning models only accept max_completion_tokens."""

    def body(self, request: Request) -> dict[str, Any]:
        turns = [{"role": m.role, "content": m.content} for m in request.prompt.messages]
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "messages": turns,
            self.max_tokens_field: sampling.max_tokens,
        }
        if request.prompt.prefill:  # vLLM and SGLang then continue this turn instead of opening a new one
            turns.append({"role": "assistant", "content": request.prompt.prefill})
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        body |= self.sampled(sampling)
        if self.send_seed:
            body["seed"] = request.seed
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if request.schema is not None:
            named = {"name": "reply", "strict": True, "schema": json.loads(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return body

    def completion(self, reply: JsonReply, request: Request) -> Completion:
        """The completion of a reply; lone surrogates become `?`. A reply that a content filter cut is `refused`, and so
        is one with a `refusal` by the model. Thinking that is reported apart from the text is left out."""
        choice, usage = reply["choices"][0], usage_fields(reply)
        message, content = choice["message"], text_of(choice["message"].get("content"))
        refusal = "" if content else refusal_of(message)
        if isinstance(error := choice.get("error"), dict | str) and error:
            raise Unavailable(f"the provider failed: {str(error)[:300]}")
        text = clean(content or refusal)
        stopped = "refused" if refusal else stop_reason(choice.get("finish_reason"))
        fingerprint = reply.get("system_fingerprint")
        served = f"{reply.get('model') or ''} ({fingerprint})".strip() if fingerprint else reply.get("model") or ""
        used = usage_of(text, written_tokens(usage), usage.get("prompt_tokens"))
        return Completion(
            text=text,
            stopped=stopped,
            prompt_tokens=used.prompt_tokens,
            tokens=used.tokens,
            served=clean(str(served))[:MAX_NAME],
            counted=used.counted,
        )

    def hello(self) -> Request:
        asked = super().hello()
        if self.max_tokens_field == "max_tokens":
            return asked
        return Request(
            asked.prompt, Sampling(temperature=asked.sampling.temperature, top_p=1.0, max_tokens=HEALTH_CHECK_TOKENS), 0
        )

    def session(self, client: Client) -> ServerSession:
        return ServerSession(self, client)

    def batch_api(self, client: Client) -> OpenAiBatchApi:
        return OpenAiBatchApi(client)

    def _advice(self) -> str:
        return f"{super()._advice()} max_tokens_field is {self.max_tokens_field}; the other is {self._other_field()}."

    def _other_field(self) -> str:
        return LENGTHS[1 - LENGTHS.index(self.max_tokens_field)]


class ServerSession(ChatSession[ChatServer]):
    """An open connection; see `ConcurrentGenerator`. Some servers (llama.cpp) repeat the prefill before the text they
    add, others (vLLM, SGLang) do not; before the first prefill is sent, a test request determines which."""

    def __init__(self, server: ChatServer, client: Client) -> None:
        super().__init__(server, client)
        self.echoes: bool | None = None
        self._determining = asyncio.Lock()

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """See `ChatSession`."""
        if any(request.prompt.prefill for request in requests):
            self.client.runner.run(self._determine_echoes())
        yield from super().generate(requests)

    async def complete(self, request: Request) -> Completion:
        """See `ChatSession`."""
        if request.prompt.prefill:
            await self._determine_echoes()
        return await super().complete(request)

    async def _determine_echoes(self) -> None:
        """Find out whether a continuation by one token is returned with the whole prefill before it."""
        async with self._determining:
            if self.echoes is None:
                prompt = Prompt((Message("user", "Count from one to ten."),), "One, two, three, four,")
                reply = await super().complete(one_token(prompt, self.server.send_top_p))
                self.echoes = reply.text.startswith(prompt.prefill)

    def read(self, reply: JsonReply, request: Request) -> Completion:
        """The completion without the prefill. Raises ValueError where a server that repeats prefills did not."""
        completion, prefill = super().read(reply, request), request.prompt.prefill if self.echoes else ""
        if completion.stopped == "refused":
            return completion
        if not completion.text.startswith(prefill):
            raise ValueError(f"the reply does not begin with the prefill, {prefill[:40]!r}")
        return replace(completion, text=completion.text.removeprefix(prefill))
