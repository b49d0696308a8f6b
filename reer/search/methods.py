"""The search: one segment of the thinking after another is replaced where a rewrite makes the solution more likely.

A search is a generator: it yields a request, receives the reply, and returns a Refinement. It contains control flow
only and knows no model, tokenizer or prompt, so a driver can run thousands of searches and batch their requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Protocol, TypeVar, runtime_checkable

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt

from reer.errors import InputError
from reer.types import Candidate, Edit, Lost, Refinement, Start, Stopped, item_seed

Segments = tuple[str, ...]
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class RequestRewrites:
    """Request `n` rewrites of segment `index` in pass `pass_index`. The reply holds n candidates without a score."""

    pair_id: str
    segments: Segments
    index: int
    n: int
    pass_index: int = 0


@dataclass(frozen=True)
class RequestScores:
    """Request the score of each thinking. The reply holds one number per thinking, None if it has no valid score. With
    `draft_first` the first of them is the draft z(0)."""

    pair_id: str
    thinkings: tuple[Segments, ...]
    draft_first: bool = False


@dataclass(frozen=True)
class RequestDrafts:
    """Request `n` drafts of a pair in addition to z(0), numbered from `first` on. The reply holds n starts."""

    pair_id: str
    n: int
    first: int = 1


SearchRequest = RequestRewrites | RequestScores | RequestDrafts


@dataclass(frozen=True)
class SearchReply:
    """The reply to a request; only the field of the request's kind is filled."""

    candidates: Sequence[Candidate] = ()
    scores: Sequence[float | None] = ()
    starts: Sequence[Start] = ()


Search = Generator[SearchRequest, SearchReply, Refinement]


def request_rewrites(request: RequestRewrites) -> Generator[SearchRequest, SearchReply, Sequence[Candidate]]:
    """Request rewrites."""
    reply = yield request
    return _complete(reply.candidates, request.n, request)


def request_scores(request: RequestScores) -> Generator[SearchRequest, SearchReply, Sequence[float | None]]:
    """Request scores."""
    reply = yield request
    return _complete(reply.scores, len(request.thinkings), request)


def request_drafts(request: RequestDrafts) -> Generator[SearchRequest, SearchReply, Sequence[Start]]:
    """Request further drafts."""
    reply = yield request
    return _complete(reply.starts, request.n, request)


def _complete(items: Sequence[Item], expected: int, request: SearchRequest) -> Sequence[Item]:
    if len(items) != expected:
        kind = type(request).__name__
        raise ValueError(f"pair {request.pair_id}: {kind} got {len(items)} replies, wants {expected}; fix its handler")
    return items


class Unscorable(ValueError):
    """The draft has no valid score, so no rewrite can be compared with it."""


@dataclass(frozen=True)
class SearchBudget:
    """The most a search does for one pair: number of starts, edits per start, and candidates per edit. With `like`
    the further starts have about as many tokens as the rewrites of that search, which runs too."""

    starts: int
    edits: int
    candidates: int
    like: SearchBudget | None = None


@runtime_checkable
class SearchMethod(Protocol):
    """A choice of `search=`."""

    def steps(self, pair_id: str, draft: Segments) -> Search:
        """The search from `draft` as a generator. Raises Unscorable if the draft has no valid score."""
        ...

    def rescaled(self, score_from_nats: Callable[[float], float], noise: float) -> SearchMethod:
        """The same search with its threshold converted from nats to the unit of the score. Score differences up to
        `noise` count as ties."""
        ...

    def budget(self) -> SearchBudget:
        """The upper bounds of one search."""
        ...


