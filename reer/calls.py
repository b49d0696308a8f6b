"""Calls in flight: coroutines on one event loop, each of which ends as soon as its own answer is there.

asyncio is imported where it runs: verbs that read results do without it.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from reer.errors import Incomplete

if TYPE_CHECKING:
    import asyncio

Key = TypeVar("Key")
Answer = TypeVar("Answer")


class _Shared(threading.local):
    """The event loop of a thread, and how many have opened it."""

    runner: asyncio.Runner | None = None
    users = 0


_shared = _Shared()


@contextmanager
def event_loop(factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> Iterator[asyncio.Runner]:
    """The event loop of this thread, which all who open it share, so that calls to several servers are in flight
    together. It is closed with the last of them. `factory` makes the loop if there is none yet."""
    import asyncio

    runner = _shared.runner = _shared.runner or asyncio.Runner(loop_factory=factory)
    _shared.users += 1
    try:
        yield runner
    finally:
        _shared.users -= 1
        if not _shared.users:
            _shared.runner = None
            runner.close()


class Calls(Generic[Key, Answer]):
    """Coroutines in flight, by key. They progress only while the event loop runs, as in `completed`. After the first
    call that could not be answered (`incomplete`), none should be started."""

    def __init__(self, runner: asyncio.Runner) -> None:
        import asyncio

        self.runner = runner
        self.incomplete: Incomplete | None = None
        self._keys: dict[asyncio.Task[Answer], Key] = {}
        self._ended: asyncio.Queue[asyncio.Task[Answer]] = asyncio.Queue()

    def __len__(self) -> int:
        return len(self._keys)

    def start(self, key: Key, call: Coroutine[Any, Any, Answer]) -> None:
        """Put a call in flight."""
        task = self.runner.get_loop().create_task(call)
        self._keys[task] = key
        task.add_done_callback(self._ended.put_nowait)

    def completed(self) -> Iterator[tuple[Key, Answer]]:
        """The answers that have come, or else the next one; at least one call must be in flight. Raises the error of a
        call at once, unless it is Incomplete: what is in flight is paid for."""
        ended = [self.runner.run(self._ended.get()) if self._ended.empty() else self._ended.get_nowait()]
        while not self._ended.empty():
            ended.append(self._ended.get_nowait())
        for task in ended:
            key = self._keys.pop(task)
            try:
                answer = task.result()
            except Incomplete as error:
                self.incomplete = self.incomplete or error
            else:
                yield key, answer

    def cancel(self) -> None:
        """End all calls in flight, and wait until they have ended."""
        for task in self._keys:
            task.cancel()
        if self._keys:
            self.runner.run(_end(list(self._keys)))
        self._keys.clear()


@contextmanager
def calls_in_flight() -> Iterator[Calls[Any, Any]]:
    """Calls on the event loop of this thread; those that are still in flight when the block is left are cancelled.
    Raises Incomplete at the end of a block in which a call could not be answered."""
    with event_loop() as runner:
        calls = Calls[Any, Any](runner)
        try:
            yield calls
            if calls.incomplete is not None:
                raise calls.incomplete
        finally:
            calls.cancel()


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    import asyncio

    await asyncio.wait(tasks)


async def all_of(calls: Iterable[Awaitable[Answer]]) -> list[Answer]:
    """The answers of calls that are in flight together, in order. Raises the first error once all of them have ended:
    what the others got is paid for."""
    import asyncio

    ended = await asyncio.gather(*calls, return_exceptions=True)
    answers: list[Answer] = []
    for answer in ended:
        if isinstance(answer, BaseException):
            raise answer
        answers.append(answer)
    return answers
