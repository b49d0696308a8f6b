"""The driver of searches: many at a time, each asking for drafts, rewrites and scores that models answer in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass
class Failure:
    """A search that could not be finished, and why."""

    pair_id: str
    reason: str


@dataclass(frozen=True)
class Handlers:
    """Who answers what searches ask for, a batch of one kind at a time, in order."""

    propose: Callable[[Sequence[RequestRewrites]], Sequence[Sequence[Candidate]]]
    evaluate: Callable[[Sequence[RequestScores]], Sequence[Sequence[float | None]]]
    restart: Callable[[Sequence[RequestDrafts]], Sequence[Sequence[Start]]]


def run_searches(
    searches: dict[str, Search], servers: Handlers, width: int, on_done: Callable[[Refinement | Failure], None]
) -> dict[str, Refinement | Failure]:
    """Drive many searches, `width` at a time, serving what they ask for in batches of one kind; results stand in the
    order of `searches`.

    Which searches run together depends on their order alone, so an interrupted run that starts again with its
    answered calls replayed forms the very same batches.
    """
    waiting = list(searches)
    asked: dict[str, SearchRequest] = {}
    results: dict[str, Refinement | Failure] = {}

    def advance(pair_id: str, answer: SearchReply | None) -> None:
        try:
            asked[pair_id] = searches[pair_id].send(answer)  # None starts a generator
        except StopIteration as finished:
            results[pair_id] = finished.value
        except Unscorable:
            results[pair_id] = Failure(pair_id, "draft_unscorable")
        if pair_id in results:
            on_done(results[pair_id])

    while waiting or asked:
        while waiting and len(asked) < width:
            advance(waiting.pop(0), None)
        for kind, serve in (
            (RequestDrafts, servers.restart),
            (RequestRewrites, servers.propose),
            (RequestScores, servers.evaluate),
        ):
            batch: list[Any] = [need for need in asked.values() if isinstance(need, kind)]
            if batch:
                for need, answer in zip(batch, serve(batch), strict=True):
                    del asked[need.pair_id]
                    advance(need.pair_id, answer)
    return {pair_id: results[pair_id] for pair_id in searches}
