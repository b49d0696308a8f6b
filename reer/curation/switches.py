"""Late and cheap transformations of finished trajectories: reflection phrases, length, categories.

Each is a part with a `promise`: what must be true of the curated set if the switch really bit.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reer.errors import InputError
from reer.prompts import Triggers
from reer.text import join_segments, shorten, words
from reer.types import AnyThinking, Drop, Pair

_SPACES = re.compile(r"[ \t]{2,}")


@dataclass(frozen=True)
class Curated:
    """A pair with the thinking it will be trained on."""

    pair: Pair
    segments: tuple[str, ...]


@dataclass(frozen=True)
class Promise:
    """A measured quantity of the curated set and the most it may be."""

    metric: str
    at_most: float


@dataclass(frozen=True)
class Reflection:
    """Which phrases prompts ask for (`triggers`), which patterns count as reflection (`markers`), and whether the
    sentence openings they mark are cut from finished trajectories (`strip`)."""

    name: str
    triggers: Triggers
    markers: tuple[str, ...]
    strip: bool

    def __post_init__(self) -> None:
        for marker in self.markers:
            try:
                endless = re.search(marker, "", re.I)
            except re.error as error:
                raise InputError(f"reflection.markers: {marker!r} is no regular expression: {error}") from None
            if endless:
                raise InputError(f"reflection.markers: {marker!r} matches the empty text, so it could never be cut")

    def apply(self, segments: Sequence[str]) -> tuple[str, ...]:
        """The segments, their markers cut where the switch says so; segments left empty disappear."""
        if not self.strip:
            return tuple(segments)
        stripped = (strip_markers(segment, self.markers) for segment in segments)
        return tuple(segment for segment in stripped if segment)

    def promises(self) -> tuple[Promise, ...]:
        return (Promise("reflection_markers", 0),) if self.strip else ()


def count_markers(text: str, markers: Sequence[str]) -> int:
    """Occurrences of reflection markers."""
    return sum(len(re.findall(marker, text, re.I)) for marker in markers)


def strip_markers(text: str, markers: Sequence[str]) -> str:
    """Cut every marker with the punctuation that hangs on it; all other text stays as it is. One at a time, since a
    cut can bring another marker together, and so can a space that is one too many."""
    pattern = re.compile("|".join(f"(?:{m})" for m in markers), re.I)
    text = _SPACES.sub(" ", text)
    while markers and (found := pattern.search(text)):
        text = _SPACES.sub(" ", _without(text, found.start(), found.end()))
    return text.strip()


def _without(text: str, start: int, end: int) -> str:
    """The text without one marker. At the start of a sentence its punctuation goes too, and the sentence begins
    afresh; inside a sentence its commas go, but for the one between what it parted."""
    head, rest = text[:start].rstrip(" \t"), text[end:]
    if not head or head[-1] in ".!?…。！？\n":
        rest = rest.lstrip(" \t,，.…:：;；!！?？—-")
        rest = rest[:1].upper() + rest[1:]
    else:
        between = rest.lstrip(" \t")[:1] in tuple(",，") and head[-1] in ",，"  # "a, maybe, b": one comma stays
        head, rest = head if between else head.rstrip(",，"), rest.lstrip(" \t,，")
    joined = not head or not rest or head[-1] in "\n。！？" or rest[0] in ".!?…;:\n。！？；：" or rest[0] > "\u2e7f"
    return head + ("" if joined else " ") + rest


@dataclass(frozen=True)
class TrajectoryLength:
    """How long trajectories may be, against the distribution of the set itself, in words.

    `cut_quantile` shortens every trajectory to that quantile of the lengths; `drop_above` and `drop_below` leave out
    trajectories beyond a quantile. None switches a rule off. The paper says only "downsampling" (paper.md §5.4).
    """

    name: str
    cut_quantile: float | None
    drop_above: float | None
    drop_below: float | None

    def __post_init__(self) -> None:
        for field in ("cut_quantile", "drop_above", "drop_below"):
            value = getattr(self, field)
            if value is not None and not 0 < value < 1:
                raise InputError(f"trajectory.{field}: want a quantile strictly between 0 and 1 or null, got {value}")

    def promises(self) -> tuple[Promise, ...]:
        return (Promise("words_over_bound", 0),) if self.cut_quantile is not None or self.drop_above is not None else ()

    def bound(self, quantile: float | None, lengths: Sequence[int]) -> int | None:
        """The quantile of the lengths in whole words (nearest rank), or None where the rule is off."""
        if quantile is None or not lengths:
            return None
        ranked = sorted(lengths)
        return ranked[math.ceil(round(quantile * len(ranked), 9)) - 1]


@dataclass(frozen=True)
class Categories:
    """Which side of the taxonomy is left out."""

    name: str
    exclude: Literal["none", "literature_arts"]

    def promises(self) -> tuple[Promise, ...]:
        return (Promise("excluded_rows", 0),) if self.exclude != "none" else ()


@dataclass(frozen=True)
class Curation:
    """The outcome, with the measurements the promises speak of."""

    kept: tuple[Curated, ...]
    dropped: tuple[Drop, ...]
    measured: dict[str, float]


def curate(
    rows: Sequence[tuple[Pair, AnyThinking]],
    reflection: Reflection,
    length: TrajectoryLength,
    categories: Categories,
    excluded: Callable[[str], bool],
) -> Curation:
    """Categories, then reflection, then length; `excluded` says whether a category is on the side left out."""
    dropped: list[Drop] = []
    kept: list[Curated] = []
    for pair, thought in rows:
        segments = reflection.apply(thought.segments)
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
    cut_rows = tuple(row if cut is None else replace(row, segments=shorten(row.segments, cut)) for row in fitting)
    return Curation(cut_rows, tuple(dropped), _measure(cut_rows, reflection, min_of(high, cut), excluded))


def min_of(*bounds: int | None) -> int | None:
    """The smallest bound that is set."""
    return min((b for b in bounds if b is not None), default=None)


def _length(segments: Sequence[str]) -> int:
    return len(words(join_segments(segments)))


def _measure(
    kept: Sequence[Curated], reflection: Reflection, bound: int | None, excluded: Callable[[str], bool]
) -> dict[str, float]:
    sizes = [_length(row.segments) for row in kept]
    longest = max(sizes, default=0)
    return {
        "rows": len(kept),
        "mean_words": statistics.fmean(sizes) if sizes else 0.0,
        "max_words": longest,
        "reflection_markers": sum(count_markers(join_segments(r.segments), reflection.markers) for r in kept),
        "words_over_bound": max(0, longest - bound) if bound is not None else 0,
        "literature_arts_rows": sum(excluded(row.pair.category) for row in kept),
        "excluded_rows": sum(excluded(row.pair.category) for row in kept),
    }
