"""Searches that begin while the last drafts are still written, on servers that those leave idle."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from experiments.workers.search_job import NOISE_DRAFTS, OpenSearch, SearchJob
from reer.calls import event_loop
from reer.search.driver import search_served
from reer.search.methods import Segments
from reer.types import Pair, Start

if TYPE_CHECKING:
    import asyncio


@dataclass(frozen=True)
class FirstDraft:
    """The first draft of a pair, as it comes."""

    pair_id: str
    start: Start


@contextmanager
def early_searches(job: SearchJob, pairs: Sequence[Pair]) -> Iterator[EarlySearches]:
    """Open the models of a search whose drafts, of these pairs, are about to be written. When the block is left, the
    calls in flight end, unless an error leaves it: then they are cancelled. Raises the first error of a search."""
    raw: dict[str, str] = {}
    with event_loop() as runner, replace(job, raw_drafts=raw).open() as models:
        early = EarlySearches(models, pairs, raw, runner)
        try:
            yield early
            early.end()
        finally:
            early.cancel()
            models.sync()


class EarlySearches:
    """Searches from drafts that are there, as many as there are places of `runtime.width` that no draft takes any more:
    no draft waits for a search. The scorer's noise is measured before, as soon as the drafts are there on which the
    stage would measure it. Replies are in the replay. A scorer that is no server of single passages, such as one that
    grades, lets none begin."""

    def __init__(self, models: OpenSearch, pairs: Sequence[Pair], raw: dict[str, str], runner: asyncio.Runner) -> None:
        self.models = models
        self._noise: float | None = None
        self._pairs, self._raw, self._runner = {pair.id: pair for pair in pairs}, raw, runner
        self._handlers = models.handlers(self._pairs)
        self._came: dict[str, Start] = {}
        self._waiting = deque[str]()
        self._measuring: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._ending = False

    def add(self, drafts: Sequence[FirstDraft]) -> None:
        """Take drafts that are there, and begin the searches that have a place. Raises the first error of a search."""
        for draft in drafts:
            self._came[draft.pair_id], self._raw[draft.pair_id] = draft.start, draft.start.raw
            if self._can_search(draft.pair_id):
                self._waiting.append(draft.pair_id)
        if self._measuring is None and self._handlers.are_concurrent and (first := self._first_drafts()):
            self._measuring = self._start(self._measure(first))
        self._runner.get_loop().call_soon(self._begin)  # after drafts whose calls start now
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Begin nothing more, and wait for the calls in flight."""
        self._ending = True
        self._wait()
        if self._error is not None:
            raise self._error

    def cancel(self) -> None:
        """End what is in flight."""
        self._ending = True
        for task in self._tasks:
            task.cancel()
        self._wait()

    def _wait(self) -> None:
        import asyncio

        if self._tasks:
            self._runner.run(asyncio.wait(list(self._tasks)))

    def _can_search(self, pair_id: str) -> bool:
        return not self._came[pair_id].lost and self.models.job.can_score(self._pairs[pair_id])

    def _places(self) -> int:
        """How many more searches may begin now: none once the last draft is there, or after an error."""
        if not self._handlers.are_concurrent or not self._goes_on():
            return 0
        missing, width = len(self._pairs) - len(self._came), self.models.job.runtime.width
        return width - min(width, missing) - len(self._tasks) if missing else 0

    def _goes_on(self) -> bool:
        return self._error is None and not self._ending

    def _first_drafts(self) -> dict[str, Segments] | None:
        """The drafts that the search measures the noise of; None while one of them may still come."""
        first: dict[str, Segments] = {}
        for pair_id in self._pairs:
            if len(first) == NOISE_DRAFTS:
                break
            if pair_id not in self._came:
                return None
            if self._can_search(pair_id):
                first[pair_id] = self._came[pair_id].segments
        return first

    def _begin(self) -> None:
        if self._noise is None:
            return
        for pair_id in [self._waiting.popleft() for _ in range(min(self._places(), len(self._waiting)))]:
            (search,) = self.models.searches({pair_id: self._came[pair_id].segments}, self._noise).values()
            self._start(search_served(search, self._handlers, self._goes_on))

    async def _measure(self, first: Mapping[str, Segments]) -> None:
        self._noise = await self.models.noise_served(self._pairs, first)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._runner.get_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        self._error = self._error or error
        self._begin()
