"""Other thinking in the place of the curated one: what the stage measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.store.metrics import Detail, RowMetrics, counts, number
from experiments.store.step import StageKey

TOKENS_WITHIN = 0.02  # of those before


@dataclass(frozen=True, kw_only=True)
class ControlMetrics(RowMetrics):
    """Rows with replaced thinking. `true_pairs` are rows whose thinking was written for their own query, of which
    `unchangeable` ones had no other; tokens are the student's, of the thinking alone; `exceptions` counts rows in
    which the rule had to give way, by what gave way."""

    true_pairs: int
    unchangeable: int
    tokens_before: int
    tokens_after: int
    mean_words: float
    reflection_markers: int
    exceptions: Mapping[str, int]

    def headline(self) -> str:
        return (
            f"{self.rows} rows, {self.true_pairs} with their own thinking; {self.tokens_before} → {self.tokens_after} "
            "tokens of thinking"
        )

    def details(self) -> list[Detail]:
        return [
            Detail("rows with their own thinking", f"{self.true_pairs} ({self.unchangeable} without another)"),
            Detail("tokens of thinking before", str(self.tokens_before)),
            Detail("tokens of thinking after", str(self.tokens_after)),
            Detail("words of thinking, mean", number(self.mean_words)),
            Detail("exceptions, rows", counts(self.exceptions)),
        ]


CONTROL = StageKey("control", ControlMetrics)
