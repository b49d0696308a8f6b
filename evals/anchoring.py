"""How far a thinking leans on the solution that it was written for, without a judge.

A thinking that was written with the solution in view may encode it instead of leading to it. The measures follow SSR
(arXiv 2602.14469), which names lexical, trajectory and probabilistic anchoring; a search by perplexity maximises the
last one. Each is read beside a thinking written without the solution (blind), and beside the solution as its own
thinking.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reer.models.protocols import Nats
from reer.text import words


@dataclass(frozen=True)
class WordWeights:
    """Inverse document frequencies: a word counts the more, the fewer of the documents have it."""

    documents: int
    with_word: Counter[str]

    @classmethod
    def of(cls, texts: Sequence[str]) -> WordWeights:
        """The weights of the words in these documents."""
        return cls(len(texts), Counter(word for text in texts for word in set(words(text))))

    def __getitem__(self, word: str) -> float:
        return math.log((1 + self.documents) / (1 + self.with_word[word])) + 1


def lexical_recall(thinking: str, query: str, solution: str, weights: WordWeights) -> float | None:
    """The share of the solution's words that the thinking has too, by weight, without words of the query; None for a
    solution that has no other words."""
    own = set(words(solution)) - set(words(query))
    total = math.fsum(weights[word] for word in own)
    return math.fsum(weights[word] for word in own & set(words(thinking))) / total if own else None


def surprisal_removed(without: Nats, given: Nats) -> float:
    """The share of a text's surprisal that a context removes, from the nats of its tokens without and with it: 0 where
    it does not help (or nothing was surprising), 1 where nothing is left to learn, below 0 where it misleads."""
    before = math.fsum(without)
    return 1 - math.fsum(given) / before if before else 0.0


def surprisal_gap(without: Nats, given: Nats) -> float:
    """By how many nats a token of a thinking is less surprising to a reader who has the solution. It estimates the
    entropy gap of SSR by the thinking's own surprisal, because scorers return no entropies."""
    return (math.fsum(without) - math.fsum(given)) / len(given)
