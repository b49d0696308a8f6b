"""A model's grade of the thinking as the score of a search."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from experiments.config.parts import experiment_from
from experiments.experiment import GRADED, JudgingScorerRole
from reer.errors import InputError
from reer.models.protocols import Nats, Passage, Prompt
from reer.search.graded import GradingScorer, ThinkingGrades
from reer.types import Message, Pair
from tests.fakes.plans import compose, plan

GRADES = ThinkingGrades(prompt="Task: {{query}} Thought: {{thinking}}", prefill="grade ", grades=(1, 2, 10))
PAIR = Pair(id="p", query="Write.", solution="Done.", category="c", language="en", source="t")


class LikesPlans:
    """Grades a thinking that plans with 10, others with 1, and passages in reverse order."""

    name = "fake"

    def __init__(self) -> None:
        self.asked: list[Passage] = []

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        self.asked += passages
        for index, passage in reversed(list(enumerate(passages))):
            wanted = "10," if "plan" in passage.context.messages[-1].content else "1,"
            yield index, (0.0,) if passage.answer == wanted else (50.0, 50.0)


def passage(thinking: str) -> Passage:
    prompts = compose("scale=smoke").prompts.with_triggers(compose("scale=smoke").reflection.triggers)
    found = GRADED.passage(PAIR, (thinking,), prompts)
    assert found is not None
    return found


def test_the_score_is_what_the_expected_grade_lacks_of_the_best_one() -> None:
    model = LikesPlans()
    scorer = GradingScorer(model, GRADES)
    scores = dict(scorer.score([passage("A plan."), passage("Nothing.")]))
    assert {index: pytest.approx(nats[0] if nats else None) for index, nats in scores.items()} == {0: 0.0, 1: 9.0}
    asked = {p.context.messages[-1].content for p in model.asked}
    assert asked == {"Task: Write. Thought: A plan.", "Task: Write. Thought: Nothing."}, "without the solution"
    assert {p.answer for p in model.asked} == {"1,", "2,", "10,"}


def test_an_undecided_model_gives_the_mean_of_the_grades() -> None:
    assert GRADES.lacking([(1.0,), (1.0,), (0.5, 0.5)]) == pytest.approx(10 - 13 / 3)
    with pytest.raises(ValueError, match="shorter"):
        GRADES.lacking([(1.0,), (1.0,)])


def test_scores_are_remembered_by_the_question_that_was_asked() -> None:
    others = [{"prefill": "a grade: "}, {"prompt": "{{query}} {{thinking}}"}, {"grades": (1, 2)}, {"grades": (1, 21)}]
    names = {GradingScorer(LikesPlans(), grades).name for grades in (GRADES, *(replace(GRADES, **o) for o in others))}
    assert len(names) == 5
    assert "fake/grades-c9bd71c6b782" in names, "a recorded score is found under this name"


def test_a_thinking_of_which_one_grade_cannot_be_scored_has_no_score() -> None:
    class Lacking(LikesPlans):
        def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
            yield from ((at, None if at == 4 else nats) for at, nats in super().score(passages))

    scores = dict(GradingScorer(Lacking(), GRADES).score([passage("A plan."), passage("Nothing.")]))
    assert (scores[0], scores[1]) == ((pytest.approx(0.0),), None)


def test_a_context_without_a_thinking_is_graded_as_an_empty_one() -> None:
    model = LikesPlans()
    bare = Passage(Prompt((Message("user", "Write."),), ""), "Done.")
    assert len(list(GradingScorer(model, GRADES).score([bare]))) == 1
    assert {asked.context for asked in model.asked} == {Prompt((Message("user", "Task: Write. Thought:"),), "grade ")}


def test_grades_that_cannot_be_asked_for_are_one_sentence() -> None:
    with pytest.raises(InputError) as slots:
        replace(GRADES, prompt="{{thinking}} {{other}}")
    assert str(slots.value) == "scorer.grades.prompt: want the slots query and thinking, got other, thinking"
    for grades in ((3,), (2, 1), (1, 1, 2)):
        with pytest.raises(InputError) as wrong:
            replace(GRADES, grades=grades)
        assert str(wrong.value) == f"scorer.grades.grades: want two or more, ascending, got {list(grades)}"
    assert replace(GRADES, grades=(1, 2)).grades == (1, 2)


def test_the_choice_scores_with_the_scorers_own_model_and_refuses_what_has_no_effect() -> None:
    judge = compose("scale=smoke", "scorer=judge").scorer
    assert isinstance(judge, JudgingScorerRole)
    assert judge.model == compose("scale=smoke").scorer.model
    with pytest.raises(InputError, match="a grade has no tokens"):
        experiment_from(plan("scale=smoke", "scorer=judge", "scorer.score.wrap_in_instruction=true"))
    with pytest.raises(InputError, match="want the slots query and thinking"):
        replace(GRADES, prompt="{{query}}")
    with pytest.raises(InputError, match="ascending"):
        replace(GRADES, grades=(2, 1))
