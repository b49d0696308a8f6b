"""The search: the segments of a thinking, one after another, replaced where a rewrite makes the solution less
surprising. Pure control flow: it asks for starts, proposals and scores, and knows no model, tokenizer or prompt.

`steps` is a generator that yields what it needs and is sent the answers, so a driver can run
thousands of searches side by side and serve their needs in batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from reer.errors import InputError
from reer.types import Candidate, Edit, Refinement, Start, Stopped, item_seed

Segments = tuple[str, ...]


@dataclass(frozen=True)
class RequestRewrites:
    """Wanted: `n` rewrites of segment `index`, in pass `turn`. Answered with as many Candidates, unscored."""

    pair_id: str
    segments: Segments
    index: int
    n: int
    turn: int = 0


@dataclass(frozen=True)
class RequestScores:
    """Wanted: the score of each of these thinkings. Answered with numbers, None where there is no valid score."""

    pair_id: str
    thinkings: tuple[Segments, ...]


@dataclass(frozen=True)
class RequestDrafts:
    """Wanted: `n` further drafts for a pair, beside z(0). Answered with as many Starts."""

    pair_id: str
    n: int


SearchRequest = RequestRewrites | RequestScores | RequestDrafts
SearchReply = Sequence[Candidate] | Sequence[float | None] | Sequence[Start]
Search = Generator[SearchRequest, Any, Refinement]


def propose(need: RequestRewrites) -> Generator[SearchRequest, Any, Sequence[Candidate]]:
    """Ask for rewrites."""
    return (yield need)


def evaluate(need: RequestScores) -> Generator[SearchRequest, Any, Sequence[float | None]]:
    """Ask for scores."""
    return (yield need)


def restart(need: RequestDrafts) -> Generator[SearchRequest, Any, Sequence[Start]]:
    """Ask for further drafts."""
    return (yield need)


class Unscorable(ValueError):
    """The draft itself has no valid score, so no rewrite of it could be compared with anything."""


@dataclass(frozen=True)
class SearchBudget:
    """The most a search does for one pair: drafts, edits of each, rewrites of each edit."""

    starts: int
    edits: int
    candidates: int


@runtime_checkable
class SearchMethod(Protocol):
    """What every choice of `search=` can do."""

    def steps(self, pair_id: str, draft: Segments) -> Search:
        """The search as a conversation; returns the Refinement. Raises Unscorable if the draft has no score."""
        ...

    def rescaled(self, of_nats: Callable[[float], float], noise: float) -> SearchMethod:
        """The same search with its threshold in the score's own unit, and differences up to `noise` held to be none."""
        ...

    def budget(self) -> SearchBudget:
        """What it does at most."""
        ...


@dataclass(frozen=True)
class SegmentSearch:
    """REER's released algorithm (paper.md §1.5): left to right over at most `max_edits` segments, `n_candidates`
    rewrites each; the incumbent competes and only a strictly lower score wins; stop below `threshold`, in nats per
    token.

    `max_edits=0` scores z(0) and leaves it as it is: the control without search. `passes` goes over the segments again
    until a pass changes nothing. `min_gain` is how much lower, in the score's unit, a rewrite must be.
    """

    max_edits: int
    n_candidates: int
    threshold: float
    passes: int = 1
    min_gain: float = 0.0

    def __post_init__(self) -> None:
        if self.max_edits < 0 or self.n_candidates < 1 or not math.isfinite(self.threshold):
            raise InputError(f"search: want max_edits >= 0, n_candidates >= 1 and a finite threshold, got {self}")
        if self.passes < 1 or not 0 <= self.min_gain < math.inf:
            raise InputError(f"search: want passes >= 1 and a finite min_gain >= 0, got {self}")

    def rescaled(self, of_nats: Callable[[float], float], noise: float) -> SegmentSearch:
        return replace(self, threshold=of_nats(self.threshold), min_gain=max(self.min_gain, noise))

    def budget(self) -> SearchBudget:
        return SearchBudget(1, self.max_edits * self.passes, self.n_candidates)

    def steps(self, pair_id: str, draft: Segments) -> Search:
        (first,) = yield from evaluate(RequestScores(pair_id, (draft,)))
        return (yield from self.improve(pair_id, draft, _valid(pair_id, first)))

    def improve(self, pair_id: str, draft: Segments, first: float) -> Search:
        """The search from a draft whose score is known."""
        segments, edits = draft, list[Edit]()
        for turn in range(self.passes):
            for index in range(min(self.max_edits, len(draft))):
                if self._done(edits[-1].score if edits else first):
                    break
                edit = yield from self._edit(pair_id, segments, index, turn, edits[-1].score if edits else first)
                if edit.chosen is not None:
                    segments = _with(segments, index, edit.candidates[edit.chosen].text)
                edits.append(edit)
            if all(edit.chosen is None for edit in edits if edit.turn == turn):
                break
        best = edits[-1].score if edits else first
        return Refinement(pair_id, draft, segments, first, best, tuple(edits), self._stopped(draft, edits, best))

    def _edit(
        self, pair_id: str, segments: Segments, index: int, turn: int, incumbent: float
    ) -> Generator[SearchRequest, Any, Edit]:
        candidates = yield from propose(RequestRewrites(pair_id, segments, index, self.n_candidates, turn))
        usable = [i for i, candidate in enumerate(candidates) if candidate.lost is None]
        thinkings = tuple(_with(segments, index, candidates[i].text) for i in usable)
        scores = (yield from evaluate(RequestScores(pair_id, thinkings))) if thinkings else ()
        judged = _judged(candidates, dict(zip(usable, scores, strict=True)))
        chosen = self._choose(judged, incumbent, (pair_id, index, turn))
        score = incumbent if chosen is None else judged[chosen].score
        return Edit(index, judged, chosen, incumbent if score is None else score, turn)

    def _choose(self, candidates: Sequence[Candidate], incumbent: float, key: tuple[object, ...]) -> int | None:
        """The lowest score under the incumbent's by more than `min_gain`, the first of equals; None keeps it."""
        bar = incumbent - self.min_gain
        scored = [(c.score, i) for i, c in enumerate(candidates) if c.score is not None and c.score < bar]
        return min(scored)[1] if scored else None

    def _done(self, best: float) -> bool:
        return best < self.threshold

    def _stopped(self, draft: Segments, edits: Sequence[Edit], best: float) -> Stopped:
        if self._done(best):
            return "threshold"
        if edits and all(c.score is None for edit in edits for c in edit.candidates):
            return "degenerate"  # nothing that was proposed could be used
        return "budget" if len(draft) > self.max_edits else "exhausted"


