"""Runs many searches at a time. Each goes on as soon as its own reply is there; models in this process get batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from reer.calls import Calls, calls_in_flight
from reer.search.methods import (
    RequestDrafts,
    RequestRewrites,
    RequestScores,
    Search,
    SearchReply,
    SearchRequest,
    Unscorable,
)
from reer.types import Candidate, Refinement, Start

Kind = TypeVar("Kind", RequestRewrites, RequestScores, RequestDrafts)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Failure:
    """A search without a result, and the reason."""

    pair_id: str
    reason: str


@dataclass(frozen=True)
class Concurrent(Generic[Kind, Item]):
    """A handler of single requests, many of which may be in flight together."""

    handle: Callable[[Kind], Coroutine[Any, Any, Sequence[Item]]]


Batched = Callable[[Sequence[Kind]], Sequence[Sequence[Item]]]
"""A handler of a batch of requests, which returns one list of replies per request, in order."""


@dataclass(frozen=True)
class Handlers:
    """Who handles each kind of request: a server takes single requests, a model in this process batches."""

    rewrite: Batched[RequestRewrites, Candidate] | Concurrent[RequestRewrites, Candidate]
    score: Batched[RequestScores, float | None] | Concurrent[RequestScores, float | None]
    draft: Batched[RequestDrafts, Start] | Concurrent[RequestDrafts, Start]

    @property
    def are_concurrent(self) -> bool:
        """Whether every request goes to a server."""
        return all(isinstance(handler, Concurrent) for handler in (self.rewrite, self.score, self.draft))


def run_searches(
    searches: Mapping[str, Search], handlers: Handlers, width: int, on_done: Callable[[Refinement | Failure], None]
) -> dict[str, Refinement | Failure]:
    """Run searches, at most `width` at a time. Results are in the order of `searches`; `on_done` receives each one as
    soon as it is known.

    A request to a server is sent at once, and its search goes on when its own reply is there. A model in this process
    gets all requests of one kind together when no call is in flight, which depends only on the order of the searches:
    a resumed run whose earlier model calls are replayed forms the same batches. Raises Incomplete, after the calls that
    were in flight, where one has no answer.
    """
    with calls_in_flight() as calls:
        run = _Run(searches, handlers, width, on_done, calls)
        while run.goes_on():
            for pair_id, reply in calls.completed() if calls else run.batch():
                if calls.incomplete is None:
                    run.advance(pair_id, reply)
    return {pair_id: run.results[pair_id] for pair_id in searches}


async def search_served(search: Search, handlers: Handlers, goes_on: Callable[[], bool]) -> None:
    """Make the calls of one search, as long as `goes_on()`, for what the replay then holds; its result is not kept. The
    handlers must be concurrent."""
    kinds, reply = _kinds(handlers), None
    while goes_on():
        try:
            request = next(search) if reply is None else search.send(reply)
        except (StopIteration, Unscorable):
            return
        (call,) = (call for kind in kinds if (call := kind.call(request)) is not None)
        reply = await call


class _Run:
    """Searches that have not begun (`waiting`), and the requests of others that wait for a batch (`pending`)."""

    def __init__(
        self,
        searches: Mapping[str, Search],
        handlers: Handlers,
        width: int,
        on_done: Callable[[Refinement | Failure], None],
        calls: Calls[str, SearchReply],
    ) -> None:
        self.searches, self.kinds, self.width, self.on_done = searches, _kinds(handlers), width, on_done
        self.calls = calls
        self.waiting, self.order = deque(searches), {pair_id: at for at, pair_id in enumerate(searches)}
        self.pending: dict[str, SearchRequest] = {}
        self.results: dict[str, Refinement | Failure] = {}

    def goes_on(self) -> bool:
        """Begin searches as far as the width allows; False when nothing is left to do."""
        if self.calls.incomplete is not None:
            return len(self.calls) > 0
        while self.waiting and len(self.pending) + len(self.calls) < self.width:
            self.advance(self.waiting.popleft(), None)
        return bool(self.pending) or len(self.calls) > 0

    def advance(self, pair_id: str, reply: SearchReply | None) -> None:
        """Let a search go on to its next request, or to its end."""
        search = self.searches[pair_id]
        try:
            request = next(search) if reply is None else search.send(reply)
        except StopIteration as finished:
            self.results[pair_id] = finished.value
        except Unscorable:
            self.results[pair_id] = Failure(pair_id, "draft_unscorable")
        else:
            self._request(pair_id, request)
            return
        self.on_done(self.results[pair_id])

    def _request(self, pair_id: str, request: SearchRequest) -> None:
        call = next((call for kind in self.kinds if (call := kind.call(request)) is not None), None)
        if call is None:
            self.pending[pair_id] = request
        else:
            self.calls.start(pair_id, call)

    def batch(self) -> list[tuple[str, SearchReply]]:
        """The replies to all pending requests of one kind."""
        pending = [self.pending[pair_id] for pair_id in sorted(self.pending, key=self.order.__getitem__)]
        replies = next(replies for kind in self.kinds if (replies := kind.batch(pending)))
        for pair_id, _ in replies:
            del self.pending[pair_id]
        return replies


@dataclass(frozen=True)
class _Kind(Generic[Kind, Item]):
    """Requests of one kind, their handler, and the reply made of what it returns."""

    request: type[Kind]
    handler: Batched[Kind, Item] | Concurrent[Kind, Item]
    reply: Callable[[Sequence[Item]], SearchReply]

    def call(self, request: SearchRequest) -> Coroutine[Any, Any, SearchReply] | None:
        """The call for a request; None where it is of another kind, or waits for a batch."""
        if not isinstance(request, self.request) or callable(self.handler):
            return None
        return self._handled(self.handler, request)

    async def _handled(self, handler: Concurrent[Kind, Item], request: Kind) -> SearchReply:
        return self.reply(await handler.handle(request))

    def batch(self, pending: Sequence[SearchRequest]) -> list[tuple[str, SearchReply]]:
        """The replies to the pending requests of this kind, with their pairs."""
        requests = [request for request in pending if isinstance(request, self.request)]
        if not requests or not callable(self.handler):
            return []
        replies = self.handler(requests)
        return [(request.pair_id, self.reply(items)) for request, items in zip(requests, replies, strict=True)]


def _kinds(handlers: Handlers) -> tuple[_Kind[Any, Any], ...]:
    """The kinds of requests. Batches are formed in this order: what comes first leads to requests of what follows."""
    return (
        _Kind(RequestDrafts, handlers.draft, lambda starts: SearchReply(starts=starts)),
        _Kind(RequestRewrites, handlers.rewrite, lambda candidates: SearchReply(candidates=candidates)),
        _Kind(RequestScores, handlers.score, lambda scores: SearchReply(scores=scores)),
    )
