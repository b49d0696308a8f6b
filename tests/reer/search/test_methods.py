"""The search: it never worsens, spends what it may, and is the same at any width."""

import math
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reer.errors import InputError
from reer.search.driver import Failure, Handlers, run_searches
from reer.search.methods import (
    MultiStart,
    RandomSearch,
    RequestDrafts,
    RequestRewrites,
    RequestScores,
    SearchMethod,
    Segments,
    SegmentSearch,
)
from reer.types import Candidate, Refinement, Start

relaxed = settings(deadline=None, max_examples=150)
searches = st.builds(SegmentSearch, st.integers(0, 5), st.integers(1, 4), st.sampled_from([-1.0, 0.3, 0.6]))
INVALID = [None, math.nan, math.inf, -math.inf]


class World:
    """Proposals and scores that depend on nothing but the seed and what is asked; it counts what it serves."""

    def __init__(self, seed: int, invalid: float = 0.3) -> None:
        self.seed, self.invalid = seed, invalid
        self.scored: list[tuple[str, Segments]] = []

    def propose(self, needs: Sequence[RequestRewrites]) -> list[list[Candidate]]:
        return [[self._candidate(need, sample) for sample in range(need.n)] for need in needs]

    def _candidate(self, need: RequestRewrites, sample: int) -> Candidate:
        draw = Random(f"{self.seed}{need.pair_id}{need.segments}{need.index}{sample}")
        return Candidate(f"new-{draw.random():.4f}", 7, None, "no_tag" if draw.random() < 0.2 else None)

    def evaluate(self, needs: Sequence[RequestScores]) -> list[list[float | None]]:
        self.scored += [(need.pair_id, thinking) for need in needs for thinking in need.thinkings]
        return [[self.score(need.pair_id, thinking) for thinking in need.thinkings] for need in needs]

    def score(self, pair_id: str, thinking: Segments) -> float | None:
        draw = Random(f"{self.seed}{pair_id}{thinking}")
        is_draft = all(segment.startswith("old") for segment in thinking)
        bad = draw.random() < self.invalid and not is_draft
        return draw.choice(INVALID) if bad else draw.choice([draw.random(), 0.0, 0.5])

    def restart(self, needs: Sequence[RequestDrafts]) -> list[list[Start]]:
        return [[self._start(need.pair_id, n) for n in range(need.n)] for need in needs]

    def _start(self, pair_id: str, number: int) -> Start:
        draw = Random(f"{self.seed}{pair_id}start{number}")
        segments = tuple(f"start{number}-{j}" for j in range(draw.randint(1, 4)))
        return Start(segments, 50, "draft_too_short" if draw.random() < 0.2 else None)

    def servers(self) -> Handlers:
        return Handlers(self.propose, self.evaluate, self.restart)

    def run(self, search: SearchMethod, sizes: Sequence[int], width: int = 3) -> dict[str, Refinement | Failure]:
        drafts = {f"p{i}": tuple(f"old{j}" for j in range(size)) for i, size in enumerate(sizes)}
        steps = {id: search.steps(id, draft) for id, draft in drafts.items()}
        return run_searches(steps, self.servers(), width, lambda _: None)


def one(world: World, search: SearchMethod, size: int) -> Refinement:
    result = world.run(search, [size])["p0"]
    assert isinstance(result, Refinement)
    return result


class Table(World):
    """A world whose scores are written down: by the text of the thinking, joined."""

    def __init__(self, scores: dict[str, float | None], proposals: Sequence[Candidate] = ()) -> None:
        super().__init__(0)
        self.table, self.proposals = scores, proposals

    def propose(self, needs: Sequence[RequestRewrites]) -> list[list[Candidate]]:
        return [list(self.proposals) for _ in needs]

    def score(self, pair_id: str, thinking: Segments) -> float | None:
        return self.table[" ".join(thinking)]


def proposals(*texts: str) -> list[Candidate]:
    return [Candidate(text, 1, None, None) for text in texts]


