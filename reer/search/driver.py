"""Runs many searches at a time and batches their requests for the handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

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
class Handlers:
    """Each handler takes a batch of requests of one kind and returns one list of replies per request, in order."""

    rewrite: Callable[[Sequence[RequestRewrites]], Sequence[Sequence[Candidate]]]
    score: Callable[[Sequence[RequestScores]], Sequence[Sequence[float | None]]]
    draft: Callable[[Sequence[RequestDrafts]], Sequence[Sequence[Start]]]


def run_searches(
    searches: Mapping[str, Search], handlers: Handlers, width: int, on_done: Callable[[Refinement | Failure], None]
) -> dict[str, Refinement | Failure]:
    """Run searches, at most `width` at a time, with batched requests. Results are in the order of `searches`;
    `on_done` receives each one as soon as it is known.

    Which searches share a batch depends only on their order, so a resumed run whose earlier model calls are replayed
    forms the same batches.
    """
    waiting = list(searches)
    pending: dict[str, SearchRequest] = {}
    results: dict[str, Refinement | Failure] = {}

    def advance(pair_id: str, reply: SearchReply | None) -> None:
        search = searches[pair_id]
        pending.pop(pair_id, None)
        try:
            pending[pair_id] = next(search) if reply is None else search.send(reply)
            return
        except StopIteration as finished:
            results[pair_id] = finished.value
        except Unscorable:
            results[pair_id] = Failure(pair_id, "draft_unscorable")
        on_done(results[pair_id])

    while waiting or pending:
        while waiting and len(pending) < width:
            advance(waiting.pop(0), None)
        for pair_id, starts in _handled(pending, RequestDrafts, handlers.draft):
            advance(pair_id, SearchReply(starts=starts))
        for pair_id, candidates in _handled(pending, RequestRewrites, handlers.rewrite):
            advance(pair_id, SearchReply(candidates=candidates))
        for pair_id, scores in _handled(pending, RequestScores, handlers.score):
            advance(pair_id, SearchReply(scores=scores))
    return {pair_id: results[pair_id] for pair_id in searches}


def _handled(
    pending: Mapping[str, SearchRequest],
    kind: type[Kind],
    handler: Callable[[Sequence[Kind]], Sequence[Sequence[Item]]],
) -> list[tuple[str, Sequence[Item]]]:
    """The replies to all pending requests of one kind, with their pairs."""
    batch = [request for request in pending.values() if isinstance(request, kind)]
    if not batch:
        return []
    return [(request.pair_id, reply) for request, reply in zip(batch, handler(batch), strict=True)]