@dataclass(frozen=True, kw_only=True)
class SegmentSearch:
    """REER's released algorithm (paper.md §1.5): left to right over the segments, a candidate replaces its segment only
    if it lowers the score of the thinking.

    `max_edits=0` scores z(0) and leaves it unchanged: the control without search.
    """

    max_edits: NonNegativeInt
    """Number of segments that may be edited in each pass, from the first one on."""
    n_candidates: PositiveInt
    """Rewrites requested for each edit."""
    threshold: FiniteFloat
    """The search stops once the score is below it, in nats per token."""
    passes: PositiveInt = 1
    """Passes over the segments; a pass without a change is the last."""
    min_gain: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """A candidate must lower the score by more than this, in the unit of the score."""
    noise_floor: bool = True
    """A candidate must also lower the score by more than the scorer's noise; in the released code any lower score
    wins."""

    def rescaled(self, score_from_nats: Callable[[float], float], noise: float) -> SegmentSearch:
        floor = noise if self.noise_floor else 0.0
        return replace(self, threshold=score_from_nats(self.threshold), min_gain=max(self.min_gain, floor))

    def budget(self) -> SearchBudget:
        return SearchBudget(1, self.max_edits * self.passes, self.n_candidates)

    def steps(self, pair_id: str, draft: Segments) -> Search:
        (draft_score,) = yield from request_scores(RequestScores(pair_id, (draft,), draft_first=True))
        return (yield from self.improve(pair_id, draft, _valid(pair_id, draft_score)))

    def improve(self, pair_id: str, draft: Segments, draft_score: float) -> Search:
        """The search from a draft with a known score."""
        segments, best, edits = draft, draft_score, list[Edit]()
        for pass_index in range(self.passes):
            for index in range(min(self.max_edits, len(draft))):
                if self._reached(best):
                    break
                edit = yield from self._edit(pair_id, segments, index, pass_index, best)
                if edit.chosen is not None:
                    segments = _replaced(segments, index, edit.candidates[edit.chosen].text)
                edits.append(edit)
                best = edit.score
            if all(edit.chosen is None for edit in edits if edit.pass_index == pass_index):
                break
        return Refinement(
            pair_id=pair_id,
            draft=draft,
            segments=segments,
            draft_score=draft_score,
            score=best,
            edits=tuple(edits),
            stopped=self._stopped(draft, edits, best),
        )

    def _edit(
        self, pair_id: str, segments: Segments, index: int, pass_index: int, incumbent: float
    ) -> Generator[SearchRequest, SearchReply, Edit]:
        """Request candidates for one segment and their scores; `incumbent` is the score of the current segments."""
        proposed = yield from request_rewrites(
            RequestRewrites(pair_id=pair_id, segments=segments, index=index, n=self.n_candidates, pass_index=pass_index)
        )
        usable = [i for i, candidate in enumerate(proposed) if candidate.lost is None]
        thinkings = tuple(_replaced(segments, index, proposed[i].text) for i in usable)
        scores = (yield from request_scores(RequestScores(pair_id, thinkings))) if thinkings else ()
        candidates = _scored(proposed, dict(zip(usable, scores, strict=True)))
        chosen = self._choose(candidates, incumbent, (pair_id, index, pass_index))
        after = None if chosen is None else candidates[chosen].score
        return Edit(
            index=index,
            candidates=candidates,
            chosen=chosen,
            score=incumbent if after is None else after,
            pass_index=pass_index,
        )

    def _choose(self, candidates: Sequence[Candidate], incumbent: float, key: tuple[object, ...]) -> int | None:
        """The candidate with the lowest score, if it is more than `min_gain` below the incumbent's; the first of
        equals. None keeps the segment."""
        bar = incumbent - self.min_gain
        better = [(c.score, i) for i, c in enumerate(candidates) if c.score is not None and c.score < bar]
        return min(better)[1] if better else None

    def _reached(self, best: float) -> bool:
        """True if the score is low enough to stop."""
        return best < self.threshold

    def _stopped(self, draft: Segments, edits: Sequence[Edit], best: float) -> Stopped:
        if self._reached(best):
            return "threshold"
        if edits and all(c.score is None for edit in edits for c in edit.candidates):
            return "degenerate"
        return "budget" if len(draft) > self.max_edits else "exhausted"


@dataclass(frozen=True, kw_only=True)
class RandomSearch(SegmentSearch):
    """The same edits with a random choice among the usable candidates and the current segment: the control that shows
    whether choosing by score matters. Scores decide nothing, so it never stops early, and its score may rise."""

    threshold: FiniteFloat = 0.0
    seed: int = 0
    """Seed of the choices."""

    def __post_init__(self) -> None:
        if self.threshold or self.min_gain or not self.noise_floor:
            raise InputError(
                f"search: scores decide nothing in a random search, got threshold {self.threshold:g}, min_gain "
                f"{self.min_gain:g} and noise_floor {self.noise_floor}; leave them out"
            )

    def rescaled(self, score_from_nats: Callable[[float], float], noise: float) -> RandomSearch:
        return self

    def _choose(self, candidates: Sequence[Candidate], incumbent: float, key: tuple[object, ...]) -> int | None:
        usable = [i for i, candidate in enumerate(candidates) if candidate.score is not None]
        draw = item_seed(self.seed, "lot", *key) % (len(usable) + 1)  # the text is part of the seed: never change it
        return None if draw == len(usable) else usable[draw]

    def _reached(self, best: float) -> bool:
        return False


