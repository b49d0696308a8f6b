"""The categories of writing, and what assigns them (paper.md §3.2: 25 nominated by hand, the list unreleased)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from reer.errors import InputError
from reer.models.protocols import Generator, Request, Sampling, in_order
from reer.parts import Name
from reer.prompts import PromptChoice
from reer.text import language_of, words

FALLBACK = "others"


@dataclass(frozen=True)
class Category:
    """One kind of writing. `aliases` are names other data sets use for it; `keywords` are the fallback rule's."""

    literature_arts: bool
    keywords: tuple[str, ...]
    aliases: tuple[str, ...] = ()

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class Taxonomy:
    """All categories by id, in the order the keyword rule breaks ties."""

    name: Name
    categories: dict[str, Category]

    def __post_init__(self) -> None:
        if FALLBACK not in self.categories:
            raise InputError(f"taxonomy {self.name}: want a category {FALLBACK!r} for what fits nowhere else")
        names = [*self.categories, *(alias for c in self.categories.values() for alias in c.aliases)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"taxonomy {self.name}: names used twice: {', '.join(twice)}")

    def resolve(self, name: str | None) -> str | None:
        """The id of the category with a data set's own name, or None if the name is unknown."""
        if name is None or name in self.categories:
            return name
        return next((known for known, category in self.categories.items() if name in category.aliases), None)

    def is_literature_arts(self, category: str) -> bool:
        """True for the categories the ablation `categories=no_literature_arts` leaves out."""
        return self.categories[category].literature_arts

    def by_keywords(self, query: str) -> str:
        """The category with most keywords in the query, the first of equals; `others` if none has any."""
        hits = {name: self._hits(category, query) for name, category in self.categories.items()}
        best = max(hits, key=lambda name: hits[name])
        return best if hits[best] else FALLBACK

    def _hits(self, category: Category, query: str) -> int:
        tokens, text = set(words(query)), query.lower()
        return sum(k in tokens if k.isascii() and " " not in k else k in text for k in category.keywords)


def classify(
    queries: Sequence[str], taxonomy: Taxonomy, generator: Generator, prompts: PromptChoice
) -> tuple[list[str], int]:
    """A category for each query, asked of the model; where its reply names none, the keyword rule decides.
    Returns the categories and how many of them the rule decided."""
    values = {"categories": ", ".join(taxonomy.categories)}
    sampling = Sampling(temperature=0, top_p=1, max_tokens=12)
    requests = [
        Request(prompts.for_language(language_of(query)).render("classify", {"query": query, **values}), sampling, 0)
        for query in queries
    ]
    named = [_named(reply.text, taxonomy) for reply in in_order(generator.generate(requests), len(requests))]
    return [name or taxonomy.by_keywords(q) for name, q in zip(named, queries, strict=True)], named.count(None)


def _named(reply: str, taxonomy: Taxonomy) -> str | None:
    """The one category a reply names; none or several are no answer."""
    words_of_reply = re.findall(r"[A-Za-z_]+", reply.lower())
    named = [name for name in taxonomy.categories if name in words_of_reply]
    return named[0] if len(named) == 1 else None
