"""Worlds for searches: rewrites, scores and drafts that depend on the request alone."""

import math
from collections.abc import Sequence
from random import Random

from reer.search.driver import Failure, Handlers, run_searches
from reer.search.methods import RequestDrafts, RequestRewrites, RequestScores, SearchMethod, Segments
from reer.types import Candidate, Refinement, Start

INVALID = [None, math.nan, math.inf, -math.inf]


class World:
    """Handlers whose replies depend only on the seed and the request; `scored` lists the thinkings they scored, and
    `begins_with_draft` says of each request for scores whether its first thinking is the draft."""

    def __init__(self, seed: int, invalid: float = 0.3) -> None:
        self.seed, self.invalid = seed, invalid
        self.begins_with_draft: list[bool] = []
        self.scored: list[tuple[str, Segments]] = []

    def rewrite(self, requests: Sequence[RequestRewrites]) -> list[list[Candidate]]:
        return [[self._candidate(request, sample) for sample in range(request.n)] for request in requests]

    def _candidate(self, request: RequestRewrites, sample: int) -> Candidate:
        draw = Random(f"{self.seed}{request.pair_id}{request.segments}{request.index}{sample}")
        return Candidate(f"new-{draw.random():.4f}", 7, None, "no_tag" if draw.random() < 0.2 else None)

    def score(self, requests: Sequence[RequestScores]) -> list[list[float | None]]:
        self.scored += [(request.pair_id, thinking) for request in requests for thinking in request.thinkings]
        self.begins_with_draft += [request.draft_first for request in requests]
        return [[self.score_of(request.pair_id, thinking) for thinking in request.thinkings] for request in requests]

    def score_of(self, pair_id: str, thinking: Segments) -> float | None:
        draw = Random(f"{self.seed}{pair_id}{thinking}")
        is_draft = all(segment.startswith("old") for segment in thinking)
        bad = draw.random() < self.invalid and not is_draft
        return draw.choice(INVALID) if bad else draw.choice([draw.random(), 0.0, 0.5])

    def draft(self, requests: Sequence[RequestDrafts]) -> list[list[Start]]:
        return [[self._start(r.pair_id, r.first - 1 + n) for n in range(r.n)] for r in requests]

    def _start(self, pair_id: str, number: int) -> Start:
        draw = Random(f"{self.seed}{pair_id}start{number}")
        segments = tuple(f"start{number}-{j}" for j in range(draw.randint(1, 4)))
        return Start(segments, 50, "draft_too_short" if draw.random() < 0.2 else None)

    def run(self, search: SearchMethod, sizes: Sequence[int], width: int = 3) -> dict[str, Refinement | Failure]:
        drafts = {f"p{i}": tuple(f"old{j}" for j in range(size)) for i, size in enumerate(sizes)}
        steps = {pair_id: search.steps(pair_id, draft) for pair_id, draft in drafts.items()}
        handlers = Handlers(rewrite=self.rewrite, score=self.score, draft=self.draft)
        return run_searches(steps, handlers, width, lambda _: None)


def one(world: World, search: SearchMethod, size: int) -> Refinement:
    result = world.run(search, [size])["p0"]
    assert isinstance(result, Refinement)
    return result


class Table(World):
    """Handlers with a table of scores by the joined text of the thinking, and fixed candidates and starts. `passes`
    lists the pass of each request for rewrites."""

    def __init__(
        self,
        scores: dict[str, float | None],
        candidates: Sequence[Candidate] = (),
        starts: Sequence[Start] = (),
    ) -> None:
        super().__init__(0)
        self.table, self.candidates, self.starts = scores, candidates, starts
        self.passes: list[int] = []

    def rewrite(self, requests: Sequence[RequestRewrites]) -> list[list[Candidate]]:
        self.passes += [request.pass_index for request in requests]
        return [list(self.candidates) for _ in requests]

    def score_of(self, pair_id: str, thinking: Segments) -> float | None:
        return self.table[" ".join(thinking)]

    def draft(self, requests: Sequence[RequestDrafts]) -> list[list[Start]]:
        return [list(self.starts) for _ in requests]


class Constant(Table):
    """Fixed candidates; a thinking has the score `other` if one of its segments is a candidate, else `best`."""

    def __init__(self, candidates: Sequence[Candidate], best: float, other: float) -> None:
        super().__init__({}, candidates)
        self.best, self.other = best, other

    def score_of(self, pair_id: str, thinking: Segments) -> float | None:
        return self.other if {candidate.text for candidate in self.candidates} & {*thinking} else self.best


def rewrites(*texts: str) -> list[Candidate]:
    return [Candidate(text, 1, None, None) for text in texts]
