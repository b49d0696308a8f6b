"""Pairs and public rows: what their stages measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from experiments.store.metrics import FilteredRowMetrics, counts
from experiments.store.step import StageKey


@dataclass(frozen=True, kw_only=True)
class PairsMetrics(FilteredRowMetrics):
    """Pairs by source, category and language, and how missing queries and categories were filled. `literature_arts` is
    how many are on that side of the taxonomy, `came_with_thinking` how many had a thinking in their source, `composed`
    how many rows that were read had text to be put into Unicode's composed form."""

    queries_reversed: int
    queries_by_template: int
    categories_by_model: int
    categories_by_rule: int
    categories: Mapping[str, int]
    literature_arts: int
    languages: Mapping[str, int]
    came_with_thinking: int
    composed: int = 0
    by_source: Mapping[str, int] = field(default_factory=dict)

    def summary(self) -> tuple[str, ...]:
        return (f"{self.literature_arts} literature/arts, {len(self.categories)} categories; {counts(self.languages)}",)


@dataclass(frozen=True, kw_only=True)
class PublicMetrics(FilteredRowMetrics):
    """Public rows that became samples, how many had text to be put into Unicode's composed form, and how many rows a
    draw found in each stratum."""

    composed: int = 0
    found: Mapping[str, int] = field(default_factory=dict[str, int])

    def summary(self) -> tuple[str, ...]:
        return (f"drawn from {counts(self.found)}",) if self.found else ()


PAIRS = StageKey("pairs", PairsMetrics)
PUBLIC = StageKey("public", PublicMetrics)
