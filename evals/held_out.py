"""How surprising a held-out human text is to a trained model, in nats per token: after its query alone, after the
thinking that the model has for it, and after the thinking that it has for another text. No judge is asked.

The last one is the control: it has the form that the model was trained in, and says nothing of this text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.answering import OPENED, Ask, SwappedThinking, Turn
from evals.benchmark import Item, ItemScores, Measure, Response
from reer.models.protocols import Completion, Nats, Passage, Prompt, Sampling
from reer.text import main_language
from reer.types import Message

HELD_OUT = "held_out"
"""What the measures are called after."""


@dataclass(frozen=True)
class HeldOutText:
    """A text of the source that no arm trains on, and the query it answers. `id` is a hash of both."""

    id: str
    query: str
    text: str
    where: str

    @property
    def item(self) -> Item:
        """The query as a prompt."""
        language = main_language(self.text)
        return Item(id=self.id, prompt=self.query, language=language, category=HELD_OUT, length=None)

    def after(self, beginning: str) -> Passage:
        """The text to be scored, after its query and this beginning of the model's turn."""
        return Passage(Prompt((Message("user", self.query),), beginning), self.text, self.id)


@dataclass(frozen=True)
class Thought:
    """What a model thinks for a held-out text. Its turn begins with that (`own`), or with the thinking for another text
    (`other`; None where there is none)."""

    completion: Completion
    own: Turn
    other: Turn | None


def thoughts(texts: Sequence[HeldOutText], tokens: int, ask: Ask) -> list[Thought]:
    """A thinking of at most so many tokens for each text. It is always opened, also for a model that was trained
    without thinking, and closed where the model does not close it."""
    sampling = Sampling(temperature=0.7, top_p=0.95, max_tokens=tokens, stop=("</think>",))
    completions = list(ask([Turn(OPENED)] * len(texts), sampling))
    items = [text.item for text in texts]
    responses = [
        Response.read(item.id, f"{OPENED}{c.text}</think>", c.stopped != "stop", c.tokens, c.stopped)
        for item, c in zip(items, completions, strict=True)
    ]
    others = SwappedThinking("other").turns(items, responses, ask, sampling)
    return [
        Thought(completion, Turn.after(completion.text), other if other.prefill else None)
        for completion, other in zip(completions, others, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class TextScores:
    """The nats per token of one text after its query alone, after its own and after another thinking; None where the
    model's context is too short, or there is no other thinking."""

    nll: float | None
    nll_own_thinking: float | None
    nll_other_thinking: float | None

    @classmethod
    def of(cls, alone: Nats | None, own: Nats | None, other: Nats | None) -> TextScores:
        """The scores of one text from the nats of its tokens."""
        return cls(nll=_mean(alone), nll_own_thinking=_mean(own), nll_other_thinking=_mean(other))

    @property
    def fit(self) -> float | None:
        """How much less surprising a token of the text is after its own thinking than after another: above 0 where the
        thinking says something of this text."""
        if self.nll_own_thinking is None or self.nll_other_thinking is None:
            return None
        return self.nll_other_thinking - self.nll_own_thinking


def table_of(scores: Mapping[str, TextScores]) -> ItemScores:
    """Metric -> text id -> score."""
    return {
        metric: {text: getattr(of_text, metric) for text, of_text in scores.items()}
        for metric in ("nll", "nll_own_thinking", "nll_other_thinking", "fit")
    }


def text_measures(table: ItemScores) -> tuple[Measure, ...]:
    """The means over the texts that have a score. Nats have no best value, so that none is assumed for the others."""
    return tuple(_measure(metric, list(column.values())) for metric, column in table.items())


def _measure(metric: str, scores: Sequence[float | None]) -> Measure:
    known = [score for score in scores if score is not None]
    mean = math.fsum(known) / len(known) if known else None
    return Measure(
        benchmark=HELD_OUT,
        metric=metric,
        value=mean,
        mean_of_scored=mean,
        low=None,
        high=None,
        scored=len(known),
        total=len(scores),
    )


def _mean(nats: Nats | None) -> float | None:
    return math.fsum(nats) / len(nats) if nats else None
