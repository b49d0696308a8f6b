"""How searches are shown: curves, scores before and after, and examples by a stated rule."""

from dataclasses import replace

from experiments.report.page.search import Search, example_rows, mean_score_by_edit
from experiments.report.page.study import Shared
from reer.types import Edit, Refinement
from tests.fakes.reports import result_without_steps


def refinement(pair_id: str, draft: float, *scores: float) -> Refinement:
    edits = tuple(Edit(index=i, candidates=(), chosen=0, score=score) for i, score in enumerate(scores))
    return Refinement(
        pair_id=pair_id,
        draft=("a", "b"),
        segments=("a", "c"),
        draft_score=draft,
        score=scores[-1] if scores else draft,
        edits=edits,
        stopped="budget",
    )


def search(*rows: Refinement) -> Search:
    return Search(Shared(("full",), result_without_steps("full")), rows)


def test_a_search_that_has_ended_keeps_its_score_in_the_mean() -> None:
    found = search(refinement("p", 2.0, 1.0), refinement("q", 4.0, 3.0, 2.0))
    assert mean_score_by_edit(found) == [(0, 3.0), (1, 2.0), (2, 1.5)]


def test_a_search_with_several_starts_is_shown_by_the_start_it_chose() -> None:
    chosen = refinement("p", 2.0, 1.5, 1.0)
    whole = replace(refinement("p", 2.0), score=1.0, runs=(refinement("p", 2.0, 1.8), chosen))
    assert mean_score_by_edit(search(whole)) == [(0, 2.0), (1, 1.5), (2, 1.0)]


def test_examples_are_the_best_the_median_and_the_worst_gain() -> None:
    rows = [refinement(f"p{gain}", 10.0, 10.0 - gain) for gain in (3, 1, 5, 2, 4)]
    assert [(rule, row.pair_id) for rule, row in example_rows(rows)] == [
        ("best gain", "p5"),
        ("median gain", "p3"),
        ("worst gain", "p1"),
    ]


def test_fewer_than_three_pairs_are_shown_once_each() -> None:
    assert [row.pair_id for _, row in example_rows([refinement("p", 2.0, 1.0)])] == ["p"]
    assert example_rows([]) == []


def test_arms_that_share_a_search_are_one_label() -> None:
    labels = [Shared(arms, result_without_steps("a")).label for arms in (("a",), ("a", "b"), ("a", "b", "c"))]
    assert labels == ["a", "a and 1 other arm", "a and 2 other arms"]
