"""Stages that tell of the judges' health and the answers' hygiene, as small tables: arms abreast, one row a number.

What such a stage measures is its own affair: its metrics are flattened as they are, and what an arm lacks is a dash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.report.compare import Comparison

STAGES = ("reliability", "hygiene", "perplexity")  # before the colon of a step's name
GRADED = {"score", "scored", "items"}
LONG = 40  # characters: a longer text is a note below the table
ABSENT = "–"


@dataclass(frozen=True)
class StageTable:
    """`rows` are labels, each with one text an arm; `notes` are the stage's sentences, with the arms they are said of
    where these differ."""

    title: str
    arms: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]

    def compact(self) -> tuple[list[tuple[str, tuple[str, ...]]], str]:
        """The rows in which arms differ, and in one line what is the same in all."""
        alike = [(label, cells[0]) for label, cells in self.rows if len(cells) > 1 and len(set(cells)) == 1]
        same = dict(alike)
        return [row for row in self.rows if row[0] not in same], "; ".join(f"{label} {text}" for label, text in alike)


def health_tables(comparison: Comparison) -> list[StageTable]:
    """A table for each such stage that any arm has."""
    steps = dict.fromkeys(name for arm in comparison.arms for name in arm.result.steps if name.split(":")[0] in STAGES)
    return [_table(comparison, name) for name in steps]


def _table(comparison: Comparison, step: str) -> StageTable:
    found = {arm.result.name: dict(flat(arm.result.metrics(step))) for arm in comparison.arms}
    labels = dict.fromkeys(label for cells in found.values() for label in cells)
    long = {label for label in labels if any(len(cells.get(label, "")) > LONG for cells in found.values())}
    rows = [(label, tuple(cells.get(label, ABSENT) for cells in found.values())) for label in labels]
    notes = [note for label in labels if label in long for note in _notes(label, found)]
    return StageTable(step, tuple(found), tuple(row for row in rows if row[0] not in long), tuple(notes))


def _notes(label: str, found: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Each text once, with the arms it is said of where they do not all say it."""
    said: dict[str, list[str]] = {}
    for arm, cells in found.items():
        if label in cells:
            said.setdefault(cells[label], []).append(arm)
    for text, arms in said.items():
        whose = "" if len(said) == 1 else f" ({', '.join(arms)})"
        yield f"{label}{whose}: {text}"


def flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Labels and texts of nested metrics: `a / b`. A score that names its items is one text."""
    for key, value in metrics.items():
        label = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping) and {"score", "items"} <= value.keys() <= GRADED:
            scored = f"{text_of(value['scored'])}/" if "scored" in value else ""
            yield label, f"{text_of(value['score'])} ({scored}{text_of(value['items'])})"
        elif isinstance(value, Mapping):
            yield from flat(value, f"{label} / ")
        else:
            yield label, text_of(value)


def text_of(value: Any) -> str:
    """A number, a list or a text, short."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(text_of(part) for part in value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
