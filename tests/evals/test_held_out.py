"""How a held-out text is put to a trained model, and what is made of the nats of its tokens."""

from collections.abc import Sequence

import pytest

from evals.answering import OPENED, Turn
from evals.held_out import HeldOutText, TextScores, table_of, text_measures, thoughts
from reer.models.protocols import Completion, Sampling, StopReason
from reer.types import Message

TEXTS = [HeldOutText(f"t{n}", f"Write of {n}.", f"Text {n}.", f"row {n}") for n in range(3)]


def completion(text: str, stopped: StopReason = "stop") -> Completion:
    return Completion(text=text, stopped=stopped, prompt_tokens=1, tokens=len(text.split()))


class Asked:
    """A model that has these thinkings, and what it was asked."""

    def __init__(self, *thinkings: Completion) -> None:
        self.thinkings = thinkings
        self.calls: list[tuple[Sequence[Turn], Sampling]] = []

    def __call__(self, turns: Sequence[Turn], sampling: Sampling) -> Sequence[Completion]:
        self.calls.append((turns, sampling))
        return self.thinkings


def test_a_thinking_is_always_opened_and_ends_at_its_end_or_its_limit() -> None:
    ask = Asked(completion("of 0"), completion("of 1 and", "length"), completion("of 2"))
    found = thoughts(TEXTS, 5, ask)
    ((turns, sampling),) = ask.calls
    assert [turn.prefill for turn in turns] == [OPENED] * 3
    assert (sampling.max_tokens, sampling.stop) == (5, ("</think>",))
    assert [one.own.prefill for one in found] == [
        f"<think>\n{thinking}\n</think>\n\n" for thinking in ("of 0", "of 1 and", "of 2")
    ]
    assert [one.completion.stopped for one in found] == ["stop", "length", "stop"]


def test_the_other_thinking_is_that_for_another_text() -> None:
    found = thoughts(TEXTS, 5, Asked(*(completion(f"of {n}") for n in range(3))))
    others = [one.other for one in found]
    assert {other.prefill for other in others if other} == {one.own.prefill for one in found}
    assert not [one for one in found if one.other == one.own]


def test_an_only_text_has_no_other_thinking() -> None:
    (only,) = thoughts(TEXTS[:1], 5, Asked(completion("of 0")))
    assert only.other is None


def test_a_text_is_scored_after_its_query_and_the_beginning_of_the_turn() -> None:
    passage = TEXTS[1].after("<think>\nI plan.\n</think>\n\n")
    assert (passage.context.messages, passage.answer) == ((Message("user", "Write of 1."),), "Text 1.")
    assert passage.context.prefill == "<think>\nI plan.\n</think>\n\n"


def test_fit_is_what_the_own_thinking_saves_beside_another() -> None:
    scores = TextScores.of((3.0, 1.0), (1.0, 1.0), (2.0, 1.0))
    assert (scores.nll, scores.nll_own_thinking, scores.nll_other_thinking, scores.fit) == (2.0, 1.0, 1.5, 0.5)


@pytest.mark.parametrize(("own", "other"), [(None, (1.0,)), ((1.0,), None)])
def test_without_one_of_the_two_there_is_no_fit(own: tuple[float] | None, other: tuple[float] | None) -> None:
    assert TextScores.of((1.0,), own, other).fit is None


def test_a_text_without_a_score_is_counted_and_not_averaged() -> None:
    table = table_of({"a": TextScores.of((1.0,), (2.0,), (4.0,)), "b": TextScores.of((3.0,), None, None)})
    found = {measure.metric: (measure.value, measure.scored, measure.total) for measure in text_measures(table)}
    assert found == {
        "nll": (2.0, 2, 2),
        "nll_own_thinking": (2.0, 1, 2),
        "nll_other_thinking": (4.0, 1, 2),
        "fit": (2.0, 1, 2),
    }


def test_without_texts_no_measure_has_a_value() -> None:
    assert {measure.value for measure in text_measures(table_of({}))} == {None}
