"""The search never raises the score, keeps to its budget, and has the same results at any width."""

import math
from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reer.errors import InputError
from reer.search.driver import Failure, Handlers, run_searches
from reer.search.methods import (
    BestOfN,
    MultiStart,
    RandomSearch,
    RequestDrafts,
    RequestScores,
    SearchMethod,
    SearchReply,
    SegmentSearch,
    Unscorable,
)
from reer.types import LOST, STOPPED, Candidate, Lost, Refinement, Start, Stopped
from tests.fakes.fields import assert_field_refuses
from tests.fakes.search_worlds import INVALID, Constant, Table, World, one, rewrites

relaxed = settings(deadline=None, max_examples=150)
searches = st.builds(
    SegmentSearch,
    max_edits=st.integers(0, 5),
    n_candidates=st.integers(1, 4),
    threshold=st.sampled_from([-1.0, 0.3, 0.6]),
)


@relaxed
@given(st.integers(), searches, st.integers(1, 6))
def test_the_search_never_raises_the_score_which_is_that_of_its_segments(
    seed: int, search: SegmentSearch, size: int
) -> None:
    world = World(seed)
    result = one(world, search, size)
    assert result.score <= result.draft_score
    assert result.score == world.score_of("p0", result.segments)
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
    world = Table({"old0": 0.9, "bad": invalid, "good": 0.8}, rewrites("bad", "good"))
    result = one(world, SegmentSearch(max_edits=1, n_candidates=2, threshold=0.0), 1)
    assert result.segments == ("good",)
    assert [c.lost for c in result.edits[0].candidates] == ["no_valid_score", None]


def test_a_tie_keeps_the_incumbent() -> None:
    result = one(
        Table({"old0": 0.5, "same": 0.5}, rewrites("same")),
        SegmentSearch(max_edits=1, n_candidates=1, threshold=0.0),
        1,
    )
    assert result.segments == ("old0",)
    assert result.edits[0].chosen is None


def test_the_first_of_equal_candidates_wins() -> None:
    result = one(
        Table({"old0": 0.5, "a": 0.4, "b": 0.4}, rewrites("a", "b")),
        SegmentSearch(max_edits=1, n_candidates=2, threshold=0.0),
        1,
    )
    assert result.segments == ("a",)


def test_a_score_of_zero_is_a_score() -> None:
    result = one(
        Table({"old0": 0.5, "perfect": 0.0}, rewrites("perfect")),
        SegmentSearch(max_edits=1, n_candidates=1, threshold=-1.0),
        1,
    )
    assert (result.segments, result.score) == (("perfect",), 0.0)


def test_lost_candidates_are_kept_and_never_scored() -> None:
    world = Table({"old0": 0.5}, [Candidate("", 3, None, "no_tag"), Candidate("x", 3, None, "too_long")])
    result = one(world, SegmentSearch(max_edits=1, n_candidates=2, threshold=0.0), 1)
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
    world = Constant(rewrites("worse"), best, 1.0)
    result = one(world, SegmentSearch(max_edits=max_edits, n_candidates=1, threshold=0.25), size)
    assert (result.stopped, len(result.edits)) == (stopped, edits)


@pytest.mark.parametrize("candidate", [Candidate("", 1, None, "no_tag"), Candidate("unscorable", 1, None, None)])
def test_a_search_without_one_usable_candidate_is_degenerate(candidate: Candidate) -> None:
    result = one(
        Table({"old0": 0.9, "unscorable": math.nan}, [candidate]),
        SegmentSearch(max_edits=1, n_candidates=1, threshold=0.25),
        1,
    )
    assert (result.stopped, result.segments) == ("degenerate", ("old0",))


def test_the_threshold_ends_a_search_after_the_edit_that_reaches_it() -> None:
    result = one(
        Table({"old0 old1": 0.9, "x old1": 0.2}, rewrites("x")),
        SegmentSearch(max_edits=2, n_candidates=1, threshold=0.25),
        2,
    )
    assert (result.stopped, len(result.edits), result.score) == ("threshold", 1, 0.2)


def test_without_edits_the_draft_is_scored_and_unchanged() -> None:
    world = World(1)
    result = one(world, SegmentSearch(max_edits=0, n_candidates=2, threshold=0.0), 4)
    assert result.segments == result.draft
    assert (len(world.scored), result.edits, result.score) == (1, (), result.draft_score)


