"""JSON over HTTP to one or several replicas of a model server, with bounded concurrency, retries and deadlines.

Each replica has a limiter and a circuit breaker of its own. Calls of one group go to one replica, whose prefix cache
then holds their common beginning. A call without an answer does not affect the others.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, PositiveInt

from reer.calls import event_loop
from reer.errors import Incomplete, InputError
from reer.models.http.adaptive_limit import AdaptiveLimiter
from reer.models.http.circuit_breaker import CircuitBreaker
from reer.models.http.connection import Connection, Reply, Transport
from reer.models.http.cures import cure
from reer.models.http.errors import (
    PromptTooLong,
    RateLimited,
    Rejected,
    RetryState,
    Unanswered,
    Unavailable,
    Unreadable,
    WrongShape,
    classify_response,
    may_be_billed,
    wrapped_error,
)
from reer.models.http.replies import MAX_REPLY_BYTES, UNREADABLE, parse_json
from reer.models.http.systemic import PER_CALL, Rejection, Rejections, RequestProfile
from reer.secrets import key_in

Result = TypeVar("Result")
log = logging.getLogger(__name__)
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model is served, and how long its calls are retried. None of this identifies a result."""

    base_url: str = field(metadata={"identity": False})
    """Address of the server, with http:// or https://, and without user, query or fragment."""
    replicas: tuple[str, ...] = field(default=(), metadata={"identity": False})
    """Further addresses that serve the same model."""
    key_variable: str = field(default="", metadata={"identity": False})
    """Name of the environment variable that holds the key; '' where the server needs none."""
    concurrency: PositiveInt = field(default=8, metadata={"identity": False})
    """Calls in flight at once, per replica."""
    timeout_seconds: Seconds = field(default=600.0, metadata={"identity": False})
    """Bound on one attempt, from its first byte sent to the last byte received."""
    total_seconds: Seconds = field(default=3600.0, metadata={"identity": False})
    """Bound on all attempts of a call with the delays between them. Waiting for a slot, for a 429 or for a replica that
    is down does not count."""
    attempts: PositiveInt = field(default=6, metadata={"identity": False})
    """Attempts of one call before it is given up; a 429 is not an attempt."""
    outage_seconds: Seconds = field(default=900.0, metadata={"identity": False})
    """After how long a replica is given up that is down, or that replies with nothing but 429."""
    outage_pause_seconds: Seconds = field(default=5.0, metadata={"identity": False})
    """Pause before the first probe of a replica that is down; it doubles after each failed probe."""

    @property
    def urls(self) -> tuple[str, ...]:
        return (self.base_url, *self.replicas)

    def __post_init__(self) -> None:
        for url in self.urls:
            _check_address(url)
        if any(mark in self.key_variable for mark in ("-", ".", " ")) or len(self.key_variable) > 60:
            raise InputError("server: key_variable wants the NAME of an environment variable, not a key")

    def headers(self, key: str) -> dict[str, str]:
        """Headers of every call; `key` is '' where none is configured."""
        return {"Authorization": f"Bearer {key}"} if key else {}


def _check_address(url: str) -> None:
    """Raise InputError for what is no address of a server. The message leaves out what may be a secret."""
    if "@" in url or "?" in url or "#" in url:
        raise InputError(
            "server: base_url wants an address without user, query and fragment, which may hold a secret; put the key "
            "into an environment variable and name it in key_variable"
        )
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise InputError(f"server: base_url wants http://HOST or https://HOST, with or without :PORT, got {url!r}")


def untimed(answer: Result, seconds: float) -> Result:
    """The answer as it is, for calls that do not record their duration."""
    return answer


def allowed() -> bool:
    """Allows a call to be sent again."""
    return True


