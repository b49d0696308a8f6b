"""Sentences whose reflection markers are labelled, and how well `Markers` finds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reer.curation.markers import Markers
from reer.text import main_language
from reer.types import Language

LABELLED = Path(__file__).parents[1] / "golden/reflection_markers.txt"
Bounds = tuple[int, int]


@dataclass(frozen=True)
class Marking:
    """How well markers are found: of those found the share that are ones, and of those there are the share found."""

    sentences: int
    precision: float
    recall: float


def marking(markers: Markers, language: Language) -> Marking:
    """How well the markers of the labelled sentences of a language are found."""
    sentences = [pair for pair in labelled() if main_language(pair[0]) == language]
    found = [[(span.start, span.end) for span in markers.spans(text)] for text, _ in sentences]
    wanted = [bounds for _, bounds in sentences]
    right = sum(_overlapping(f, w) for f, w in zip(found, wanted, strict=True))
    hit = sum(_overlapping(w, f) for f, w in zip(found, wanted, strict=True))
    return Marking(len(sentences), right / sum(map(len, found)), hit / sum(map(len, wanted)))


def labelled() -> Iterator[tuple[str, list[Bounds]]]:
    """Each labelled sentence, and where its markers are."""
    for line in LABELLED.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        text, bounds = "", list[Bounds]()
        for piece in line.split("["):
            marker, bracket, rest = piece.partition("]")
            if bracket:
                bounds.append((len(text), len(text) + len(marker)))
            text += marker + rest
        yield text, bounds


def _overlapping(some: list[Bounds], others: list[Bounds]) -> int:
    """How many of `some` overlap with any of `others`."""
    return sum(any(a < d and c < b for c, d in others) for a, b in some)
