"""JSON over HTTP to one or several replicas of a model server: in order, bounded, and never for ever.

Each replica has slots of its own. A 429 shrinks them and pauses the replica as long as it asks; success grows them.
Calls of one group go to one replica, so that what it keeps of their beginnings is found again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from reer.models.protocols import Heard, unheard
from reer.types import InputError

Result = TypeVar("Result")
RETRIED = {200, 408, 409, 425, 429, 500, 502, 503, 504, 529}  # 200: with a body that is no answer, as gateways send
NO_ROOM = re.compile(r"context.{0,3}length|maximum context|too many tokens", re.I)


class Unreadable(ValueError):
    """A reply that is no answer; the message says what is wrong with it."""


class NoRoom(Exception):
    """The server says that the call does not fit its context."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """Where a model is served and how patient to be: none of this is identity. `replicas` are further addresses of the
    same model, `key_variable` names the environment variable that holds the key ('' for none), `timeout_seconds` bounds
    one attempt and `total_seconds` a call with all its attempts."""

    base_url: str = field(metadata={"identity": False})
    replicas: tuple[str, ...] = field(default=(), metadata={"identity": False})
    key_variable: str = field(default="", metadata={"identity": False})
    concurrency: int = field(default=8, metadata={"identity": False})
    timeout_seconds: float = field(default=600.0, metadata={"identity": False})
    total_seconds: float = field(default=3600.0, metadata={"identity": False})
    attempts: int = field(default=6, metadata={"identity": False})

    @property
    def urls(self) -> tuple[str, ...]:
        return (self.base_url, *self.replicas)

    def __post_init__(self) -> None:
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise InputError(f"server: base_url wants http:// or https://, got {url!r}")
        if any(mark in self.key_variable for mark in ("-", ".", " ")) or len(self.key_variable) > 60:
            raise InputError("server: key_variable wants the NAME of an environment variable, not a key")
        if self.concurrency < 1 or self.attempts < 1 or min(self.timeout_seconds, self.total_seconds) <= 0:
            raise InputError(f"server: want concurrency and attempts >= 1 and positive seconds, got {self}")


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One thing to ask, and how its answer is read (raising what an unreadable answer raises). Calls of one `group` go
    to one replica; `url` names it instead."""

    path: str
    body: dict[str, Any]
    read: Callable[[Any], Result]
    group: str = ""
    url: str = ""


@dataclass
class Slots:
    """How many calls a replica is given at once, and until when none."""

    most: int
    limit: int
    busy: int = 0
    resume_at: float = 0.0
    shrunk_at: float = 0.0
    successes: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.busy < self.limit)
            self.busy += 1
        await asyncio.sleep(max(0.0, self.resume_at - time.monotonic()))

    async def give(self) -> None:
        async with self.changed:
            self.busy -= 1
            self.changed.notify_all()

    def too_many(self, sent_at: float, pause_seconds: float) -> None:
        """Shrink by a fifth, once for all calls that were on their way together."""
        if sent_at >= self.shrunk_at:
            self.limit, self.shrunk_at, self.successes = max(1, self.limit * 4 // 5), time.monotonic(), 0
        self.resume_at = max(self.resume_at, time.monotonic() + pause_seconds)

    def well(self) -> None:
        """Grow by one after as many good answers as there are slots."""
        self.successes += 1
        if self.successes >= self.limit and self.limit < self.most:
            self.limit, self.successes = self.limit + 1, 0


class Client:
    """An open connection to all replicas."""

    def __init__(self, name: str, served: Served, http: Any, runner: asyncio.Runner) -> None:
        self.name, self.served, self.http, self.runner = name, served, http, runner
        self.slots = {url: Slots(served.concurrency, served.concurrency) for url in served.urls}

    def ask(self, calls: Sequence[Call[Result]], heard: Heard = unheard) -> list[Result | None]:
        """The answers in order, None where the server's context has no room; each is heard as it comes. Raises
        InputError when a call is refused, RuntimeError when one has no answer after all attempts."""
        return self.runner.run(self._all(calls, heard))

    async def _all(self, calls: Sequence[Call[Result]], heard: Heard) -> list[Result | None]:
        async def one(number: int, call: Call[Result]) -> Result | None:
            answer = await self._one(call, self._replica(call, number))
            heard([number], [answer])
            return answer

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(number, call)) for number, call in enumerate(calls)]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    def _replica(self, call: Call[Any], number: int) -> str:
        if call.url:
            return call.url
        key = int(hashlib.sha256(call.group.encode()).hexdigest(), 16) if call.group else number
        return self.served.urls[key % len(self.served.urls)]

    async def _one(self, call: Call[Result], url: str) -> Result | None:
        why = "no attempt"
        try:
            async with asyncio.timeout(self.served.total_seconds):
                for attempt in range(self.served.attempts):
                    if attempt:
                        await asyncio.sleep(min(0.5 * 2 ** (attempt - 1), 30.0) * random.uniform(0.5, 1.0))
                    try:
                        return await self._attempt(call, url)
                    except NoRoom:
                        return None
                    except (Unreadable, ConnectionError) as error:
                        why = str(error)
        except TimeoutError:
            raise RuntimeError(
                f"server {self.name}: no answer in {self.served.total_seconds:g} s; last: {why}"
            ) from None
        raise RuntimeError(f"server {self.name}: no answer after {self.served.attempts} attempts; last: {why}")

    async def _attempt(self, call: Call[Result], url: str) -> Result:
        """One attempt. Raises ConnectionError or Unreadable where another may help; NoRoom, InputError where not."""
        import httpx

        slots = self.slots[url]
        await slots.take()
        sent_at = time.monotonic()
        try:
            reply = await self.http.post(url.rstrip("/") + call.path, json=call.body)
        except httpx.TransportError as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from None
        finally:
            await slots.give()
        return self._read(call, reply, slots, sent_at)

    def _read(self, call: Call[Result], reply: Any, slots: Slots, sent_at: float) -> Result:
        status, text = reply.status_code, reply.text[:300]
        if status == 200:
            try:
                found = call.read(reply.json())
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise Unreadable(f"HTTP 200: {text} ({type(error).__name__}: {error})") from None
            slots.well()
            return found
        if status in (400, 413, 422) and NO_ROOM.search(reply.text):
            raise NoRoom
        if status not in RETRIED:
            raise InputError(f"server {self.name} refused the request: HTTP {status}: {text}")
        if status == 429:
            slots.too_many(sent_at, _retry_after(reply))
        raise Unreadable(f"HTTP {status}: {text}")


def _retry_after(reply: Any) -> float:
    """Seconds the server asks to wait, 0 where it gives none that can be read; two minutes at most."""
    wait = reply.headers.get("retry-after", "")
    return min(float(wait), 120.0) if re.fullmatch(r"[0-9]+(\.[0-9]*)?", wait) else 0.0


@contextmanager
def connect(name: str, served: Served) -> Iterator[Client]:
    """Open a client. Raises InputError when the key's variable is not set."""
    import httpx

    key = os.environ.get(served.key_variable, "") if served.key_variable else ""
    if served.key_variable and not key:
        raise InputError(f"server {name}: set the environment variable {served.key_variable} to your key")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(served.timeout_seconds, connect=min(10.0, served.timeout_seconds), pool=None)
    limits = httpx.Limits(max_connections=served.concurrency * len(served.urls))
    with asyncio.Runner() as runner:
        http = httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits)
        try:
            yield Client(name, served, http, runner)
        finally:
            runner.run(http.aclose())