@dataclass(frozen=True, kw_only=True)
class Call(Generic[Result]):
    """One call to a server."""

    path: str
    body: dict[str, Any]
    read: Callable[[Any], Result]
    """Reads the reply; an answer it cannot read raises ValueError, LookupError, TypeError or AttributeError."""
    group: str = ""
    """Calls of one group go to one replica."""
    tokens: int = 0
    """Tokens of the prompt, and of the longest completion that it may get; 0 where they are not known."""
    url: str = ""
    """The replica to use, instead of one chosen by group or position."""
    instead: Call[Result] | None = None
    """Made in place of this call once a reply to it has a shape that is not read: a longer way to the same answer."""
    unreadable: Callable[[], Result | None] | None = None
    """Makes an answer of a call whose replies all have a shape that is not read; without it they raise InputError."""
    profile: RequestProfile[Result] | None = None
    """Makes an answer of a rejection of this call alone; without a profile every rejection raises InputError."""
    timed: Callable[[Result, float], Result] = untimed
    """Records in an answer the seconds that its attempt took."""
    method: Literal["POST", "GET"] = "POST"
    upload: bytes = b""
    """Content sent as a file, with the body as the other fields of its form."""
    max_bytes: int = MAX_REPLY_BYTES
    """A longer reply is unreadable."""
    plain: bool = False
    """Read the reply as text, not as JSON."""
    idempotent: bool = True
    """If false, the call is not repeated where the server may have carried it out."""
    on_lost: Callable[[], bool] = allowed
    """Called for each attempt that the server may have carried out, and billed, without a usable answer; returns
    whether the call may be sent again."""

    @property
    def payload(self) -> bytes:
        """The body in bytes; empty where there is none."""
        return encoded(self.body) if self.body else b""