@dataclass(frozen=True)
class RandomSearch(SegmentSearch):
    """The same edits, chosen by lot among the usable rewrites and the incumbent: the control that says whether the
    score's choice matters. Nothing stops it early, and its score may rise."""

    seed: int = 0

    def _choose(self, candidates: Sequence[Candidate], incumbent: float, key: tuple[object, ...]) -> int | None:
        usable = [i for i, candidate in enumerate(candidates) if candidate.score is not None]
        lot = item_seed(self.seed, "lot", *key) % (len(usable) + 1)
        return None if lot == len(usable) else usable[lot]

    def _done(self, best: float) -> bool:
        return False


@dataclass(frozen=True)
class MultiStart:
    """Several drafts of one pair, each refined by `search`, the lowest score wins. With `max_edits: 0` it is best of n:
    drafts alone, no edit. Every run is kept."""

    starts: int
    search: SegmentSearch

    def __post_init__(self) -> None:
        if self.starts < 2:
            raise InputError(f"search: want starts >= 2, got {self.starts}; for one start take search=iterative")

    def rescaled(self, of_nats: Callable[[float], float], noise: float) -> MultiStart:
        return replace(self, search=self.search.rescaled(of_nats, noise))

    def budget(self) -> SearchBudget:
        return replace(self.search.budget(), starts=self.starts)

    def steps(self, pair_id: str, draft: Segments) -> Search:
        made = yield from restart(RequestDrafts(pair_id, self.starts - 1))
        usable = [start for start in made if start.lost is None]
        scores = yield from evaluate(RequestScores(pair_id, (draft, *(start.segments for start in usable))))
        first = _valid(pair_id, scores[0])
        runs = [(yield from self.search.improve(pair_id, draft, first))]
        lost = [start.lost for start in made if start.lost]
        for start, score in zip(usable, scores[1:], strict=True):
            if score is None or not math.isfinite(score):
                lost.append("no_valid_score")
                continue
            run = yield from self.search.improve(pair_id, start.segments, score)
            runs.append(replace(run, start_tokens=start.tokens))
        best = runs[0]
        for run in runs[1:]:
            best = run if run.score < best.score - self.search.min_gain else best
        return Refinement(
            pair_id,
            draft,
            best.segments,
            first,
            best.score,
            (),
            best.stopped,
            runs=tuple(runs),
            lost_starts=tuple(lost),
        )


def _valid(pair_id: str, score: float | None) -> float:
    if score is None or not math.isfinite(score):
        raise Unscorable(f"pair {pair_id}: the draft's score is {score}")
    return score


def _with(segments: Segments, index: int, text: str) -> Segments:
    return (*segments[:index], text, *segments[index + 1 :])


def _judged(candidates: Sequence[Candidate], scores: dict[int, float | None]) -> tuple[Candidate, ...]:
    """Candidates with their scores; NaN, infinities and missing scores are losses, never numbers."""
    judged = list(candidates)
    for i, score in scores.items():
        valid = score is not None and math.isfinite(score)
        judged[i] = replace(candidates[i], score=score) if valid else replace(candidates[i], lost="no_valid_score")
    return tuple(judged)
