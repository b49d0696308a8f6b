"""JSON over HTTP to one or several replicas of a model server: in order, bounded, and never for ever.

Each replica has slots and a breaker of its own. Calls of one group go to one replica, so that what it keeps of their
beginnings is found again. A call without an answer does not keep the others from theirs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from reer.errors import Incomplete, InputError
from reer.models.http.adaptive_limit import AdaptiveLimiter
from reer.models.http.circuit_breaker import CircuitBreaker
from reer.models.http.connection import Connection
from reer.models.http.errors import Busy, Down, PromptTooLong, Refused, RetryState, Unanswered, Unreadable, trouble
from reer.models.http.systemic import Refusal, Refusals, RequestProfile

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model is served and how patient to be: none of this is identity. `replicas` are further addresses of the
    same model, `key_variable` names the environment variable that holds the key ('' for none).

    `timeout_seconds` bounds one attempt from its first byte to its last; `total_seconds` a call's attempts with the
    pauses between them, not its waiting for a slot, for a 429 or for a replica that is down. One that is down is tried
    after `outage_pause_seconds`, then ever more rarely, and given up after `outage_seconds`; so is one that says
    nothing but 429 for that long."""

    base_url: str = field(metadata={"identity": False})
    replicas: tuple[str, ...] = field(default=(), metadata={"identity": False})
    key_variable: str = field(default="", metadata={"identity": False})
    concurrency: int = field(default=8, metadata={"identity": False})
    timeout_seconds: float = field(default=600.0, metadata={"identity": False})
    total_seconds: float = field(default=3600.0, metadata={"identity": False})
    attempts: int = field(default=6, metadata={"identity": False})
    outage_seconds: float = field(default=900.0, metadata={"identity": False})
    outage_pause_seconds: float = field(default=5.0, metadata={"identity": False})

    @property
    def urls(self) -> tuple[str, ...]:
        return (self.base_url, *self.replicas)

    def __post_init__(self) -> None:
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise InputError(f"server: base_url wants http:// or https://, got {url!r}")
        if any(mark in self.key_variable for mark in ("-", ".", " ")) or len(self.key_variable) > 60:
            raise InputError("server: key_variable wants the NAME of an environment variable, not a key")
        seconds = self.timeout_seconds, self.total_seconds, self.outage_seconds, self.outage_pause_seconds
        if self.concurrency < 1 or self.attempts < 1 or min(seconds) <= 0:
            raise InputError(f"server: want concurrency and attempts >= 1 and positive seconds, got {self}")

    def headers(self, key: str) -> dict[str, str]:
        """What goes with every call; `key` is '' where none is named."""
        return {"Authorization": f"Bearer {key}"} if key else {}


def untimed(answer: Any, seconds: float) -> Any:
    """An answer that does not say how long it took."""
    return answer


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One thing to ask, and how its answer is read (raising what an unreadable answer raises). Calls of one `group` go
    to one replica; `url` names it instead.

    `manner` says how a refusal of this one call is an answer; without one it is an InputError. `timed` puts its seconds
    into an answer. An `upload` goes as a file, with the body as its form; `plain` replies are read as text, not as
    JSON; what is done `once` is not sent again where the server may have carried it out."""

    path: str
    body: dict[str, Any]
    read: Callable[[Any], Result]
    group: str = ""
    url: str = ""
    manner: RequestProfile[Result] | None = None
    timed: Callable[[Result, float], Result] = untimed
    method: Literal["POST", "GET"] = "POST"
    upload: bytes = b""
    plain: bool = False
    once: bool = False

    @property
    def payload(self) -> bytes:
        """The body as it is sent; nothing where there is none."""
        return encoded(self.body) if self.body else b""


def encoded(body: Any) -> bytes:
    """As JSON; half surrogate pairs become `?`."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


@dataclass
class Replica:
    """One address, and how it does; `gave_up` says why nothing more is sent to it in this round."""

    url: str
    slots: AdaptiveLimiter
    breaker: CircuitBreaker
    gave_up: str = ""

    def renew(self) -> None:
        """A new round may try again what was given up on."""
        self.gave_up, self.slots.busy_since = "", None
        self.breaker.renew()

    async def admit(self) -> bool:
        """Wait until something may be sent; True if it is the probe. Raises Unanswered where nothing may any more."""
        if self.gave_up:
            raise Unanswered(self.gave_up)
        return await self.breaker.admit()

    def note(self, sent_at: float, probe: bool, error: Exception | None) -> None:
        """Learn from an attempt that ended well, or in an error."""
        if isinstance(error, Down):
            self.breaker.failed(probe, str(error))
            return
        self.breaker.answered(counts=error is None)
        if isinstance(error, Busy):
            self.slots.too_many(sent_at, error.wait_seconds)
            if self.slots.starved_seconds > self.breaker.outage_seconds:
                self.gave_up = f"nothing but 429 for {self.breaker.outage_seconds:g} s; last: {error}"
        elif error is None:
            self.slots.well()