def encoded(body: object) -> bytes:
    """Compact JSON in UTF-8; unpaired surrogates become `?`."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


@dataclass
class Replica:
    """One address and its state; `gave_up` says why nothing more is sent to it in the current round."""

    url: str
    limiter: AdaptiveLimiter
    breaker: CircuitBreaker
    gave_up: str = ""

    def reset(self) -> None:
        """Allow a new round to try again a replica that was given up."""
        self.gave_up, self.limiter.only_429s_since = "", None
        self.breaker.reset()

    async def admit(self) -> bool:
        """Wait until a call may be sent; True if it is a probe. Raises Unanswered if the replica was given up."""
        if self.gave_up:
            raise Unanswered(self.gave_up)
        return await self.breaker.admit()

    def record(self, sent_at: float, probe: bool, error: Exception | None) -> None:
        """Update limiter and breaker after an attempt; `error` is None for a valid answer or a rejection."""
        if isinstance(error, Unavailable):
            self.breaker.on_failure(probe, str(error))
            return
        self.breaker.on_answer(counts=error is None)
        if isinstance(error, RateLimited):
            self.limiter.on_429(sent_at, error.wait_seconds)
            if self.limiter.starved_seconds > self.breaker.outage_seconds:
                self.gave_up = f"nothing but 429 for {self.breaker.outage_seconds:g} s; last: {error}"
        elif error is None:
            self.limiter.on_success()


class Client:
    """An open connection to all replicas. `clock` is a monotonic time in seconds; `max_tokens` bounds the tokens of the
    calls in flight to each replica. `interruptions` counts the attempts that ended without a reply or with 5xx: a
    server may have been restarted since. `answered` tells whether any reply could be read."""

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        connection: Transport,
        runner: asyncio.Runner,
        clock: Callable[[], float] = time.monotonic,
        max_tokens: int | None = None,
    ) -> None:
        self.name, self.endpoint, self.connection, self.runner, self.clock = name, endpoint, connection, runner, clock
        self.max_tokens = max_tokens
        self.rejections, self.interruptions, self.answered = Rejections(endpoint.concurrency), 0, False
        self.replicas = {url: self._replica(url) for url in endpoint.urls}
        self._numbers = count()

    def _replica(self, url: str) -> Replica:
        name, endpoint = f"server {self.name} at {url}", self.endpoint
        return Replica(
            url,
            AdaptiveLimiter(endpoint.concurrency, self.clock, self.max_tokens),
            CircuitBreaker(name, endpoint.outage_pause_seconds, endpoint.outage_seconds, self.clock),
        )

    def ask(self, calls: Sequence[Call[Result]]) -> Iterator[tuple[int, Result | None]]:
        """Each answer with its call's index, as it arrives; None where the server's context cannot hold the call; those
        that were rejected or stay unreadable come last. Calls are in flight only while the iterator is consumed:
        closing it cancels them. Raises InputError for a rejection that concerns more than one call and for a server
        none of whose replies can be read, and Incomplete, after all other answers, where a call has no answer yet."""
        for replica in self.replicas.values():
            replica.reset()
        finished: asyncio.Queue[asyncio.Task[tuple[int, Result | None] | None]] = asyncio.Queue()
        rejected: dict[int, Rejection[Result]] = {}
        unreadable: dict[int, str] = {}
        missing: list[str] = []
        tasks = self.runner.run(self._start(calls, rejected, unreadable, missing))
        try:
            for task in tasks:
                task.add_done_callback(finished.put_nowait)
            for _ in tasks:
                task = self.runner.run(finished.get()) if finished.empty() else finished.get_nowait()
                if task.exception() is not None:
                    yield from _completed(finished)
                answer = task.result()
                if answer is not None:
                    yield answer
        except (KeyboardInterrupt, asyncio.CancelledError):
            # What has arrived is paid for: hand it on before the calls in flight are cancelled.
            yield from _completed(finished)
            raise
        finally:
            running = [task for task in tasks if not task.done()]
            for task in running:
                task.cancel()
            if running:
                self.runner.run(_ended(running))
        yield from [
            (i, rejection.answer(every=len(rejected) == len(calls))) for i, rejection in sorted(rejected.items())
        ]
        for number, why in unreadable.items():
            yield number, self._given_up(calls[number], why)
        if missing:
            raise Incomplete(
                f"server {self.name}: {len(missing)} of {len(calls)} calls have no answer; last: {missing[-1]}. The "
                "others are kept; the same command asks only these again"
            )

    async def answer(self, call: Call[Result]) -> Result | None:
        """The answer of one call, as in `ask`, while others are in flight. Raises Rejected for a call that the server
        rejects where no call of its profile has succeeded: nobody knows yet what the rejection concerns."""
        try:
            return await self._one(call, self.replicas[self._url(call, next(self._numbers))])
        except Rejected as error:
            rejection = self.rejections.on_rejection(call.profile, error)
            if rejection.systemic:
                raise
            return rejection.profile.rejected(error.reason)
        except Unanswered as error:
            if error.lasting:
                return self._given_up(call, str(error))
            raise Incomplete(
                f"server {self.name}: a call has no answer: {error}. The others are kept; the same command asks only "
                "those again that have none"
            ) from None

    def _given_up(self, call: Call[Result], why: str) -> Result | None:
        """The answer of a call whose replies have a shape that is not read. Raises InputError where no reply of this
        server could ever be read, or where the call has no such answer."""
        if call.unreadable is None or not self.answered:
            raise InputError(
                f"server {self.name}: its replies have a shape that is not read ({why}); check that base_url is the "
                "address of this kind of server, and which version it is"
            )
        log.warning("server %s: a call is given up and counted as lost: %s", self.name, why)
        return call.unreadable()

    async def _start(
        self,
        calls: Sequence[Call[Result]],
        rejected: dict[int, Rejection[Result]],
        unreadable: dict[int, str],
        missing: list[str],
    ) -> list[asyncio.Task[tuple[int, Result | None] | None]]:
        """A task for each call, which returns its index and answer; None where it is noted in one of the others."""

        async def one(number: int, call: Call[Result]) -> tuple[int, Result | None] | None:
            try:
                return number, await self._one(call, self.replicas[self._url(call, number)])
            except Rejected as error:
                rejected[number] = self.rejections.on_rejection(call.profile, error)
            except Unanswered as error:
                if error.lasting:
                    unreadable[number] = str(error)
                else:
                    missing.append(str(error))
            return None

        return [asyncio.create_task(one(number, call)) for number, call in enumerate(calls)]

    def _url(self, call: Call[Any], number: int) -> str:
        if call.url:
            return call.url
        key = int(hashlib.sha256(call.group.encode()).hexdigest(), 16) if call.group else number
        return self.endpoint.urls[key % len(self.endpoint.urls)]

    async def _one(self, call: Call[Result], replica: Replica) -> Result | None:
        """The answer, after as many attempts as needed; None for a prompt too long for the server. Raises Rejected or
        Unanswered."""
        endpoint, retry = self.endpoint, False
        state = RetryState(
            attempts=endpoint.attempts,
            timeout_seconds=endpoint.timeout_seconds,
            total_seconds=endpoint.total_seconds,
            idempotent=call.idempotent,
        )
        while True:
            async with replica.limiter.acquire(first=retry, tokens=call.tokens):
                probe = await replica.admit()
                sent_at = self.clock()
                try:
                    seconds = min(state.remaining_seconds, replica.breaker.remaining_seconds)
                    answer = await self._attempt(call, replica, seconds)
                except (PromptTooLong, Rejected) as error:
                    replica.record(sent_at, probe, None)
                    if isinstance(error, PromptTooLong):
                        return None
                    raise
                except (RateLimited, Unavailable, Unreadable) as error:
                    failure: Exception = error
                    self.interruptions += isinstance(failure, Unavailable)
                    replica.record(sent_at, probe, failure)
                except asyncio.CancelledError:
                    call.on_lost()
                    raise
                else:
                    seconds = self.clock() - sent_at
                    replica.record(sent_at, probe, None)
                    self.rejections.on_success(call.profile)
                    self.answered = True
                    return call.timed(answer, seconds)
            if may_be_billed(failure) and not call.on_lost():
                raise Unanswered(f"{failure}; the server may have billed it, and another attempt is not affordable")
            if isinstance(failure, WrongShape) and call.instead is not None:
                call, retry = replace(call.instead, group=call.group, tokens=call.tokens), True
                continue
            retry = not (probe and isinstance(failure, Unavailable))  # after a failed probe another call probes next
            if retry:
                await asyncio.sleep(state.delay_after(failure, self.clock() - sent_at))

    async def _attempt(self, call: Call[Result], replica: Replica, seconds: float) -> Result:
        """The answer of one attempt. Raises the errors of `classify_response`, Unavailable and Unreadable."""
        url = replica.url.rstrip("/") + call.path
        if call.upload:
            reply = await self.connection.upload(url, call.body, call.upload, seconds, call.max_bytes)
        else:
            reply = await self.connection.request(call.method, url, call.payload, seconds, call.max_bytes)
        if reply.status != 200:
            raise self._located(classify_response(self.name, reply.status, reply.text, reply.headers), replica, call)
        if not reply.whole:
            raise Unreadable(f"HTTP 200: the reply is longer than {call.max_bytes} bytes: {reply.text[:300]}")
        if (encoding := reply.headers.get("content-encoding", "identity")) != "identity":
            raise Unreadable(f"HTTP 200: the reply has the content-encoding {encoding[:20]!r}, which was not asked for")
        return self._read(call, reply)

    def _read(self, call: Call[Result], reply: Reply) -> Result:
        content = reply.text
        if not call.plain:
            try:
                content = parse_json(reply.body)
            except UNREADABLE as error:
                raise Unreadable(f"HTTP 200: {reply.text[:300]} ({type(error).__name__}: {error})") from None
            if (error := wrapped_error(self.name, content, reply.text, reply.headers)) is not None:
                raise error
        try:
            return call.read(content)
        except UNREADABLE as error:
            raise WrongShape(f"HTTP 200: {reply.text[:300]} ({type(error).__name__}: {error})") from None

    def _located(self, error: Exception, replica: Replica, call: Call[Any]) -> Exception:
        """A rejection that does not concern one call alone, with the address that was asked and the likely cure."""
        if not isinstance(error, Rejected) or error.status in PER_CALL:
            return error
        advice = cure(error.status, replica.url, call.path, error.reason, self.endpoint.key_variable)
        asked = f"{error.reason} (asked: {call.method} {replica.url.rstrip('/')}{call.path})"
        return Rejected(self.name, error.status, f"{asked}; {advice}" if advice else asked)


def _completed(
    finished: asyncio.Queue[asyncio.Task[tuple[int, Result | None] | None]],
) -> Iterator[tuple[int, Result | None]]:
    """The answers among tasks that have finished already."""
    while not finished.empty():
        task = finished.get_nowait()
        answer = None if task.cancelled() or task.exception() is not None else task.result()
        if answer is not None:
            yield answer


async def _ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks)


@contextmanager
def connect(name: str, endpoint: Endpoint) -> Iterator[Client]:
    """Open a client. Raises InputError when the key's environment variable is not set."""
    key = key_in(endpoint.key_variable) if endpoint.key_variable else ""
    if endpoint.key_variable and not key:
        raise InputError(f"server {name}: set the environment variable {endpoint.key_variable} to your key")
    with connect_with(key, name, endpoint) as client:
        yield client


@contextmanager
def connect_with(key: str, name: str, endpoint: Endpoint, max_tokens: int | None = None) -> Iterator[Client]:
    """Open a client that sends this key; '' sends none. `max_tokens` is as in `Client`."""
    with event_loop() as runner:
        connection = runner.run(Connection.opened(endpoint.headers(key), key, endpoint.timeout_seconds))
        try:
            yield Client(name, endpoint, connection, runner, max_tokens=max_tokens)
        finally:
            runner.run(connection.close())
