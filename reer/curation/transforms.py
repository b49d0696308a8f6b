"""Late and cheap transformations of finished trajectories: reflection phrases, length, categories.

What the set measures afterwards is returned with it: the contract of an arm states what it must be.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field

from reer.curation.markers import Markers
from reer.parts import Name
from reer.prompts import Triggers
from reer.text import join_segments, shorten, without_last_sentence, words
from reer.types import AnyThinking, Drop, Pair

Quantile = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class Curated:
    """A pair with the thinking it will be trained on."""

    pair: Pair
    segments: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CurationMeasures:
    """Measurements of the curated set: number of rows, lengths in words, reflection markers, words of the longest
    trajectory beyond the bound, and rows of literature and arts. `excluded_rows` are rows of categories that
    `Categories` can exclude."""

    rows: int
    mean_words: float
    max_words: int
    reflection_markers: int
    words_over_bound: int
    literature_arts_rows: int
    excluded_rows: int


@dataclass(frozen=True)
class Reflection:
    """Whether the prompts ask for reflection, and whether it stays in the finished trajectories."""

    name: Name
    triggers: Triggers
    """The phrases the prompts ask for."""
    markers: Markers
    """What counts as reflection."""
    strip: bool
    """Cut the markers from finished trajectories."""
    public: Literal["keep", "strip"] = field(default="keep", metadata={"identity": False})
    """What happens to the markers of the public reasoning rows. It identifies the mixture, not what is curated."""

    def apply(self, segments: Sequence[str]) -> tuple[str, ...]:
        """The segments, without markers if `strip` is set; segments that become empty are removed."""
        if not self.strip:
            return tuple(segments)
        stripped = (self.markers.cut(segment) for segment in segments)
        return tuple(segment for segment in stripped if segment)


@dataclass(frozen=True)
class TrajectoryLength:
    """Bounds on the length of trajectories, as quantiles of the lengths in words of the set itself; None disables a
    rule. The paper says only "downsampling" (paper.md §5.4)."""

    name: Name
    cut_quantile: Quantile | None
    """Every trajectory is shortened to this quantile."""
    drop_above: Quantile | None
    """Longer trajectories are dropped."""
    drop_below: Quantile | None
    """Shorter trajectories are dropped."""

    def bound(self, quantile: float | None, lengths: Sequence[int]) -> int | None:
        """The quantile of the lengths in whole words (nearest rank); None if the rule is disabled."""
        if quantile is None or not lengths:
            return None
        ranked = sorted(lengths)
        return ranked[math.ceil(round(quantile * len(ranked), 9)) - 1]


@dataclass(frozen=True)
class Categories:
    """Which categories are excluded."""

    name: Name
    exclude: Literal["none", "literature_arts"]
    """The side of the taxonomy whose rows are dropped."""


@dataclass(frozen=True)
class Curation:
    """The curated rows, what was dropped, and what the rows measure."""

    kept: tuple[Curated, ...]
    dropped: tuple[Drop, ...]
    measured: CurationMeasures


def curate(
    rows: Sequence[tuple[Pair, AnyThinking]],
    reflection: Reflection,
    length: TrajectoryLength,
    categories: Categories,
    excluded: Callable[[str], bool],
    unfinished: Callable[[str], bool],
) -> Curation:
    """Apply categories, then reflection, then length. `excluded` is true for the categories of the excluded side, and
    `unfinished` for a thinking that the filters would drop because of its end: a cut must not make one."""
    dropped: list[Drop] = []
    kept: list[Curated] = []
    for pair, thinking in rows:
        segments = reflection.apply(thinking.segments)
        if categories.exclude != "none" and excluded(pair.category):
            dropped.append(Drop(pair.id, "category_excluded"))
        elif not segments:
            dropped.append(Drop(pair.id, "nothing_left"))
        else:
            kept.append(Curated(pair, segments))
    lengths = [_length(row.segments) for row in kept]
    low, high, cut = (length.bound(q, lengths) for q in (length.drop_below, length.drop_above, length.cut_quantile))
    fitting: list[Curated] = []
    for row, size in zip(kept, lengths, strict=True):
        if (low or 0) <= size <= (high or size):
            fitting.append(row)
        else:
            dropped.append(Drop(row.pair.id, "too_short" if size < (low or 0) else "too_long"))
    cut_rows: list[Curated] = []
    for row in fitting:
        segments = row.segments if cut is None else _cut(row.segments, cut, unfinished)
        if segments:
            cut_rows.append(replace(row, segments=segments))
        else:
            dropped.append(Drop(row.pair.id, "nothing_left"))
    bound = min((b for b in (high, cut) if b is not None), default=None)
    return Curation(tuple(cut_rows), tuple(dropped), _measure(cut_rows, reflection, bound, excluded))


def _cut(segments: tuple[str, ...], size: int, unfinished: Callable[[str], bool]) -> tuple[str, ...]:
    """Segments of at most `size` words that end with a sentence and, where anything was cut, not in mid-thought."""
    short = shorten(segments, size)
    while short and short != segments and unfinished(join_segments(short)):
        short = without_last_sentence(short)
    return short


def _length(segments: Sequence[str]) -> int:
    return len(words(join_segments(segments)))


def _measure(
    kept: Sequence[Curated], reflection: Reflection, bound: int | None, excluded: Callable[[str], bool]
) -> CurationMeasures:
    sizes = [_length(row.segments) for row in kept]
    longest = max(sizes, default=0)
    excluded_rows = sum(excluded(row.pair.category) for row in kept)
    return CurationMeasures(
        rows=len(kept),
        mean_words=statistics.fmean(sizes) if sizes else 0.0,
        max_words=longest,
        reflection_markers=sum(reflection.markers.count(join_segments(row.segments)) for row in kept),
        words_over_bound=max(0, longest - bound) if bound is not None else 0,
        literature_arts_rows=excluded_rows,
        excluded_rows=excluded_rows,
    )