class Client:
    """An open connection to all replicas."""

    def __init__(self, name: str, served: Endpoint, connection: Connection, runner: asyncio.Runner) -> None:
        self.name, self.served, self.connection, self.runner = name, served, connection, runner
        self.refusals = Refusals(served.concurrency)
        self.replicas = {url: self._replica(url) for url in served.urls}

    def _replica(self, url: str) -> Replica:
        told, served = f"server {self.name} at {url}", self.served
        return Replica(
            url,
            AdaptiveLimiter(served.concurrency),
            CircuitBreaker(told, served.outage_pause_seconds, served.outage_seconds),
        )

    def ask(self, calls: Sequence[Call[Result]]) -> Iterator[tuple[int, Result | None]]:
        """Each answer with its call's index, as it arrives; None where the server's context cannot hold the call; those
        that were rejected come last. Calls are in flight only while the iterator is consumed: closing it cancels them.
        Raises InputError for a rejection that concerns more than one call, and Incomplete, after all other answers,
        where a call has no answer."""
        for replica in self.replicas.values():
            replica.renew()
        finished: asyncio.Queue[asyncio.Task[tuple[int, Result | None] | None]] = asyncio.Queue()
        refused: dict[int, Refusal[Result]] = {}
        missing: list[str] = []
        tasks = self.runner.run(self._start(calls, refused, missing))
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
        finally:
            running = [task for task in tasks if not task.done()]
            for task in running:
                task.cancel()
            if running:
                self.runner.run(_ended(running))
        yield from [(i, refusal.answer(every=len(refused) == len(calls))) for i, refusal in sorted(refused.items())]
        if missing:
            raise Incomplete(
                f"server {self.name}: {len(missing)} of {len(calls)} calls have no answer; last: {missing[-1]}. The "
                "others are kept; the same command asks only these again"
            )

    async def _start(
        self, calls: Sequence[Call[Result]], refused: dict[int, Refusal[Result]], missing: list[str]
    ) -> list[asyncio.Task[tuple[int, Result | None] | None]]:
        """A task for each call, which returns its index and answer; None where it is noted as refused or missing."""

        async def one(number: int, call: Call[Result]) -> tuple[int, Result | None] | None:
            try:
                return number, await self._one(call, self.replicas[self._url(call, number)])
            except Refused as error:
                refused[number] = self.refusals.note(call.manner, error)
            except Unanswered as error:
                missing.append(str(error))
            return None

        return [asyncio.create_task(one(number, call)) for number, call in enumerate(calls)]

    def _url(self, call: Call[Any], number: int) -> str:
        if call.url:
            return call.url
        key = int(hashlib.sha256(call.group.encode()).hexdigest(), 16) if call.group else number
        return self.served.urls[key % len(self.served.urls)]

    async def _one(self, call: Call[Result], replica: Replica) -> Result | None:
        """The answer, after as many attempts as it takes; None for no room. Raises Refused or Unanswered."""
        served, again = self.served, False
        patience = RetryState(served.attempts, served.timeout_seconds, served.total_seconds, call.once)
        while True:
            async with replica.slots.one(first=again):
                probe = await replica.admit()
                sent_at = time.monotonic()
                try:
                    found = await self._attempt(call, replica, min(patience.left_seconds, replica.breaker.left_seconds))
                except (PromptTooLong, Refused) as error:
                    replica.note(sent_at, probe, None)
                    if isinstance(error, PromptTooLong):
                        return None
                    raise
                except (Busy, Down, Unreadable) as error:
                    failed: Exception = error
                    replica.note(sent_at, probe, failed)
                else:
                    seconds = time.monotonic() - sent_at
                    replica.note(sent_at, probe, None)
                    self.refusals.answered(call.manner)
                    return call.timed(found, seconds)
            again = not (probe and isinstance(failed, Down))  # a failed probe goes last: another may try next
            if again:
                await asyncio.sleep(patience.after(failed, time.monotonic() - sent_at))

    async def _attempt(self, call: Call[Result], replica: Replica, seconds: float) -> Result:
        """One attempt, read. Raises what `trouble` says."""
        url = replica.url.rstrip("/") + call.path
        if call.upload:
            reply = await self.connection.upload(url, call.body, call.upload, seconds)
        else:
            reply = await self.connection.request(call.method, url, call.payload, seconds)
        if reply.status != 200:
            raise trouble(self.name, reply.status, reply.text, reply.headers)
        try:
            return call.read(reply.text if call.plain else json.loads(reply.body))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise Unreadable(f"HTTP 200: {reply.text[:300]} ({type(error).__name__}: {error})") from None


def _completed(
    finished: asyncio.Queue[asyncio.Task[tuple[int, Result | None] | None]],
) -> Iterator[tuple[int, Result | None]]:
    """The answers among tasks that have finished already."""
    while not finished.empty():
        task = finished.get_nowait()
        answer = None if task.exception() is not None else task.result()
        if answer is not None:
            yield answer


async def _ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks)


@contextmanager
def connect(name: str, served: Endpoint) -> Iterator[Client]:
    """Open a client. Raises InputError when the key's variable is not set."""
    key = os.environ.get(served.key_variable, "") if served.key_variable else ""
    if served.key_variable and not key:
        raise InputError(f"server {name}: set the environment variable {served.key_variable} to your key")
    with asyncio.Runner() as runner:
        connection = runner.run(Connection.opened(served.headers(key), served.timeout_seconds))
        try:
            yield Client(name, served, connection, runner)
        finally:
            runner.run(connection.close())
