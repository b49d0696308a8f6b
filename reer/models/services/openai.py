"""A generator behind an OpenAI-compatible chat server: a judge in the cloud, or a vLLM/SGLang server of one's own.

It cannot score: chat servers do not return the log-probabilities of a prompt. Keys are named, never written down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from reer.errors import InputError
from reer.models.http.client import Client
from reer.models.protocols import Completion, Prompt, Request, Sampling
from reer.models.services.batch_apis import OpenAiBatchApi
from reer.models.services.service import ChatService, ChatSession, one_token
from reer.types import Message

LENGTHS = ("max_tokens", "max_completion_tokens")
HELLO_TOKENS = 256  # models that know max_completion_tokens think first, and refuse a limit within their thinking


@dataclass(frozen=True)
class ChatServer(ChatService):
    """A model on a server. `send_seed`, `send_top_p` and `send_temperature` are off for providers or models that refuse
    these parameters; `max_tokens_field` is what the limit is called (OpenAI's models that think know it as
    max_completion_tokens alone)."""

    engine: ClassVar[str] = "chat-server"
    path: ClassVar[str] = "/chat/completions"
    switches: ClassVar[tuple[str, ...]] = ("seed", "top_p", "temperature")

    send_seed: bool = field(default=True, kw_only=True)
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = field(
        default="max_tokens", kw_only=True, metadata={"identity": False}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_tokens_field not in LENGTHS:
            raise InputError(f"server: max_tokens_field wants {' or '.join(LENGTHS)}, got {self.max_tokens_field!r}")

    def body(self, request: Request) -> dict[str, Any]:
        turns = [{"role": m.role, "content": m.content} for m in request.prompt.messages]
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "messages": turns,
            self.max_tokens_field: sampling.max_tokens,
        }
        if request.prompt.prefill:  # how vLLM and SGLang are asked to continue a turn instead of opening one
            turns.append({"role": "assistant", "content": request.prompt.prefill})
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        body |= self.sampled(sampling)
        if self.send_seed:
            body["seed"] = request.seed
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        return body

    def completion(self, reply: Any, request: Request) -> Completion:
        """What a reply says; half surrogate pairs become `?`. What a content filter cut is refused, and so is what the
        model itself says in `refusal`."""
        choice, usage = reply["choices"][0], reply.get("usage") or {}
        message, finish = choice["message"], choice.get("finish_reason")
        said, refusal = message.get("content") or "", message.get("refusal") or ""
        text = (said or refusal).encode("utf-8", "replace").decode("utf-8")
        refused = finish == "content_filter" or bool(refusal and not said)
        stopped = "refused" if refused else "length" if finish == "length" else "stop"
        fingerprint = reply.get("system_fingerprint")
        served = f"{reply.get('model') or ''} ({fingerprint})".strip() if fingerprint else reply.get("model") or ""
        used = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        return Completion(text, stopped, *used, served=str(served))

    def hello(self) -> Request:
        asked = super().hello()
        if self.max_tokens_field == "max_tokens":
            return asked
        return Request(asked.prompt, Sampling(asked.sampling.temperature, 1.0, HELLO_TOKENS), 0)

    def session(self, client: Client) -> ServerSession:
        return ServerSession(self, client)

    def batch_api(self, client: Client) -> OpenAiBatchApi:
        return OpenAiBatchApi(client)

    def _advice(self) -> str:
        return f"{super()._advice()} max_tokens_field is {self.max_tokens_field}; the other is {self._other_field()}."

    def _other_field(self) -> str:
        return LENGTHS[1 - LENGTHS.index(self.max_tokens_field)]


class ServerSession(ChatSession[ChatServer]):
    """An open connection; see `Generator`. Some servers (llama.cpp's) give a prefill back in front of what they add to
    it, others (vLLM, SGLang) do not; before the first prefill is sent, the server is asked which it is."""

    def __init__(self, server: ChatServer, client: Client) -> None:
        super().__init__(server, client)
        self.echoes: bool | None = None

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """See `ChatSession`."""
        if self.echoes is None and any(request.prompt.prefill for request in requests):
            self.echoes = self._echoes()
        yield from super().generate(requests)

    def _echoes(self) -> bool:
        """True if one token of continuation comes back with all of the prefill before it."""
        prompt = Prompt((Message("user", "Count from one to ten."),), "One, two, three, four,")
        ((_, reply),) = self.client.ask([self.call(one_token(prompt, self.server.send_top_p))])
        return reply is not None and reply.text.startswith(prompt.prefill)

    def read(self, reply: Any, request: Request) -> Completion:
        """The completion without what was given to be continued. Raises ValueError where a server that gives it back
        has not."""
        found, given = super().read(reply, request), request.prompt.prefill if self.echoes else ""
        if found.stopped == "refused":
            return found
        if not found.text.startswith(given):
            raise ValueError(f"the reply does not begin with the words it was to continue, {given[:40]!r}")
        return replace(found, text=found.text.removeprefix(given))
