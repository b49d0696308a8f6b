"""The browser of prompts: differences over seeds, order, verdicts, and texts that are cut."""

import pytest

from evals.benchmark import Response, Verdict
from experiments.report.page.items import (
    CHARACTERS,
    SHORTEST,
    TEXTS,
    Answered,
    Space,
    answer_view,
    change_of,
    first_scores,
    shown,
    space_for,
)

SCORES = {"a": 4.0, "b": None}


def answered(arm: str, seed: int, scores: dict[str, float | None], **texts: str) -> Answered:
    verdict = Verdict(item_id="a", criterion="quality", scores={"quality": 4.0}, reply="good", why=None, attempts=1)
    unread = Verdict(item_id="b", criterion="quality", scores=None, reply="eight", why="no number", attempts=1)
    responses = {name: Response.read(name, texts.get(name, "text"), False, 7) for name in scores}
    return Answered(arm, seed, responses, {"a": (verdict,), "b": (unread,)}, scores, "quality")


def test_a_difference_is_over_the_seeds_that_both_have() -> None:
    baseline = [answered("full", seed, {"a": 4.0 + seed}) for seed in (0, 1)]
    arm = [answered("arm", seed, {"a": 6.0}) for seed in (1, 2)]
    assert change_of(arm, baseline, "a") == 1.0


@pytest.mark.parametrize(
    ("here", "there"), [({"b": None}, {"b": 3.0}), ({"b": 3.0}, {"b": None}), ({"b": 3.0}, {"a": 3.0})]
)
def test_an_unscored_item_has_no_difference(here: dict[str, float | None], there: dict[str, float | None]) -> None:
    assert change_of([answered("arm", 0, here)], [answered("full", 0, there)], "b") is None


def test_an_answer_stands_with_its_score_verdict_and_thinking() -> None:
    run = answered("arm", 0, SCORES, a="<think>first</think>then")
    view = answer_view(run, 1, run.responses["a"], [answered("full", 0, {"a": 3.0})], limit=100)
    assert (view.score, view.change, view.thinking, view.answer) == ("4", "+1", "first", "then")
    assert (view.verdict, view.notes) == ("quality 4: good", "7 tokens")


def test_a_verdict_that_could_not_be_read_says_why() -> None:
    run = answered("arm", 0, SCORES)
    view = answer_view(run, 1, run.responses["b"], [], limit=100)
    assert (view.score, view.change, view.verdict) == ("unscored", "", "no verdict, no number: eight")


def test_a_text_that_is_cut_says_how_much_is_missing() -> None:
    assert shown("  abc ", 3) == "abc"
    assert shown("abcdef", 4) == "abcd … [2 more characters]"


def test_all_answers_of_three_seeds_at_laptop_scale_are_whole() -> None:
    space = space_for(6 * 3 * 14, (0, 1, 2))
    assert space.seeds == (0, 1, 2)
    assert space.characters > 1_500


def test_of_too_many_answers_those_of_the_first_seed_are_shown_and_cut() -> None:
    most = CHARACTERS // TEXTS // SHORTEST
    assert space_for(most, (0, 1, 2)) == Space(SHORTEST, (0, 1, 2))
    assert space_for(most + 3, (0, 1, 2)).seeds == (0,)
    assert space_for(10**9, (0, 1, 2)) == Space(SHORTEST, (0,))


def test_an_item_has_the_score_of_the_first_measure_that_covers_it() -> None:
    table = {"qa": {"a": 1.0}, "all": {"a": 2.0, "b": 3.0}, "length": {"a": 4.0, "b": 5.0}}
    assert first_scores(table) == (["qa", "all"], {"a": 1.0, "b": 3.0})
    assert first_scores({}) == ([], {})