@dataclass(frozen=True)
class MultiStart:
    """Several drafts of one pair, each refined by `search`; the result with the lowest score wins and all are kept."""

    starts: Annotated[int, Field(ge=2)]
    """Number of drafts including z(0), at least 2; for one start use search=iterative."""
    search: SegmentSearch
    """The search from each start."""

    def rescaled(self, score_from_nats: Callable[[float], float], noise: float) -> MultiStart:
        return replace(self, search=self.search.rescaled(score_from_nats, noise))

    def budget(self) -> SearchBudget:
        return replace(self.search.budget(), starts=self.starts)

    def steps(self, pair_id: str, draft: Segments) -> Search:
        further = yield from request_drafts(RequestDrafts(pair_id, self.starts - 1))
        usable = [start for start in further if start.lost is None]
        thinkings = (draft, *(start.segments for start in usable))
        scores = yield from request_scores(RequestScores(pair_id, thinkings, draft_first=True))
        first = yield from self.search.improve(pair_id, draft, _valid(pair_id, scores[0]))
        return (yield from _lowest(self.search, first, further, scores[1:]))


@dataclass(frozen=True, kw_only=True)
class BestOfN:
    """Drafts without edits for the tokens of a search: the draft with the lowest score wins and all are kept.

    The search by `like` runs first, for the number of tokens that it generates for the pair; where an arm has run it,
    its calls are replayed. Drafts are then added as long as they bring the sum of their tokens nearer to that number;
    the one that does not is not used, so that neither side has the larger budget on average.
    """

    like: SegmentSearch
    """The search whose budget each pair gets."""
    max_drafts: Annotated[int, Field(ge=2)]
    """Number of drafts at most, including z(0)."""

    def rescaled(self, score_from_nats: Callable[[float], float], noise: float) -> BestOfN:
        return replace(self, like=self.like.rescaled(score_from_nats, noise))

    def budget(self) -> SearchBudget:
        like = self.like.budget()
        return SearchBudget(self.max_drafts, 0, like.candidates, like)

    def steps(self, pair_id: str, draft: Segments) -> Search:
        searched = yield from self.like.steps(pair_id, draft)
        further = yield from self._drafts(pair_id, searched.tokens)
        thinkings = tuple(start.segments for start in further if start.lost is None)
        scores = (yield from request_scores(RequestScores(pair_id, thinkings))) if thinkings else ()
        unedited = replace(self.like, max_edits=0)
        first = yield from unedited.improve(pair_id, draft, searched.draft_score)
        best = yield from _lowest(unedited, first, further, scores)
        return replace(best, start_tokens=sum(start.tokens for start in further) - best.tokens)  # those of lost drafts

    def _drafts(self, pair_id: str, tokens: int) -> Generator[SearchRequest, SearchReply, list[Start]]:
        """Further drafts with about this many tokens in all."""
        starts, missing = list[Start](), tokens
        for number in range(1, self.max_drafts):
            (start,) = yield from request_drafts(RequestDrafts(pair_id, 1, first=number))
            if abs(missing - start.tokens) > missing:
                break
            starts.append(start)
            missing -= start.tokens
            if missing <= 0:
                break
        return starts


def _lowest(
    search: SegmentSearch, first: Refinement, further: Sequence[Start], scores: Sequence[float | None]
) -> Search:
    """The run with the lowest score, of the first one and of those from further drafts; `scores` are those of the
    drafts that can be used. A later run must be more than `min_gain` better than an earlier one."""
    runs, usable = [first], [start for start in further if start.lost is None]
    lost: list[Lost] = [start.lost for start in further if start.lost]
    for start, score in zip(usable, scores, strict=True):
        if score is None or not math.isfinite(score):
            lost.append("no_valid_score")
            continue
        run = yield from search.improve(first.pair_id, start.segments, score)
        runs.append(replace(run, start_tokens=start.tokens))
    best = first
    for run in runs[1:]:
        best = run if run.score < best.score - search.min_gain else best
    return replace(
        first,
        segments=best.segments,
        score=best.score,
        edits=(),
        stopped=best.stopped,
        runs=tuple(runs),
        lost_starts=tuple(lost),
    )


def _valid(pair_id: str, score: float | None) -> float:
    if score is None or not math.isfinite(score):
        raise Unscorable(f"pair {pair_id}: the score of the draft is {score}, not a finite number")
    return score


def _replaced(segments: Segments, index: int, text: str) -> Segments:
    return (*segments[:index], text, *segments[index + 1 :])


def _scored(candidates: Sequence[Candidate], scores: Mapping[int, float | None]) -> tuple[Candidate, ...]:
    """Candidates with their scores; NaN, infinite and missing scores make a candidate lost."""
    scored = list(candidates)
    for i, value in scores.items():
        valid = value is not None and math.isfinite(value)
        scored[i] = replace(candidates[i], score=value) if valid else replace(candidates[i], lost="no_valid_score")
    return tuple(scored)
