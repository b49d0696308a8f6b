"""From the mixture to the student: what the stages measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from experiments.store.metrics import FilteredRowMetrics, RowMetrics, counts
from experiments.store.step import StageKey


@dataclass(frozen=True, kw_only=True)
class MixMetrics(RowMetrics):
    """The mixture by source and by category, how many of its rows are trained with their thinking, and the reflection
    markers in the thinking of each source. `short` is how many rows each part lacks of its stated size."""

    by_source: Mapping[str, int]
    with_thinking: int
    reflection_markers: Mapping[str, int]
    short: Mapping[str, int] = field(default_factory=dict[str, int])
    categories: Mapping[str, int] = field(default_factory=dict[str, int])

    def headline(self) -> str:
        lacking = f"; fewer than stated: {counts(self.short)}" if self.short else ""
        return f"{self.rows} rows ({counts(self.by_source)}), {self.with_thinking} with thinking{lacking}"


@dataclass(frozen=True, kw_only=True)
class RenderMetrics(FilteredRowMetrics):
    """Rows as tokens: how many are trained on and masked, rows cut at the length limit, and the lengths of rows.
    `row_tokens` counts rows by the smallest power of two that is at least their length."""

    trained_tokens: int
    masked_tokens: int
    truncated_rows: int
    longest_row_tokens: int
    median_row_tokens: int
    row_tokens: Mapping[str, int]

    def headline(self) -> str:
        return f"{super().headline()}; {self.trained_tokens} trained tokens"

    def summary(self) -> tuple[str, ...]:
        return (
            f"{self.trained_tokens} trained tokens, {self.masked_tokens} masked, {self.truncated_rows} rows truncated",
            f"row lengths in tokens: {counts(self.row_tokens)}",
        )


@dataclass(frozen=True, kw_only=True)
class MatchMetrics(RowMetrics):
    """The rows of this arm after matching, beside those before and those of the target arm."""

    rows_before: int
    rows_of_target: int
    left_out_rows: int
    repeats_of_a_row: int
    trained_tokens: int
    trained_tokens_of_target: int
    masked_tokens: int
    longest_row_tokens: int

    def headline(self) -> str:
        return (
            f"{self.rows} rows from {self.rows_before} (target: {self.rows_of_target}), {self.trained_tokens} trained "
            f"tokens (target: {self.trained_tokens_of_target})"
        )


@dataclass(frozen=True, kw_only=True)
class TrainMetrics(RowMetrics):
    """The fine-tuning: optimizer steps, loss (nats per token), trained tokens over all epochs, median speed, and peak
    memory of one device."""

    steps: int
    resumed_from_step: int = field(metadata={"identity": False})
    first_loss: float
    last_loss: float
    mean_loss_last_quarter: float
    trained_tokens: int
    tokens_per_second: float = field(metadata={"identity": False})
    memory_gib: float = field(metadata={"identity": False})
    processes: int = field(metadata={"identity": False})

    def headline(self) -> str:
        return f"{self.steps} steps, loss {self.first_loss:.3f} → {self.last_loss:.3f}"


MIX = StageKey("mix", MixMetrics)
RENDER = StageKey("render", RenderMetrics)
MATCH = StageKey("match", MatchMetrics)
TRAIN = StageKey("train", TrainMetrics)
