"""The simulated student learns the properties of its rows, and planted effects are what it makes of them."""

from dataclasses import replace

import pytest

from evals.benchmark import Item
from experiments.selftest.arms import BASELINE, REDUNDANT, RESERVE
from experiments.selftest.student import Properties, SimulatedStudent, Weights, properties
from experiments.selftest.world import planted
from reer.curation.markers import Markers
from reer.types import Message, Sample

STUDENT = SimulatedStudent(
    seed=0,
    base=0.0,
    per_unit={},
    reserve=2.0,
    training_sd=0.2,
    item_sd=1.0,
    answer_sd=0.5,
    empty_share=0.0,
    stumbles_from_epochs=3.0,
)
FULL = Properties(synthetic=0.6, fit=0.3, markers=2.0, words=1.5, literature=0.4)
LEARNT = {
    BASELINE: FULL,
    "no_synthetic_data": Properties(synthetic=0.0, fit=0.0, markers=0.0, words=0.0, literature=0.0),
    "no_iterative_search": replace(FULL, fit=0.2),
    "short_trajectories": replace(FULL, words=1.0, fit=0.28),
    REDUNDANT: replace(FULL, markers=0.0, words=1.45),
    RESERVE: replace(FULL, literature=0.0, synthetic=0.4),
}


def sample(number: int, category: str, thinking: str) -> Sample:
    messages = (Message("user", "Write."), Message("assistant", "red green blue black"))
    return Sample(
        id=str(number), messages=messages, source="s", category=category, thinking=thinking, answer=messages[1].content
    )


def test_properties_are_those_of_the_rows() -> None:
    rows = [
        sample(0, "poetry", "Wait, red and green come first."),
        sample(1, "law", "Blue it is."),
        sample(2, "reasoning", "Wait, two and two make four."),
        replace(sample(3, "law", "Wait, red."), without_thinking=True),
    ]
    learnt = properties(rows, Markers(interjections=("wait",)), literature={"poetry"})
    assert learnt == Properties(synthetic=0.75, fit=(0.5 + 0.25) / 4, markers=0.25, words=9 / 400, literature=0.25)


def test_planted_effects_are_exact_and_two_parts_that_do_for_one_another_have_none_alone() -> None:
    effects = {"no_synthetic_data": -2.0, "no_iterative_search": 0.3, "short_trajectories": 1.5}
    taught = planted(STUDENT, effects, LEARNT)
    changes = {arm: taught.quality(learnt) - taught.quality(FULL) for arm, learnt in LEARNT.items()}
    assert changes == pytest.approx({BASELINE: 0.0, **effects, REDUNDANT: 0.0, RESERVE: 0.0})
    both = replace(LEARNT[RESERVE], markers=0.0, words=1.45)
    assert taught.quality(both) - taught.quality(FULL) == pytest.approx(-2.0)
    assert taught.quality(FULL) == pytest.approx(5.5)


def test_equal_rows_recipe_and_seed_make_equal_answers_and_another_seed_others() -> None:
    item = Item(id="i", prompt="Write.", language="en", category="own", length=None)
    first, same, other = (STUDENT.trained(FULL, digest, epochs=1.0) for digest in ("a", "a", "b"))
    assert first == same != other
    assert STUDENT.answer(first, item, 1) == STUDENT.answer(same, item, 1) != STUDENT.answer(other, item, 1)


def test_many_passes_teach_the_sentence_that_the_judge_stumbles_on() -> None:
    assert STUDENT.trained(FULL, "a", epochs=3.0) == Weights(
        quality=STUDENT.trained(FULL, "a", epochs=1.0).quality, digest="a", stumbles=True
    )
