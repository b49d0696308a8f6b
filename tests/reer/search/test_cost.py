"""The work of a search against sums made by hand."""

from dataclasses import replace

import pytest

from reer.search.cost import (
    TemplateTokens,
    Work,
    calls_of,
    draft_work,
    rewrite_work,
    score_work,
    search_work,
)
from reer.search.methods import BestOfN, MultiStart, RandomSearch, SearchBudget, SegmentSearch
from tests.fakes.costs import RELEASED_TEMPLATES, assumed
from tests.fakes.fields import assert_field_refuses

RELEASED = SegmentSearch(max_edits=10, n_candidates=2, threshold=0.25).budget()
PAIRS = 20_000


def test_twenty_thousand_pairs_are_the_work_that_the_published_arithmetic_says() -> None:
    """With the released prompts: 340 k scores, 1.25 B tokens scored (1.91 B if nothing were shared), 0.44 B tokens of
    rewrite prompts read (0.92 B), 0.20 B written."""
    scores = score_work(RELEASED, assumed(), RELEASED_TEMPLATES) * PAIRS
    rewrites = rewrite_work(RELEASED, assumed(), RELEASED_TEMPLATES) * PAIRS
    drafts = draft_work(assumed(), RELEASED_TEMPLATES) * PAIRS
    assert (scores.calls, rewrites.calls) == (340_000, 160_000)
    assert scores.read == pytest.approx(1.25e9, rel=0.01)
    assert scores.read_unshared == pytest.approx(1.91e9, rel=0.01)
    assert rewrites.read + drafts.read == pytest.approx(0.44e9, rel=0.05)
    assert rewrites.read_unshared + drafts.read == pytest.approx(0.92e9, rel=0.05)
    assert rewrites.written + drafts.written == pytest.approx(0.20e9, rel=0.03)


def test_the_work_of_a_small_search_is_the_sum_by_hand() -> None:
    """Three edits of four candidates. A rewrite prompt has 2 + 10 + 20 tokens, the thinking's 50 and the segment's 10
    again; from the second one on the first 32 are shared, from the third one on the edited segment too. A passage has
    3 + 10 + 50 + 20 tokens, of which a candidate shares the first 13, and the segments before its own."""
    small = replace(
        assumed(), query_tokens=10, solution_tokens=20, thinking_tokens=50, segments=5, steps=3, rewrite_tokens=5
    )
    templates, budget = TemplateTokens(draft=1, edit=2, inference=3, classify=0), SearchBudget(1, 4, 4)
    assert draft_work(small, templates) == Work(calls=1, read=31, read_unshared=31, written=50)
    rewrites = rewrite_work(budget, small, templates)
    assert rewrites == Work(calls=3, read=92 + 60 + 50, read_unshared=3 * 92, written=60)
    scores = score_work(budget, small, templates)
    assert scores == Work(calls=13, read=83 + 4 * (70 + 60 + 50), read_unshared=13 * 83)
    for edits, segments, steps in ((2, 5, 3), (4, 2, 3), (4, 5, 2)):
        limited = replace(small, segments=segments, steps=steps)
        assert rewrite_work(replace(budget, edits=edits), limited, templates).calls == 2


def test_without_edits_a_draft_is_written_and_scored_once() -> None:
    budget = SegmentSearch(max_edits=0, n_candidates=2, threshold=0.25).budget()
    assert rewrite_work(budget, assumed(), RELEASED_TEMPLATES) == Work()
    scores = score_work(budget, assumed(), RELEASED_TEMPLATES)
    assert (scores.calls, scores.read) == (1, 5600)


def test_the_budget_of_every_search_method() -> None:
    assert SegmentSearch(max_edits=10, n_candidates=2, threshold=0.25, passes=3).budget() == SearchBudget(1, 30, 2)
    assert RandomSearch(max_edits=10, n_candidates=2).budget() == SearchBudget(1, 10, 2)
    assert MultiStart(21, SegmentSearch(max_edits=0, n_candidates=2, threshold=0.25)).budget() == SearchBudget(21, 0, 2)


def test_best_of_n_writes_about_as_many_tokens_in_drafts_as_the_search_in_rewrites() -> None:
    like = SegmentSearch(max_edits=10, n_candidates=2, threshold=0.25)
    generated, scored = search_work(BestOfN(like=like, max_drafts=21).budget(), assumed(), RELEASED_TEMPLATES)
    rewrites = rewrite_work(like.budget(), assumed(), RELEASED_TEMPLATES)
    drafts = round(rewrites.written / assumed().thinking_tokens)
    assert 1 < drafts < 20
    assert generated.written == rewrites.written + drafts * assumed().thinking_tokens
    assert scored.calls == score_work(like.budget(), assumed(), RELEASED_TEMPLATES).calls + drafts


def test_each_start_of_a_search_is_drafted_refined_and_scored() -> None:
    three = MultiStart(3, SegmentSearch(max_edits=10, n_candidates=2, threshold=0.25))
    generated, scored = search_work(three.budget(), assumed(), RELEASED_TEMPLATES)
    assert generated.calls == 3 * rewrite_work(RELEASED, assumed(), RELEASED_TEMPLATES).calls + 2
    assert scored.calls == 3 * score_work(RELEASED, assumed(), RELEASED_TEMPLATES).calls


def test_work_adds_up() -> None:
    assert calls_of(2, 10.0, 3.0) + calls_of(1, 5.0) == Work(calls=3, read=25, read_unshared=25, written=6)
    assert calls_of(2, 10.0, 3.0) * 3 == calls_of(6, 10.0, 3.0)


@pytest.mark.parametrize("field", ["segments", "steps", "train_tflops", "characters_per_token"])
def test_a_length_or_rate_of_zero_is_refused_with_its_field(field: str) -> None:
    assert_field_refuses(assumed(), field, 0)
