"""From pairs to thinking: what the stages measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from experiments.store.metrics import FilteredRowMetrics, counts, number
from experiments.store.step import StageKey


@dataclass(frozen=True, kw_only=True)
class DraftMetrics(FilteredRowMetrics):
    """First drafts: generated tokens, model calls made and replayed, and the mean number of segments."""

    tokens: int
    calls: int = field(metadata={"identity": False})
    calls_replayed: int = field(metadata={"identity": False})
    mean_segments: float

    def summary(self) -> tuple[str, ...]:
        return (f"{self.tokens} generated tokens, {number(self.mean_segments)} segments on average",)


@dataclass(frozen=True, kw_only=True)
class RefineMetrics(FilteredRowMetrics):
    """The search: mean scores before and after, how often an edit was accepted, why candidates and starts were lost,
    why searches stopped, and the mean gain by segment index. Scores are None without a row."""

    calls: int = field(metadata={"identity": False})
    score_noise: float
    score_draft: float | None
    score_refined: float | None
    improved_rows: int
    edits: int
    edits_accepted: int
    candidates: int
    candidates_lost: Mapping[str, int]
    stopped: Mapping[str, int]
    starts_lost: Mapping[str, int]
    generated_tokens: int
    mean_segments: float
    mean_gain_by_segment: Mapping[str, float]

    def headline(self) -> str:
        if self.score_draft is None or self.score_refined is None:
            return super().headline()
        return f"{super().headline()}; score {self.score_draft:.4f} → {self.score_refined:.4f}"

    def summary(self) -> tuple[str, ...]:
        if self.score_draft is None or self.score_refined is None:
            return ("no row was refined",)
        return (
            f"score {self.score_draft:.4f} → {self.score_refined:.4f}",
            f"{self.edits_accepted} of {self.edits} edits accepted, candidates lost: {counts(self.candidates_lost)}",
        )


@dataclass(frozen=True, kw_only=True)
class SourceThinkingMetrics(FilteredRowMetrics):
    """Thinking that came with the source: the mean number of segments."""

    mean_segments: float

    def summary(self) -> tuple[str, ...]:
        return (f"{number(self.mean_segments)} segments on average",)


@dataclass(frozen=True, kw_only=True)
class FilterMetrics(FilteredRowMetrics):
    """Filtered trajectories, and the share of 13-grams that trajectories have in common with their solution."""

    mean_leak: float
    max_leak: float

    def summary(self) -> tuple[str, ...]:
        return (f"shared with the solution: {number(self.mean_leak)} on average, at most {number(self.max_leak)}",)


@dataclass(frozen=True, kw_only=True)
class CurateMetrics(FilteredRowMetrics):
    """Trajectories after the switches for reflection, length and categories: lengths in words, reflection markers, and
    rows on the literature/arts side of the taxonomy. The contracts of arms state bounds on these numbers."""

    mean_words: float
    max_words: int
    reflection_markers: int
    words_over_bound: int
    literature_arts_rows: int
    excluded_rows: int

    def headline(self) -> str:
        return "; ".join([super().headline(), *self.summary()])

    def summary(self) -> tuple[str, ...]:
        return (f"{number(self.mean_words)} words on average, {self.reflection_markers} reflection markers",)


DRAFT = StageKey("draft", DraftMetrics)
REFINE = StageKey("refine", RefineMetrics)
SOURCE_THINKING = StageKey("source_thinking", SourceThinkingMetrics)
FILTER = StageKey("filter", FilterMetrics)
CURATE = StageKey("curate", CurateMetrics)
