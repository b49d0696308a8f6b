"""What all chat services share: parameters that can be left out, sessions that answer at once, and batches.

A service defines its wire format in `body` (a request) and `completion` (a reply), used by sessions and batches alike.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from reer.errors import InputError
from reer.models.http.client import Call, Client, Endpoint, Seconds, connect
from reer.models.http.errors import PROMPT_TOO_LONG, UNREADABLE_REPLY, Rejected
from reer.models.http.replies import token_count
from reer.models.http.systemic import PER_CALL, Rejection, RequestProfile
from reer.models.protocols import Completion, Device, JsonReply, Prompt, Request, Sampling
from reer.models.services.batches import LIMITS, BatchApi, BatchLimits, BatchSession
from reer.types import Message

SCHEMA_FIELDS = ("response_format", "output_config")
CONTENT = ("model", "messages", "system", "seed", *SCHEMA_FIELDS)  # fields of a body not listed as its parameters
MAX_NAME = 200  # characters of the name that a server reports for its model
SNAPSHOT = re.compile(r"([-@:]([0-9]{3,8}|[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{2}-[0-9]{4}))?")
AROUND_A_NAME = re.compile(r"^.*/|(?<![^/])([a-z]+\.)+|(-latest|-0|-v[0-9]+(:[0-9]+)?)$")


@dataclass(frozen=True, kw_only=True)
class ChatService(Endpoint, ABC):
    """A model behind a chat server."""

    engine: ClassVar[str]
    path: ClassVar[str]
    switches: ClassVar[tuple[str, ...]] = ("top_p", "temperature")

    model: str
    send_temperature: bool = field(default=True, kw_only=True)
    """False for models that reject the parameter."""
    send_top_p: bool = field(default=True, kw_only=True)
    """False for models that reject the parameter."""
    send_top_k: bool = field(default=False, kw_only=True)
    """True for servers that support the parameter."""
    send_schema: bool = field(default=True, kw_only=True, metadata={"identity": False})
    """False for models and servers that cannot hold a reply to a JSON schema."""
    reroutes: Literal["refuse", "record"] = field(default="refuse", kw_only=True)
    """What to do where another model than the requested one answers: `refuse` its answers, or `record` them with its
    name. A dated version of the requested model is no other model."""
    health_check: bool = field(default=True, kw_only=True, metadata={"identity": False})
    """Request a token from each replica before any work."""
    poll_seconds: Seconds = field(default=5.0, kw_only=True, metadata={"identity": False})
    """The first pause before a batch is polled; later pauses are longer."""
    batch_seconds: Seconds = field(default=26 * 3600.0, kw_only=True, metadata={"identity": False})
    """How long a batch is waited for."""

    @property
    def name(self) -> str:
        """The model and the parameters left out; sessions have the same name."""
        unsent = "".join(f"-no_{switch}" for switch in self.switches if not getattr(self, f"send_{switch}"))
        rerouted = "-any_model" if self.reroutes == "record" else ""
        return f"{self.model}/{self.engine}{unsent}{'-top_k' if self.send_top_k else ''}{rerouted}"

    @property
    def follows_schemas(self) -> bool:
        """See `SchemaModel`."""
        return self.send_schema

    @contextmanager
    def open(self, device: Device) -> Iterator[ChatSession[Any]]:
        with connect(self.model, self) as client:
            session = self.session(client)
            if self.health_check:
                session.check()
            yield session

    @contextmanager
    def open_batches(self, folder: Path, limits: BatchLimits = LIMITS) -> Iterator[BatchSession]:
        """A generator that sends through the provider's batch interface; `folder` records the pending batches, so that
        the same requests find them again after a kill. There is no health check: a batch reports its own errors."""
        with connect(self.model, self) as client:
            yield BatchSession(self, client, self.batch_api(client), folder, limits)

    def sampled(self, sampling: Sampling) -> dict[str, Any]:
        """The sampling parameters, without those that are switched off."""
        sent: dict[str, Any] = {}
        if self.send_temperature:
            sent["temperature"] = sampling.temperature
        if self.send_top_p:
            sent["top_p"] = sampling.top_p
        if self.send_top_k and sampling.top_k:
            sent["top_k"] = sampling.top_k
        return sent

    @abstractmethod
    def body(self, request: Request) -> dict[str, Any]:
        """The JSON body of a request."""

    @abstractmethod
    def completion(self, reply: JsonReply, request: Request) -> Completion:
        """The completion of a JSON reply. Raises one of `reer.models.http.replies.UNREADABLE` for any other reply."""

    @abstractmethod
    def batch_api(self, client: Client) -> BatchApi:
        """The provider's batch interface."""

    def session(self, client: Client) -> ChatSession[Any]:
        return ChatSession(self, client)

    def check_served(self, reply: Completion) -> None:
        """Raise InputError where another model answered than was asked for, unless reroutes are recorded."""
        served = served_model(reply)
        if self.reroutes == "refuse" and served and not is_version_of(served, self.model):
            raise InputError(
                f"server {self.base_url}: {served!r} answered, {self.model!r} was asked for; set `model` to the name "
                "of the model that you mean, or reroutes=record to take the answers of any model under this name "
                "(judge.model.reroutes=record for a judge)"
            )

    def hello(self) -> Request:
        """The request of a health check."""
        return one_token(Prompt((Message("user", "Hello"),)), self.send_top_p)

    def profile(self, body: dict[str, Any]) -> RequestProfile[Completion]:
        """The parameters of a call with this body, and how a rejection of it becomes an answer."""
        sent = ", ".join(f"{name}={value!r}" for name, value in body.items() if name not in CONTENT)
        seeded = f"{sent}, a seed" if "seed" in body else sent
        held = any(name in body for name in SCHEMA_FIELDS)
        return RequestProfile(
            f"{seeded}, a JSON schema" if held else seeded,
            f"{self._advice()} judge.structured=false asks without a schema.".strip() if held else self._advice(),
            lambda reason: Completion(text=reason, stopped="refused", prompt_tokens=0, tokens=0),
        )

    def _advice(self) -> str:
        on = ", ".join(f"send_{name}=false" for name in (*self.switches, "top_k") if getattr(self, f"send_{name}"))
        return f"In this model's configuration, {on} leave the parameter out." if on else ""


