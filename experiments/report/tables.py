"""Tables of confounds, and of the stages that probe judges, answers and models: one column per arm, one row per
number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from experiments.metrics import anchoring, controls, degeneration, evaluation, probes
from experiments.report.compare import Comparison
from experiments.store.metrics import ABSENT, DetailedMetrics, number
from experiments.store.step import StageKey

PROBES: tuple[tuple[StageKey[DetailedMetrics], str], ...] = (
    (probes.RELIABILITY, "reliability of the judge"),
    (probes.HYGIENE, "hygiene of the answers"),
    (degeneration.TEMPLATE, "template of training and answers"),
    (anchoring.ANCHORING, "anchoring of the thinking"),
    (controls.CONTROL, "control of the thinking"),
    (probes.PERPLEXITY, "perplexity of held-out texts"),
    (evaluation.GRADE, "judge, official numbers and parts (counted/all)"),
)
LONG = 40  # characters: a longer text becomes a note below the table


@dataclass(frozen=True)
class TableView:
    """A plain table: column heads, and rows of texts whose first is the row's label."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ProbeTable:
    """`rows` are labels, each with one text for each arm; `notes` are sentences, with the arms they hold for where
    these differ."""

    title: str
    arms: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]

    @property
    def table_rows(self) -> list[tuple[str, ...]]:
        """Rows as flat texts, the label first."""
        return [(label, *cells) for label, cells in self.rows]

    def compact(self) -> tuple[list[tuple[str, tuple[str, ...]]], list[str]]:
        """The rows in which arms differ, and the others as `label text`."""
        equal = {label: cells[0] for label, cells in self.rows if len(cells) > 1 and len(set(cells)) == 1}
        return [row for row in self.rows if row[0] not in equal], [f"{label} {text}" for label, text in equal.items()]


def probe_tables(comparison: Comparison) -> list[ProbeTable]:
    """A table for each probe and benchmark that any arm has."""
    tables: list[ProbeTable] = []
    for stage, title in PROBES:
        labels = dict.fromkeys(label for arm in comparison.arms for label in arm.result.labels_of(stage))
        tables += [_table(comparison, stage, label, f"{label}: {title}" if label else title) for label in labels]
    return [table for table in tables if table.rows or table.notes]


def _table(comparison: Comparison, stage: StageKey[DetailedMetrics], label: str, title: str) -> ProbeTable:
    metrics = {arm.label: arm.result.metrics_of(stage, label) for arm in comparison.arms}
    cells = {arm: {d.label: d.text for d in (m.details() if m else ())} for arm, m in metrics.items()}
    labels = dict.fromkeys(name for of_arm in cells.values() for name in of_arm)
    long = [name for name in labels if any(len(of_arm.get(name, "")) > LONG for of_arm in cells.values())]
    rows = [(name, tuple(of_arm.get(name, ABSENT) for of_arm in cells.values())) for name in labels if name not in long]
    notes = tuple(note for name in long for note in _notes(name, cells))
    return ProbeTable(title=title, arms=tuple(cells), rows=tuple(rows), notes=notes)


def _notes(label: str, cells: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Each text once, with the arms it holds for where arms differ."""
    arms_by_text: dict[str, list[str]] = {}
    for arm, of_arm in cells.items():
        if label in of_arm:
            arms_by_text.setdefault(of_arm[label], []).append(arm)
    for text, arms in arms_by_text.items():
        suffix = "" if len(arms_by_text) == 1 else f" ({', '.join(arms)})"
        yield f"{label}{suffix}: {text}"


def confound_table(comparison: Comparison) -> TableView:
    """Confounds by arm; those that no arm reports are left out."""
    labels = comparison.reported_confounds()
    rows = [(label, *(number(arm.confounds.get(label)) for arm in comparison.arms)) for label in labels]
    return TableView(("", *(arm.label for arm in comparison.arms)), tuple(rows))