@relaxed
@given(st.integers(), searches, st.integers(1, 6))
def test_the_search_never_worsens_and_its_score_is_that_of_its_segments(
    seed: int, search: SegmentSearch, size: int
) -> None:
    world = World(seed)
    result = one(world, search, size)
    assert result.score <= result.draft_score
    assert result.score == world.score("p0", result.segments)
    assert [edit.score for edit in result.edits] == sorted((edit.score for edit in result.edits), reverse=True)


@relaxed
@given(st.integers(), searches, st.integers(1, 6))
def test_it_scores_at_most_the_draft_and_every_candidate_of_every_edit(
    seed: int, search: SegmentSearch, size: int
) -> None:
    world = World(seed)
    result = one(world, search, size)
    assert len(world.scored) <= 1 + len(result.edits) * search.n_candidates
    assert len(result.edits) <= min(search.max_edits, size)


@relaxed
@given(st.integers(), searches, st.integers(1, 6))
def test_segments_that_no_edit_won_are_unchanged(seed: int, search: SegmentSearch, size: int) -> None:
    result = one(World(seed), search, size)
    won = {edit.index: edit.candidates[edit.chosen].text for edit in result.edits if edit.chosen is not None}
    assert result.segments == tuple(won.get(i, text) for i, text in enumerate(result.draft))


@relaxed
@given(st.integers(), searches, st.integers(1, 6))
def test_every_candidate_is_recorded_with_a_finite_score_or_a_reason(
    seed: int, search: SegmentSearch, size: int
) -> None:
    for edit in one(World(seed, invalid=0.6), search, size).edits:
        assert len(edit.candidates) == search.n_candidates
        for candidate in edit.candidates:
            assert (candidate.score is None) == (candidate.lost is not None)
            assert candidate.score is None or math.isfinite(candidate.score)
        assert edit.chosen is None or edit.candidates[edit.chosen].score == edit.score


@relaxed
@given(st.integers(), searches, st.lists(st.integers(1, 5), min_size=1, max_size=7), st.integers(1, 9))
def test_any_width_gives_the_same_results_in_the_same_order(
    seed: int, search: SegmentSearch, sizes: list[int], width: int
) -> None:
    alone, together = World(seed).run(search, sizes, width=1), World(seed).run(search, sizes, width=width)
    assert list(together.items()) == list(alone.items()) == [(f"p{i}", alone[f"p{i}"]) for i in range(len(sizes))]


@pytest.mark.parametrize("invalid", INVALID)
def test_an_invalid_score_never_wins_and_is_named(invalid: float | None) -> None:
    world = Table({"old0": 0.9, "bad": invalid, "good": 0.8}, proposals("bad", "good"))
    result = one(world, SegmentSearch(1, 2, 0.0), 1)
    assert result.segments == ("good",)
    assert [c.lost for c in result.edits[0].candidates] == ["no_valid_score", None]


def test_a_tie_keeps_the_incumbent() -> None:
    result = one(Table({"old0": 0.5, "same": 0.5}, proposals("same")), SegmentSearch(1, 1, 0.0), 1)
    assert result.segments == ("old0",)
    assert result.edits[0].chosen is None


def test_the_first_of_equal_candidates_wins() -> None:
    result = one(Table({"old0": 0.5, "a": 0.4, "b": 0.4}, proposals("a", "b")), SegmentSearch(1, 2, 0.0), 1)
    assert result.segments == ("a",)


def test_a_score_of_zero_is_a_score() -> None:
    result = one(Table({"old0": 0.5, "perfect": 0.0}, proposals("perfect")), SegmentSearch(1, 1, -1.0), 1)
    assert (result.segments, result.score) == (("perfect",), 0.0)


def test_lost_candidates_are_kept_and_never_scored() -> None:
    world = Table({"old0": 0.5}, [Candidate("", 3, None, "no_tag"), Candidate("x", 3, None, "too_long")])
    result = one(world, SegmentSearch(1, 2, 0.0), 1)
    assert world.scored == [("p0", ("old0",))]
    assert [c.lost for c in result.edits[0].candidates] == ["no_tag", "too_long"]