Service = TypeVar("Service", bound=ChatService)


@dataclass(frozen=True)
class Usage:
    """The numbers of tokens of a completion as its server reports them; see `Completion.counted`."""

    prompt_tokens: int
    tokens: int
    counted: bool


def usage_of(text: str, tokens: object, *prompt_tokens: object) -> Usage:
    """The usage in a reply with this text. It is not counted where a number is missing, negative, infinite, or 0
    although every prompt, and a completion with a text, has tokens."""
    written, read = token_count(tokens), [token_count(value) for value in prompt_tokens]
    known = [value for value in read if value is not None]
    if written is None or len(known) < len(read) or not sum(known) or (text and not written):
        return Usage(0, 0, False)
    return Usage(sum(known), written, True)


def served_model(reply: Completion) -> str:
    """The name of the model that a server reports, without its fingerprint; '' where it reports none."""
    return reply.served.partition(" (")[0]


def is_version_of(served: str, asked: str) -> bool:
    """Whether a served model is the one that was asked for, or a dated snapshot of it. Names of organisations and
    regions before the model's own, and versions of a deployment after it, are not compared."""
    name, alias = (AROUND_A_NAME.sub("", model.lower()) for model in (served, asked))
    return name.startswith(alias) and SNAPSHOT.fullmatch(name, len(alias)) is not None


def clean(text: str) -> str:
    """The text with unpaired surrogates, which no file can hold, as `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def one_token(prompt: Prompt, send_top_p: bool) -> Request:
    """A request for one token; greedy where top_p is sent as well."""
    return Request(prompt, Sampling(temperature=0.0 if send_top_p else 1.0, top_p=1.0, max_tokens=1), 0)


def always(index: int) -> bool:
    """Allows every request to be sent again."""
    return True


def timed(completion: Completion, seconds: float) -> Completion:
    """A completion with its response time."""
    return replace(completion, seconds=seconds)


class ChatSession(Generic[Service]):
    """An open connection; see `ConcurrentGenerator`."""

    def __init__(self, server: Service, client: Client) -> None:
        self.server, self.client, self.name = server, client, server.name
        self.on_lost: Callable[[int], bool] = always
        self._served = ""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """See `Generator`; a request that the server rejects for its content is `refused`. Raises InputError where the
        rejection concerns more than that request or where another model answers than before, and Incomplete, after all
        others, where a call has no answer."""
        calls = [self.call(request) for request in requests]
        for i, reply in self.client.ask([replace(c, on_lost=partial(self.on_lost, i)) for i, c in enumerate(calls)]):
            try:
                self._check_served(reply or PROMPT_TOO_LONG)
            except InputError:
                self.on_lost(i)
                raise
            yield i, reply or PROMPT_TOO_LONG

    async def complete(self, request: Request) -> Completion:
        """See `ConcurrentGenerator`; a request that the server rejects for its content is `refused`. Raises InputError
        as `generate` does."""
        try:
            reply = await self.client.answer(self.call(request))
        except Rejected as error:
            reply = await self._rejected(request, error)
        self._check_served(reply or PROMPT_TOO_LONG)
        return reply or PROMPT_TOO_LONG

    async def _rejected(self, request: Request, error: Rejected) -> Completion:
        """A rejection as an answer. Raises InputError where the server rejects a harmless prompt with the same
        parameters, too."""
        profile = self.call(request).profile
        if profile is None or error.status not in PER_CALL:
            raise error
        prompt = Prompt((Message("user", "Hello"),), "Hello" if request.prompt.prefill else "")
        try:
            await self.client.answer(self.call(replace(request, prompt=prompt)))
        except Rejected as systemic:
            raise Rejection(profile, systemic, lambda: False).systemic_error() from None
        return profile.rejected(error.reason)

    def _check_served(self, reply: Completion) -> None:
        """Raise InputError where the reply names another model than was asked for, or than the replies before it. A
        fingerprint, which may change with the server's configuration, is not compared."""
        self.server.check_served(reply)
        served = served_model(reply)
        if served and self._served and served != self._served:
            raise InputError(
                f"server {self.server.base_url}: {served!r} answers now, {self._served!r} did before; the results of "
                "two models must not be mixed. Serve the first model again, or set `model` to a name that means "
                "one version, and run the same command again"
            )
        self._served = self._served or served

    def check(self) -> None:
        """Request one token from each replica, so that a wrong address, key or model name is found before any work."""
        hello, urls = self.call(self.server.hello()), self.server.urls
        for i, reply in self.client.ask([replace(hello, url=url) for url in urls]):
            self._check_served(reply or PROMPT_TOO_LONG)
            if reply and reply.stopped == "refused":
                raise InputError(f"server {urls[i]} rejected the health check: {reply.text}")

    def call(self, request: Request) -> Call[Completion]:
        body = self.server.body(request)
        return Call(
            path=self.server.path,
            body=body,
            read=lambda reply: self.read(reply, request),
            group=request.group,
            unreadable=lambda: UNREADABLE_REPLY,
            profile=self.server.profile(body),
            timed=timed,
        )

    def read(self, reply: JsonReply, request: Request) -> Completion:
        return self.server.completion(reply, request)