@pytest.mark.parametrize("invalid", INVALID)
def test_a_draft_without_a_score_fails_without_affecting_others(invalid: float | None) -> None:
    world = Table({"old0": invalid, "old0 old1": 0.5}, [Candidate("", 1, None, "empty")])
    results = world.run(SegmentSearch(max_edits=1, n_candidates=1, threshold=0.0), [1, 2, 1])
    assert results["p0"] == Failure("p0", "draft_unscorable")
    assert isinstance(results["p2"], Failure)
    assert isinstance(results["p1"], Refinement)


def test_requests_of_one_kind_are_batched_up_to_the_width() -> None:
    sizes: list[int] = []
    world = World(3, invalid=0.0)
    drafts = {f"p{i}": ("old0", "old1") for i in range(10)}

    def score(requests: Sequence[RequestScores]) -> list[list[float | None]]:
        sizes.append(len(requests))
        return world.score(requests)

    steps = {
        pair_id: SegmentSearch(max_edits=2, n_candidates=2, threshold=-1.0).steps(pair_id, draft)
        for pair_id, draft in drafts.items()
    }
    done: list[str] = []
    run_searches(steps, Handlers(world.rewrite, score, world.draft), 4, lambda result: done.append(result.pair_id))
    assert max(sizes) == 4
    assert sorted(done) == sorted(drafts)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_edits", -1),
        ("n_candidates", 0),
        ("threshold", math.nan),
        ("threshold", math.inf),
        ("passes", 0),
        ("min_gain", -0.1),
        ("min_gain", math.inf),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_field(field: str, value: float) -> None:
    assert_field_refuses(SegmentSearch(max_edits=1, n_candidates=1, threshold=0.0), field, value)


def test_a_handler_that_returns_too_few_replies_is_an_error() -> None:
    with pytest.raises(ValueError, match="RequestRewrites got 1 replies, wants 2"):
        one(Table({"old0": 0.9, "a": 0.8}, rewrites("a")), SegmentSearch(max_edits=1, n_candidates=2, threshold=0.0), 1)


@relaxed
@given(st.integers(), st.integers(1, 4), st.integers(1, 5), st.integers(2, 4))
def test_several_passes_never_raise_the_score_and_end_when_one_changes_nothing(
    seed: int, max_edits: int, size: int, passes: int
) -> None:
    result = one(World(seed), SegmentSearch(max_edits=max_edits, n_candidates=2, threshold=-1.0, passes=passes), size)
    per_pass = min(max_edits, size)
    by_pass = [[edit for edit in result.edits if edit.pass_index == index] for index in range(passes)]
    made = [edits for edits in by_pass if edits]
    assert all(len(edits) == per_pass for edits in made)
    assert all(any(edit.chosen is not None for edit in edits) for edits in made[:-1])
    assert len(made) == passes or all(edit.chosen is None for edit in made[-1])
    assert [edit.score for edit in result.edits] == sorted((edit.score for edit in result.edits), reverse=True)


def test_a_request_names_its_pass() -> None:
    world = Table({"old0": 0.9, "x": 0.5}, rewrites("x"))
    one(world, SegmentSearch(max_edits=1, n_candidates=1, threshold=0.0, passes=3), 1)
    assert world.passes == [0, 1]


@relaxed
@given(st.integers(), st.integers(1, 5), st.integers(1, 6))
def test_random_search_makes_every_edit_and_takes_any_usable_rewrite(seed: int, max_edits: int, size: int) -> None:
    world = World(seed)
    result = one(world, RandomSearch(max_edits=max_edits, n_candidates=3), size)
    assert len(result.edits) == min(max_edits, size), "no threshold ends it"
    assert result.score == world.score_of("p0", result.segments)
    assert all(e.candidates[e.chosen].score is not None for e in result.edits if e.chosen is not None)


@pytest.mark.parametrize("unused", [{"threshold": 0.25}, {"min_gain": 0.1}])
def test_a_bound_of_the_score_has_no_effect_on_a_random_search_and_is_refused(unused: dict[str, float]) -> None:
    with pytest.raises(InputError, match="leave them out"):
        RandomSearch(max_edits=1, n_candidates=2, **unused)


def test_random_search_is_uniform_and_reproducible() -> None:
    world = Constant(rewrites("a", "b"), 0.5, 0.5)
    runs = [world.run(RandomSearch(max_edits=1, n_candidates=2, seed=1), [1] * 600) for _ in range(2)]
    assert runs[0] == runs[1]
    taken = [r.edits[0].chosen for r in runs[0].values() if isinstance(r, Refinement)]
    assert all(150 < taken.count(choice) < 250 for choice in (0, 1, None))