@pytest.mark.parametrize(
    ("size", "max_edits", "best", "stopped", "edits"),
    [
        (3, 3, 0.9, "exhausted", 3),
        (3, 5, 0.9, "exhausted", 3),
        (3, 2, 0.9, "budget", 2),
        (3, 0, 0.9, "budget", 0),
        (3, 3, 0.25, "exhausted", 3),
        (3, 3, 0.1, "threshold", 0),
        (1, 0, 0.1, "threshold", 0),
    ],
)
def test_why_a_search_stopped(size: int, max_edits: int, best: float, stopped: str, edits: int) -> None:
    world = World(0, invalid=0.0)
    world.propose = lambda needs: [proposals("worse") for _ in needs]  # type: ignore[method-assign]
    world.score = lambda pair_id, thinking: 1.0 if "worse" in thinking else best  # type: ignore[method-assign]
    result = one(world, SegmentSearch(max_edits, 1, 0.25), size)
    assert (result.stopped, len(result.edits)) == (stopped, edits)


@pytest.mark.parametrize("candidate", [Candidate("", 1, None, "no_tag"), Candidate("unscorable", 1, None, None)])
def test_a_search_without_one_usable_candidate_is_degenerate(candidate: Candidate) -> None:
    result = one(Table({"old0": 0.9, "unscorable": math.nan}, [candidate]), SegmentSearch(1, 1, 0.25), 1)
    assert (result.stopped, result.segments) == ("degenerate", ("old0",))


def test_the_threshold_ends_a_search_after_the_edit_that_reaches_it() -> None:
    result = one(Table({"old0 old1": 0.9, "x old1": 0.2}, proposals("x")), SegmentSearch(2, 1, 0.25), 2)
    assert (result.stopped, len(result.edits), result.score) == ("threshold", 1, 0.2)


def test_without_edits_the_draft_is_scored_and_left_alone() -> None:
    world = World(1)
    result = one(world, SegmentSearch(0, 2, 0.0), 4)
    assert result.segments == result.draft
    assert (len(world.scored), result.edits, result.score) == (1, (), result.draft_score)


@pytest.mark.parametrize("invalid", INVALID)
def test_a_draft_without_a_score_fails_alone(invalid: float | None) -> None:
    world = Table({"old0": invalid, "old0 old1": 0.5}, [Candidate("", 1, None, "empty")])
    results = world.run(SegmentSearch(1, 1, 0.0), [1, 2, 1])
    assert results["p0"] == Failure("p0", "draft_unscorable")
    assert isinstance(results["p2"], Failure)
    assert isinstance(results["p1"], Refinement)


def test_needs_of_one_kind_are_served_together_up_to_the_width() -> None:
    sizes: list[int] = []
    world = World(3, invalid=0.0)
    drafts = {f"p{i}": ("old0", "old1") for i in range(10)}

    def evaluate(needs: Sequence[RequestScores]) -> list[list[float | None]]:
        sizes.append(len(needs))
        return world.evaluate(needs)

    steps = {id: SegmentSearch(2, 2, -1.0).steps(id, draft) for id, draft in drafts.items()}
    done: list[str] = []
    run_searches(steps, Handlers(world.propose, evaluate, world.restart), 4, lambda r: done.append(r.pair_id))
    assert max(sizes) == 4
    assert sorted(done) == sorted(drafts)


@pytest.mark.parametrize("bad", [(-1, 1, 0.0), (1, 0, 0.0), (1, 1, math.nan), (1, 1, math.inf)])
def test_impossible_settings_are_refused(bad: tuple[int, int, float]) -> None:
    with pytest.raises(InputError, match="search: want"):
        SegmentSearch(*bad)


@relaxed
@given(st.integers(), st.integers(1, 4), st.integers(1, 5), st.integers(2, 4))
def test_several_passes_never_worsen_and_end_when_one_changes_nothing(
    seed: int, max_edits: int, size: int, passes: int
) -> None:
    result = one(World(seed), SegmentSearch(max_edits, 2, -1.0, passes=passes), size)
    per_pass = min(max_edits, size)
    turns = [[edit for edit in result.edits if edit.turn == turn] for turn in range(passes)]
    made = [turn for turn in turns if turn]
    assert all(len(turn) == per_pass for turn in made)
    assert all(any(edit.chosen is not None for edit in turn) for turn in made[:-1])
    assert len(made) == passes or all(edit.chosen is None for edit in made[-1])
    assert [edit.score for edit in result.edits] == sorted((edit.score for edit in result.edits), reverse=True)


