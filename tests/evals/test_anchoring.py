"""How far a thinking leans on its solution, in numbers that can be checked by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.anchoring import WordWeights, lexical_recall, surprisal_gap, surprisal_removed

WEIGHTS = WordWeights.of(["the boat sinks", "the cat sleeps", "the end"])
texts = st.lists(st.sampled_from(["the", "boat", "sinks", "cat", "sleeps", "end"]), max_size=6).map(" ".join)


def test_a_rare_word_weighs_more_than_one_of_every_text() -> None:
    assert WEIGHTS["the"] == 1 < WEIGHTS["boat"] < WEIGHTS["never seen"]


def test_recall_is_the_weighted_share_of_the_solutions_own_words() -> None:
    rare, common = WEIGHTS["boat"], WEIGHTS["the"]
    assert lexical_recall("A boat!", "q", "The boat", WEIGHTS) == pytest.approx(rare / (rare + common))
    assert lexical_recall("A boat!", "the boat?", "The boat", WEIGHTS) is None, "words of the query say nothing"


@given(texts, texts)
def test_recall_is_zero_without_a_common_word_and_one_for_the_solution_itself(thinking: str, solution: str) -> None:
    recall = lexical_recall(thinking, "", solution, WEIGHTS)
    if recall is not None:
        assert 0 <= recall <= 1
        assert lexical_recall(solution, "", solution, WEIGHTS) == 1
        assert (recall > 0) == bool(set(thinking.split()) & set(solution.split()))


def test_surprisal_is_removed_in_part_in_full_or_added_to() -> None:
    assert surprisal_removed((2.0, 2.0), (1.0, 2.0)) == 0.25
    assert surprisal_removed((2.0,), (0.0,)) == 1
    assert surprisal_removed((2.0,), (3.0,)) == -0.5
    assert math.isclose(surprisal_gap((3.0, 3.0), (1.0, 2.0)), 1.5)