@relaxed
@given(st.integers(), st.integers(2, 5), st.integers(0, 3), st.integers(1, 4))
def test_several_starts_keep_every_run_and_the_lowest_wins(seed: int, starts: int, max_edits: int, size: int) -> None:
    world = World(seed)
    result = one(world, MultiStart(starts, SegmentSearch(max_edits=max_edits, n_candidates=2, threshold=-1.0)), size)
    assert len(result.runs) + len(result.lost_starts) == starts
    assert result.runs[0].draft == result.draft, "z(0) is one of the starts"
    assert result.score == min(run.score for run in result.runs) <= result.draft_score
    assert result.score == world.score_of("p0", result.segments)
    assert result.tokens == sum(run.tokens for run in result.runs)
    assert len(result.trace()) == sum(len(run.edits) for run in result.runs)


@pytest.mark.parametrize(
    "method",
    [
        SegmentSearch(max_edits=2, n_candidates=2, threshold=-1.0),
        MultiStart(3, SegmentSearch(max_edits=2, n_candidates=2, threshold=-1.0)),
        BestOfN(like=SegmentSearch(max_edits=2, n_candidates=2, threshold=-1.0), max_drafts=4),
        RandomSearch(max_edits=2, n_candidates=2),
    ],
)
def test_the_draft_comes_first_in_the_first_request_for_scores_and_in_no_other(method: SearchMethod) -> None:
    """The scorer reads the draft as it was generated, and a rewritten thinking as its segments are joined."""
    world = World(3, invalid=0.0)
    one(world, method, 4)
    assert world.scored[0] == ("p0", ("old0", "old1", "old2", "old3"))
    first, *others = world.begins_with_draft
    assert first
    assert others
    assert not any(others)


class Numbered(Table):
    """Handlers that hold one start for each number, from 1 on."""

    def draft(self, requests: Sequence[RequestDrafts]) -> list[list[Start]]:
        return [list(self.starts[r.first - 1 : r.first - 1 + r.n]) for r in requests]


def best_of_n(tokens_of_drafts: Sequence[int], max_drafts: int = 21) -> Refinement:
    """Best of n where the search to be equalled generates two rewrites of 30 tokens."""
    drafts = [Start((f"d{number}",), tokens, None) for number, tokens in enumerate(tokens_of_drafts)]
    scores: dict[str, float | None] = {"old0": 0.9, "a": 0.5, "b": 0.7, "d0": 0.8, "d1": 0.6, "d2": 1.2}
    world = Numbered(scores, [Candidate("a", 30, None, None), Candidate("b", 30, None, None)], drafts)
    like = SegmentSearch(max_edits=1, n_candidates=2, threshold=0.25)
    return one(world, BestOfN(like=like, max_drafts=max_drafts), 1)


@pytest.mark.parametrize(
    ("tokens_of_drafts", "spent"),
    [
        ((30, 30, 30), 60),  # exactly the tokens of the rewrites
        ((30, 50, 30), 80),  # 80 is nearer to 60 than 30 is
        ((30, 70, 30), 30),  # 100 is farther from 60 than 30 is
        ((130, 1, 1), 0),  # not even one draft is near
    ],
)
def test_best_of_n_spends_the_tokens_of_the_search_on_drafts(tokens_of_drafts: Sequence[int], spent: int) -> None:
    result = best_of_n(tokens_of_drafts)
    assert result.tokens == spent
    assert result.trace() == ()


def test_best_of_n_takes_the_draft_with_the_lowest_score() -> None:
    result = best_of_n((30, 30, 30))
    assert (result.segments, result.score, result.draft_score) == (("d1",), 0.6, 0.9)
    assert [run.segments for run in result.runs] == [("old0",), ("d0",), ("d1",)]


def test_best_of_n_counts_the_tokens_of_drafts_that_are_lost() -> None:
    lost = Start((), 25, "draft_too_short")
    scores: dict[str, float | None] = {"old0": 0.9, "a": 0.5, "d1": 0.6}
    world = Numbered(scores, [Candidate("a", 60, None, None)], [lost, Start(("d1",), 35, None)])
    result = one(world, BestOfN(like=SegmentSearch(max_edits=1, n_candidates=1, threshold=0.25), max_drafts=21), 1)
    assert (result.tokens, result.lost_starts, result.segments) == (60, ("draft_too_short",), ("d1",))


def test_best_of_n_generates_no_more_than_max_drafts() -> None:
    assert len(best_of_n((1, 1, 1), max_drafts=3).runs) == 3


def test_a_gain_within_the_noise_is_a_tie() -> None:
    world = Table({"old0": 0.5, "a": 0.4999, "b": 0.45}, rewrites("a"))
    quiet = SegmentSearch(max_edits=1, n_candidates=1, threshold=0.0)
    assert one(world, quiet, 1).segments == ("a",)
    assert one(world, quiet.rescaled(lambda nats: nats, noise=0.001), 1).segments == ("old0",)
    world.candidates = rewrites("b")
    assert one(world, quiet.rescaled(lambda nats: nats, noise=0.001), 1).segments == ("b",)