def test_a_second_pass_is_asked_for_as_such() -> None:
    world, turns = Table({"old0": 0.9, "x": 0.5}, proposals("x")), list[int]()
    serve = world.propose
    world.propose = lambda needs: turns.extend(n.turn for n in needs) or serve(needs)  # type: ignore[method-assign]
    one(world, SegmentSearch(1, 1, 0.0, passes=3), 1)
    assert turns == [0, 1]


@relaxed
@given(st.integers(), st.integers(1, 5), st.integers(1, 6))
def test_chance_makes_every_edit_and_takes_any_usable_rewrite(seed: int, max_edits: int, size: int) -> None:
    world = World(seed)
    result = one(world, RandomSearch(max_edits, 3, 10.0), size)
    assert len(result.edits) == min(max_edits, size), "no threshold ends it"
    assert result.score == world.score("p0", result.segments)
    assert all(e.candidates[e.chosen].score is not None for e in result.edits if e.chosen is not None)


def test_chance_is_fair_and_repeats_itself() -> None:
    world = World(5, invalid=0.0)
    world.propose = lambda needs: [proposals("a", "b") for _ in needs]  # type: ignore[method-assign]
    runs = [world.run(RandomSearch(1, 2, 0.0, seed=1), [1] * 600) for _ in range(2)]
    assert runs[0] == runs[1]
    taken = [r.edits[0].chosen for r in runs[0].values() if isinstance(r, Refinement)]
    assert all(150 < taken.count(choice) < 250 for choice in (0, 1, None))


@relaxed
@given(st.integers(), st.integers(2, 5), st.integers(0, 3), st.integers(1, 4))
def test_several_starts_keep_every_run_and_the_lowest_wins(seed: int, starts: int, max_edits: int, size: int) -> None:
    world = World(seed)
    result = one(world, MultiStart(starts, SegmentSearch(max_edits, 2, -1.0)), size)
    assert len(result.runs) + len(result.lost_starts) == starts
    assert result.runs[0].draft == result.draft, "z(0) is one of the starts"
    assert result.score == min(run.score for run in result.runs) <= result.draft_score
    assert result.score == world.score("p0", result.segments)
    assert result.tokens == sum(run.tokens for run in result.runs)
    assert len(result.trace()) == sum(len(run.edits) for run in result.runs)


def test_best_of_n_generates_drafts_and_nothing_else() -> None:
    world = Table({"old0": 0.9, "better": 0.4, "worse": 1.2})
    made = [Start(("better",), 30, None), Start((), 2, "draft_too_short"), Start(("worse",), 40, None)]
    world.restart = lambda needs: [made for _ in needs]  # type: ignore[method-assign]
    result = one(world, MultiStart(4, SegmentSearch(0, 2, 0.25)), 1)
    assert (result.segments, result.score, result.draft_score) == (("better",), 0.4, 0.9)
    assert (result.lost_starts, result.tokens, result.trace()) == (("draft_too_short",), 70, ())


def test_a_gain_within_the_noise_is_none() -> None:
    world = Table({"old0": 0.5, "a": 0.4999, "b": 0.45}, proposals("a"))
    quiet = SegmentSearch(1, 1, 0.0)
    assert one(world, quiet, 1).segments == ("a",)
    assert one(world, quiet.rescaled(lambda nats: nats, noise=0.001), 1).segments == ("old0",)
    world.proposals = proposals("b")
    assert one(world, quiet.rescaled(lambda nats: nats, noise=0.001), 1).segments == ("b",)


def test_a_threshold_is_given_in_nats_and_compared_in_the_scores_unit() -> None:
    assert SegmentSearch(1, 1, 0.25).rescaled(math.exp, 0.0).threshold == math.exp(0.25)
    assert MultiStart(2, SegmentSearch(1, 1, 0.25)).rescaled(math.exp, 0.5).search.min_gain == 0.5


def test_one_start_is_no_multi_start() -> None:
    with pytest.raises(InputError, match="starts >= 2"):
        MultiStart(1, SegmentSearch(1, 1, 0.0))
