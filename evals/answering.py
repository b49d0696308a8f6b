"""How a trained model answers: by itself, or after a thinking that it is given. Nothing is trained for it.

A thinking is given by beginning the model's turn with it, closed, in the form in which thinking is trained
(`reer.training.chat_format`): the answer follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt

from evals.benchmark import Item, Response
from reer.models.protocols import Completion, Sampling
from reer.parts import Name
from reer.text import shorten, words
from reer.types import content_id

OPENED = "<think>\n"


@dataclass(frozen=True)
class Turn:
    """How the model's turn begins, and how many tokens of that it generated itself."""

    prefill: str = ""
    tokens: int = 0

    @classmethod
    def after(cls, thinking: str, tokens: int = 0) -> Turn:
        """The turn after this thinking."""
        return cls(f"{OPENED}{thinking.strip()}\n</think>\n\n", tokens)


Ask = Callable[[Sequence[Turn], Sampling], Iterable[Completion]]
"""The model's continuation of a turn for each item of the benchmark."""


@dataclass(frozen=True)
class Answering:
    """By itself: the model thinks as it was trained."""

    name: Name
    needs_own: ClassVar[bool] = False
    """Whether the model's own answers are needed first."""

    def turns(self, items: Sequence[Item], own: Sequence[Response], ask: Ask, sampling: Sampling) -> list[Turn]:
        """The beginning of the model's turn for each item. `own` are the answers that the model gave by itself, empty
        where they are not needed."""
        return [Turn() for _ in items]


BY_ITSELF = Answering("thinking")


@dataclass(frozen=True)
class WithoutThinking(Answering):
    """After an empty thinking."""

    def turns(self, items: Sequence[Item], own: Sequence[Response], ask: Ask, sampling: Sampling) -> list[Turn]:
        return [Turn.after("") for _ in items]


@dataclass(frozen=True, kw_only=True)
class TruncatedThinking(Answering):
    """After the first part of the thinking that the model had by itself. An item for which it had none is answered by
    itself."""

    needs_own: ClassVar[bool] = True
    share: Annotated[float, Field(gt=0, lt=1)]
    """The share of the words that is kept, without an unfinished last sentence."""

    def turns(self, items: Sequence[Item], own: Sequence[Response], ask: Ask, sampling: Sampling) -> list[Turn]:
        return [Turn.after(self.cut(r.thinking)) if r.thinking else Turn() for r in own]

    def cut(self, thinking: str) -> str:
        """The first part of a thinking; empty where no sentence fits."""
        return "".join(shorten((thinking,), int(self.share * len(words(thinking)))))


@dataclass(frozen=True, kw_only=True)
class SwappedThinking(Answering):
    """After the thinking that the model had for another item, of the same language where there is one. An item for
    which there is none is answered by itself."""

    needs_own: ClassVar[bool] = True
    seed: int = 0

    def turns(self, items: Sequence[Item], own: Sequence[Response], ask: Ask, sampling: Sampling) -> list[Turn]:
        thinkings = {item.id: r.thinking for item, r in zip(items, own, strict=True) if r.thinking}
        donors = [self._donor(item, [other for other in items if other.id in thinkings]) for item in items]
        return [Turn() if donor is None else Turn.after(thinkings[donor.id]) for donor in donors]

    def _donor(self, item: Item, thoughtful: Sequence[Item]) -> Item | None:
        """The next item with a thinking, in an order that the seed decides: so none has its own, and each gives its
        thinking to one of the items that have one."""

        def order(of: Item) -> str:
            return content_id(str(self.seed), "swap", of.id)

        others = [other for other in thoughtful if other.id != item.id]
        alike = [other for other in others if other.language == item.language] or others
        after = [other for other in alike if order(other) > order(item)] or alike
        return min(after, key=order, default=None)


@dataclass(frozen=True, kw_only=True)
class BudgetedThinking(Answering):
    """After a thinking of at most so many tokens, closed where the model has not closed it. It is always opened, also
    for a model that was trained without thinking."""

    tokens: PositiveInt

    def turns(self, items: Sequence[Item], own: Sequence[Response], ask: Ask, sampling: Sampling) -> list[Turn]:
        limit = min(self.tokens, sampling.max_tokens)
        replies = ask([Turn(OPENED)] * len(items), replace(sampling, max_tokens=limit, stop=("</think>",)))
        return [Turn.after(reply.text, reply.tokens) for reply in replies]
