"""Requests sent to the scripted batch interfaces of both providers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reer.models.protocols import Completion, Prompt, Request, Sampling, in_order
from reer.models.services.anthropic import AnthropicServer
from reer.models.services.batches import LIMITS, BatchLimits
from reer.models.services.openai import ChatServer
from reer.types import Message
from tests.fakes.providers import Anthropic, OpenAi, Provider


def request(text: str, seed: int = 5) -> Request:
    return Request(Prompt((Message("user", text),)), Sampling(temperature=0.7, top_p=0.9, max_tokens=32), seed)


ASKED = [request(f"q{i}") for i in range(6)]


PROVIDERS: dict[type[Provider], type[Any]] = {OpenAi: ChatServer, Anthropic: AnthropicServer}


def server_of(kind: type[Provider], url: str, **settings: Any) -> Any:
    base = url if kind is OpenAi else url.removesuffix("/v1")
    return PROVIDERS[kind](model="m", base_url=base, **{"poll_seconds": 0.01, "outage_seconds": 0.3, **settings})


def ask(
    kind: type[Provider],
    url: str,
    folder: Path,
    asked: Sequence[Request] = ASKED,
    limits: BatchLimits = LIMITS,
    on_answer: Callable[[int, Completion], None] = lambda i, reply: None,
    **settings: Any,
) -> list[Completion]:
    with server_of(kind, url, **settings).open_batches(folder, limits) as session:
        replies: list[tuple[int, Completion]] = []
        for i, reply in session.generate(asked):
            on_answer(i, reply)
            replies.append((i, reply))
        return in_order(replies, len(asked))
