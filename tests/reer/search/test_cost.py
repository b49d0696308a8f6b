"""The cost estimate against sums made by hand."""

import pytest

from experiments.config.compose import compose_plans
from experiments.config.parts import experiment_from
from reer.search.cost import search_cost
from reer.search.methods import MultiStart, RandomSearch, SearchBudget, SegmentSearch
from tests.fakes.costs import ASSUMED
from tests.fakes.fields import assert_field_refuses

RELEASED = SegmentSearch(max_edits=10, n_candidates=2, threshold=0.25).budget()


def test_twenty_thousand_pairs_cost_what_the_published_arithmetic_says() -> None:
    cost = search_cost(RELEASED, 20_000, ASSUMED)
    assert (cost.score_calls, cost.rewrite_calls) == (340_000, 160_000)
    assert cost.scored_tokens == pytest.approx(1.25e9, rel=0.01)
    assert cost.read_tokens == pytest.approx(0.44e9, rel=0.05)
    assert cost.written_tokens == pytest.approx(0.20e9, rel=0.03)
    assert cost.device_hours == pytest.approx(87, rel=0.03)


def test_the_paper_scale_uses_these_assumptions() -> None:
    (plan,) = compose_plans(["scale=paper"], multirun=False)
    assert experiment_from(plan).estimate == ASSUMED


def test_without_edits_a_draft_is_written_and_scored_once() -> None:
    cost = search_cost(SegmentSearch(max_edits=0, n_candidates=2, threshold=0.25).budget(), 10, ASSUMED)
    assert (cost.score_calls, cost.rewrite_calls, cost.written_tokens) == (10, 0, 22_000)
    assert cost.scored_tokens == 10 * 5600


def test_the_budget_of_every_search_method() -> None:
    assert SegmentSearch(max_edits=10, n_candidates=2, threshold=0.25, passes=3).budget() == SearchBudget(1, 30, 2)
    assert RandomSearch(max_edits=10, n_candidates=2).budget() == SearchBudget(1, 10, 2)
    assert MultiStart(21, SegmentSearch(max_edits=0, n_candidates=2, threshold=0.25)).budget() == SearchBudget(21, 0, 2)


def test_cost_grows_in_proportion_to_the_starts() -> None:
    one, three = (search_cost(SearchBudget(starts, 10, 2), 100, ASSUMED) for starts in (1, 3))
    assert three.device_hours == pytest.approx(3 * one.device_hours)


@pytest.mark.parametrize("field", ["segments", "steps", "scorer_reads_per_second", "train_tflops"])
def test_a_length_or_rate_of_zero_is_refused_with_its_field(field: str) -> None:
    assert_field_refuses(ASSUMED, field, 0)
