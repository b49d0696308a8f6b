"""An event loop in virtual time, and scripted model servers on it: hours of waiting pass in milliseconds.

The loop's clock jumps to the next timer as soon as nothing is ready to run, so `asyncio.sleep`, `asyncio.timeout` and
everything that is given `loop.time` as its clock agree on the time.
"""

import asyncio
import json
import selectors
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from reer.models.http.client import Client
from reer.models.http.connection import Reply
from reer.models.http.errors import Unavailable
from reer.models.services.openai import ChatServer
from reer.models.services.service import ChatSession


class _Jumping(selectors.SelectSelector):
    """Advances the clock of its loop instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout is None:
            raise RuntimeError("every task waits for something that no timer will cause")
        if not events and timeout is not None and timeout > 0:
            self.now += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time starts at 0 and passes only while all its tasks sleep."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def in_virtual_time(main: Callable[[], Any]) -> Any:
    """The result of a coroutine function, run on a virtual-time loop."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main())


@dataclass(frozen=True)
class Scripted:
    """One reply: its status, body and headers, after `seconds`. A `hanging` reply never comes."""

    status: int
    body: Any
    seconds: float = 0.0
    retry_after_seconds: float | None = None
    hanging: bool = False


def completion(text: str, seconds: float = 0.0) -> Scripted:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return Scripted(200, {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}, seconds)


Script = Callable[[str, float], Scripted]
"""What a server replies to a prompt at a time (seconds since the session was opened)."""


class ScriptedTransport:
    """Servers by URL that reply by script, without sockets; `calls` records each prompt with its server and time."""

    def __init__(self, scripts: Mapping[str, Script], clock: Callable[[], float]) -> None:
        self.scripts, self.clock = scripts, clock
        self.calls: list[tuple[str, str, float]] = []

    async def request(self, method: str, url: str, payload: bytes, seconds: float, max_bytes: int) -> Reply:
        server = url.removesuffix("/chat/completions")
        prompt = json.loads(payload)["messages"][0]["content"]
        self.calls.append((server, prompt, self.clock()))
        scripted = self.scripts[server](prompt, self.clock())
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(10 * seconds if scripted.hanging else scripted.seconds)
        except TimeoutError:
            raise Unavailable(f"no whole answer within {seconds:g} s") from None
        wait = scripted.retry_after_seconds
        headers = {} if wait is None else {"retry-after": str(wait)}
        return Reply(scripted.status, headers, json.dumps(scripted.body).encode())

    async def upload(self, url: str, form: Mapping[str, str], content: bytes, seconds: float, max_bytes: int) -> Reply:
        raise NotImplementedError("a scripted chat server takes no files")

    @property
    def times(self) -> list[float]:
        return [time for _, _, time in self.calls]


@dataclass
class Opened:
    """A session on scripted servers, its transport and its clock."""

    session: ChatSession[Any]
    transport: ScriptedTransport
    runner: asyncio.Runner

    @property
    def now(self) -> float:
        return self.runner.get_loop().time()

    def wait(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))


@contextmanager
def opened(*scripts: Script, **settings: Any) -> Iterator[Opened]:
    """A session of a model with a replica for each script, in virtual time."""
    urls = [f"http://replica-{number}" for number in range(len(scripts))]
    server = ChatServer(model="m", base_url=urls[0], replicas=tuple(urls[1:]), health_check=False, **settings)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        clock = runner.get_loop().time
        transport = ScriptedTransport(dict(zip(urls, scripts, strict=True)), clock)
        yield Opened(server.session(Client("m", server, transport, runner, clock)), transport, runner)
