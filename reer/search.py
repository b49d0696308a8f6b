"""The search: one pass over the segments of a thinking, each replaced where a rewrite makes the solution less
surprising. Pure control flow: it asks for proposals and scores, and knows no model, tokenizer or prompt.

`SegmentSearch.steps` is a generator that yields what it needs and is sent the answers, so a driver can run
thousands of searches side by side and serve their needs in batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reer.types import Candidate, Edit, InputError, Refinement, Stopped

Segments = tuple[str, ...]


@dataclass(frozen=True)
class Propose:
    """Wanted: `n` rewrites of segment `index`. Answered with as many Candidates, unscored."""

    pair_id: str
    segments: Segments
    index: int
    n: int


@dataclass(frozen=True)
class Evaluate:
    """Wanted: the score of each of these thinkings. Answered with numbers, None where there is no valid score."""

    pair_id: str
    thinkings: tuple[Segments, ...]


Need = Propose | Evaluate
Answer = Sequence[Candidate] | Sequence[float | None]
Search = Generator[Need, Any, Refinement]


def propose(need: Propose) -> Generator[Need, Any, Sequence[Candidate]]:
    """Ask for rewrites."""
    return (yield need)


def evaluate(need: Evaluate) -> Generator[Need, Any, Sequence[float | None]]:
    """Ask for scores."""
    return (yield need)


class Unscorable(ValueError):
    """The draft itself has no valid score, so no rewrite of it could be compared with anything."""


@dataclass(frozen=True)
class SegmentSearch:
    """REER's released algorithm (paper.md §1.5): left to right over at most `max_edits` segments, `n_candidates`
    rewrites each; the incumbent competes and only a strictly lower score wins; stop below `threshold`, which
    is in the score's own unit.

    `max_edits=0` scores z(0) and leaves it as it is: the control without search.
    """

    max_edits: int
    n_candidates: int
    threshold: float

    def __post_init__(self) -> None:
        if self.max_edits < 0 or self.n_candidates < 1 or not math.isfinite(self.threshold):
            raise InputError(f"search: want max_edits >= 0, n_candidates >= 1 and a finite threshold, got {self}")

    def steps(self, pair_id: str, draft: Segments) -> Search:
        """The search as a conversation; returns the Refinement. Raises Unscorable if the draft has no score."""
        (first,) = yield from evaluate(Evaluate(pair_id, (draft,)))
        if first is None or not math.isfinite(first):
            raise Unscorable(f"pair {pair_id}: the draft's score is {first}")
        best, segments = first, draft
        edits: list[Edit] = []
        for index in range(min(self.max_edits, len(draft))):
            if best < self.threshold:
                break
            candidates = yield from propose(Propose(pair_id, segments, index, self.n_candidates))
            usable = [i for i, candidate in enumerate(candidates) if candidate.lost is None]
            thinkings = tuple(_with(segments, index, candidates[i].text) for i in usable)
            scores = (yield from evaluate(Evaluate(pair_id, thinkings))) if thinkings else ()
            judged = _judged(candidates, dict(zip(usable, scores, strict=True)))
            best, chosen = _best(judged, best)
            if chosen is not None:
                segments = _with(segments, index, judged[chosen].text)
            edits.append(Edit(index, judged, chosen, best))
        return Refinement(pair_id, draft, segments, first, best, tuple(edits), self._stopped(draft, edits, best))

    def _stopped(self, draft: Segments, edits: Sequence[Edit], best: float) -> Stopped:
        if best < self.threshold:
            return "threshold"
        if edits and all(c.score is None for edit in edits for c in edit.candidates):
            return "degenerate"  # nothing that was proposed could be used
        return "budget" if len(draft) > self.max_edits else "exhausted"


def _with(segments: Segments, index: int, text: str) -> Segments:
    return (*segments[:index], text, *segments[index + 1 :])


def _judged(candidates: Sequence[Candidate], scores: dict[int, float | None]) -> tuple[Candidate, ...]:
    """Candidates with their scores; NaN, infinities and missing scores are losses, never numbers."""
    judged = list(candidates)
    for i, score in scores.items():
        valid = score is not None and math.isfinite(score)
        judged[i] = replace(candidates[i], score=score) if valid else replace(candidates[i], lost="no_valid_score")
    return tuple(judged)


def _best(candidates: Sequence[Candidate], incumbent: float) -> tuple[float, int | None]:
    """The lowest score strictly under the incumbent's with its index, the first of equals; else the incumbent's."""
    scored = [(c.score, i) for i, c in enumerate(candidates) if c.score is not None and c.score < incumbent]
    return min(scored) if scored else (incumbent, None)


@dataclass
class Failure:
    """A search that could not be finished, and why."""

    pair_id: str
    reason: str


def run_searches(
    searches: dict[str, Search],
    propose: Callable[[Sequence[Propose]], Sequence[Sequence[Candidate]]],
    evaluate: Callable[[Sequence[Evaluate]], Sequence[Sequence[float | None]]],
    width: int,
    on_done: Callable[[str], None],
) -> dict[str, Refinement | Failure]:
    """Drive many searches, `width` at a time, serving what they ask for in batches of one kind; results stand in the
    order of `searches`.

    Which searches run together depends on their order alone, so an interrupted run that starts again with its
    answered calls replayed forms the very same batches.
    """
    waiting = list(searches)
    asked: dict[str, Need] = {}
    results: dict[str, Refinement | Failure] = {}

    def advance(pair_id: str, answer: Answer | None) -> None:
        try:
            asked[pair_id] = searches[pair_id].send(answer)  # None starts a generator
        except StopIteration as finished:
            results[pair_id] = finished.value
        except Unscorable:
            results[pair_id] = Failure(pair_id, "draft_unscorable")
        if pair_id in results:
            on_done(pair_id)

    while waiting or asked:
        while waiting and len(asked) < width:
            advance(waiting.pop(0), None)
        for kind, serve in ((Propose, propose), (Evaluate, evaluate)):
            batch = [need for need in asked.values() if isinstance(need, kind)]
            if batch:
                for need, answer in zip(batch, serve(batch), strict=True):  # type: ignore[arg-type]
                    del asked[need.pair_id]
                    advance(need.pair_id, answer)
    return {pair_id: results[pair_id] for pair_id in searches}
