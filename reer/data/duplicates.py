"""Which rows of a source count as the same row, so that only the first of them is used."""

from __future__ import annotations

from typing import Literal

from reer.text import ngrams, words
from reer.types import RawPair, content_id

SHINGLE = 5
SKETCH = 8
NEAR_DUPLICATE = 0.8  # Jaccard similarity of word 5-grams from which two solutions count as one; our choice

SameRow = Literal["solution", "query_and_solution", "query", "thinking"]
"""What two rows have in common to count as one: the solution, whatever its query; query and solution, where a text
answers several queries; the query, where it has several answers; or query, solution and thinking, where a source holds
several trajectories of one pair. Solutions may nearly agree, everything else agrees word by word."""


def identity_of(same: SameRow) -> dict[str, str]:
    """The rule in the identity of a source; the rule by the solution is that of sources that name none."""
    return {} if same == "solution" else {"same_row": same}


class Duplicates:
    """Detects rows that are the same as an earlier one.

    Each solution is indexed under its few smallest shingle hashes; only texts that share one are compared.
    """

    def __init__(self, same: SameRow = "solution") -> None:
        self.same: SameRow = same
        self.exact: set[str] = set()
        self.index: dict[str, list[frozenset[str]]] = {}

    def reason(self, row: RawPair) -> str | None:
        """`duplicate`, `near_duplicate`, or None for a new row, which is added to the index. Of rows without a query
        the solution decides."""
        query = words(row.query or "")
        if self.same == "thinking":
            return self._repeated(*query, "", *words(row.solution), "", *words(row.thinking or ""))
        if self.same == "query" and query:
            return self._repeated(*query)
        return self._near(row.solution, content_id(*query) if self.same == "query_and_solution" else "")

    def _repeated(self, *tokens: str) -> str | None:
        key = content_id(*tokens)
        if key in self.exact:
            return "duplicate"
        self.exact.add(key)
        return None

    def _near(self, text: str, group: str) -> str | None:
        """The reason of a text that is compared with those of its group alone."""
        tokens = words(text)
        if repeated := self._repeated(*((group, "") if group else ()), *tokens):
            return repeated
        shingles = frozenset(content_id(*gram) for gram in ngrams(tokens, SHINGLE))
        sketch = [group + shingle for shingle in sorted(shingles)[:SKETCH]]
        for other in (other for shingle in sketch for other in self.index.get(shingle, ())):
            if len(shingles & other) >= NEAR_DUPLICATE * len(shingles | other):
                return "near_duplicate"
        for shingle in sketch:
            self.index.setdefault(shingle, []).append(shingles)
        return None
