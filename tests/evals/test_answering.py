"""How a model is made to answer: what its turn begins with."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.answering import (
    BY_ITSELF,
    Answering,
    BudgetedThinking,
    SwappedThinking,
    TruncatedThinking,
    Turn,
    WithoutThinking,
)
from evals.benchmark import Item, Response
from reer.models.protocols import Completion, Sampling
from reer.text import split_thinking
from reer.training.chat_format import ChatFormat
from reer.types import Language

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=50)


def item(number: int, language: Language = "en") -> Item:
    return Item(id=f"i{number}", prompt=f"p {number}", language=language, category="c", length=None)


def own(thinkings: Sequence[str | None]) -> list[Response]:
    texts = ["answer" if t is None else f"<think>\n{t}\n</think>\n\nanswer" for t in thinkings]
    return [Response.read(f"i{n}", text, False, 3) for n, text in enumerate(texts)]


def unasked(turns: Sequence[Turn], sampling: Sampling) -> Iterable[Completion]:
    pytest.fail("the model is not asked")


def prefills(answering: Answering, thinkings: Sequence[str | None], languages: Sequence[Language] = ()) -> list[str]:
    items = [item(n, languages[n] if languages else "en") for n in range(len(thinkings))]
    return [turn.prefill for turn in answering.turns(items, own(thinkings), unasked, SAMPLING)]


def test_by_itself_nothing_is_begun_and_without_thinking_an_empty_one() -> None:
    assert prefills(BY_ITSELF, ["z", None]) == ["", ""]
    (begun,) = prefills(WithoutThinking("no_thinking"), ["z"])
    assert split_thinking(f"{begun}text") == ("", "text", True)


def test_a_thinking_is_given_in_the_form_in_which_it_is_trained() -> None:
    chat = ChatFormat(answer_tags=False, overlong="error")
    assert Turn.after("z").prefill + "y" == chat.completion("z", "y")


@pytest.mark.parametrize(("share", "kept"), [(0.25, "One two."), (0.5, "One two. Three four."), (0.2, "")])
def test_a_thinking_is_cut_to_a_share_of_its_words_at_a_sentence(share: float, kept: str) -> None:
    thinking = "One two. Three four. Five six seven eight."
    answering = TruncatedThinking("truncated", share=share)
    begun, alone = prefills(answering, [thinking, None])
    assert split_thinking(begun) == (kept, "", True)
    assert alone == "", "an item without thinking is answered by itself"


@given(st.lists(st.booleans(), min_size=2, max_size=9), st.integers(0, 5))
def test_no_item_is_given_its_own_thinking_and_each_gives_its_own_once(thinks: list[bool], seed: int) -> None:
    thinkings = [f"z{n}" if has else None for n, has in enumerate(thinks)]
    begun = prefills(SwappedThinking("swapped", seed=seed), thinkings)
    got = [split_thinking(text)[0] for text in begun]
    assert all(a is None or a != b for a, b in zip(got, thinkings, strict=True))
    assert all(a is not None for a in got) or sum(thinks) < 2
    if all(thinks):
        assert sorted(map(str, got)) == sorted(map(str, thinkings))


def test_a_thinking_is_swapped_within_its_language() -> None:
    languages: list[Language] = ["en", "zh", "en", "zh"]
    begun = prefills(SwappedThinking("swapped"), ["e0", "z1", "e2", "z3"], languages)
    assert [split_thinking(text)[0] for text in begun] == ["e2", "z3", "e0", "z1"]


def test_a_budget_ends_a_thinking_that_does_not_end() -> None:
    asked: list[tuple[list[str], Sampling]] = []

    def ask(turns: Sequence[Turn], sampling: Sampling) -> Iterable[Completion]:
        asked.append(([turn.prefill for turn in turns], sampling))
        return [Completion(text=" on and on", stopped="length", prompt_tokens=1, tokens=7) for _ in turns]

    (turn,) = BudgetedThinking("budget", tokens=7).turns([item(0)], [], ask, SAMPLING)
    assert turn == Turn("<think>\non and on\n</think>\n\n", 7)
    ((begun, sampling),) = asked
    assert begun == ["<think>\n"]
    assert (sampling.max_tokens, sampling.stop) == (7, ("</think>",))