def test_a_threshold_in_nats_is_converted_to_the_unit_of_the_score() -> None:
    assert SegmentSearch(max_edits=1, n_candidates=1, threshold=0.25).rescaled(math.exp, 0.0).threshold == math.exp(
        0.25
    )
    assert (
        MultiStart(2, SegmentSearch(max_edits=1, n_candidates=1, threshold=0.25))
        .rescaled(math.exp, 0.5)
        .search.min_gain
        == 0.5
    )


def test_multi_start_wants_two_starts() -> None:
    assert_field_refuses(MultiStart(2, SegmentSearch(max_edits=1, n_candidates=1, threshold=0.0)), "starts", 1)


def test_every_code_of_an_outcome_has_a_sentence() -> None:
    assert set(STOPPED) == set(get_args(Stopped))
    assert set(LOST) == set(get_args(Lost))
    assert all(text.endswith(".") for text in (*STOPPED.values(), *LOST.values()))


def test_a_later_start_has_to_be_better_by_more_than_the_least_gain() -> None:
    search = SegmentSearch(max_edits=0, n_candidates=1, threshold=0.0, min_gain=0.1)
    starts = [Start((name,), tokens, None) for tokens, name in enumerate(("close", "better", "best"), start=30)]
    world = Table({"old0": 0.9, "close": 0.8, "better": 0.5, "best": 0.45}, starts=starts)
    result = one(world, MultiStart(4, search), 1)
    assert (result.segments, result.score, result.edits) == (("better",), 0.5, ())
    assert [run.start_tokens for run in result.runs] == [0, 30, 31, 32]


def test_a_start_without_a_valid_score_is_lost_and_the_others_count() -> None:
    starts = [Start(("nan",), 1, None), Start(("none",), 1, None), Start((), 1, "refused_by_server")]
    world = Table({"old0": 0.9, "nan": math.nan, "none": None, "low": 0.1}, starts=[*starts, Start(("low",), 1, None)])
    result = one(world, MultiStart(5, SegmentSearch(max_edits=0, n_candidates=1, threshold=0.25)), 1)
    assert result.lost_starts == ("refused_by_server", "no_valid_score", "no_valid_score")
    assert (result.segments, result.stopped) == (("low",), "threshold")
    assert [run.stopped for run in result.runs] == ["budget", "threshold"]


def test_the_larger_of_the_least_gain_and_the_noise_counts() -> None:
    search = SegmentSearch(max_edits=1, n_candidates=1, threshold=0.0, min_gain=0.2)
    assert search.rescaled(lambda nats: nats, noise=0.1).min_gain == 0.2
    assert search.rescaled(lambda nats: nats, noise=0.3).min_gain == 0.3
    assert RandomSearch(max_edits=1, n_candidates=1).rescaled(math.exp, noise=0.3).threshold == 0


def test_the_draws_of_a_random_search_never_change() -> None:
    world = Constant(rewrites("a", "b"), 0.5, 0.5)
    results = world.run(RandomSearch(max_edits=2, n_candidates=2, seed=1), [2] * 4)
    assert [[edit.chosen for edit in r.edits] for r in results.values() if isinstance(r, Refinement)] == [
        [1, None],
        [0, 1],
        [1, 0],
        [0, 0],
    ]
    default = one(world, RandomSearch(max_edits=1, n_candidates=2), 1)
    assert default.edits[0].chosen == 0


def test_what_cannot_be_searched_is_one_sentence() -> None:
    steps = SegmentSearch(max_edits=1, n_candidates=1, threshold=0.0).steps("p", ("a",))
    next(steps)
    with pytest.raises(Unscorable) as unscorable:
        steps.send(SearchReply(scores=(math.inf,)))
    assert str(unscorable.value) == "pair p: the score of the draft is inf, not a finite number"
    steps = SegmentSearch(max_edits=1, n_candidates=1, threshold=0.0).steps("p", ("a",))
    next(steps)
    with pytest.raises(ValueError, match="got 0 replies") as incomplete:
        steps.send(SearchReply())
    assert str(incomplete.value) == "pair p: RequestScores got 0 replies, wants 1; fix its handler"
    with pytest.raises(InputError) as unused:
        RandomSearch(max_edits=1, n_candidates=2, threshold=0.25, min_gain=0.1)
    assert str(unused.value) == (
        "search: scores decide nothing in a random search, got threshold 0.25, min_gain 0.1 and noise_floor True; "
        "leave them out"
    )
