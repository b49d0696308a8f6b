"""Open connections, one to a lane.

httpcore 1.0 looks through all connections of its pool for each of them at each call, so that the cost of a call grows
with the square of their number; with one connection to a pool it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Lanes:
    """As many connections to each address as are in use together; the one used last is taken first."""

    def __init__(self, opened: Callable[[], Any]) -> None:
        self._opened = opened
        self._free: dict[str, list[Any]] = {}
        self._all: list[Any] = []

    @contextmanager
    def one(self, url: str) -> Iterator[Any]:
        """An httpx.AsyncClient that nobody else uses meanwhile."""
        free = self._free.setdefault(url, [])
        lane = free.pop() if free else self._open()
        try:
            yield lane
        finally:
            free.append(lane)

    def _open(self) -> Any:
        self._all.append(self._opened())
        return self._all[-1]

    async def close(self) -> None:
        for lane in self._all:
            await lane.aclose()
