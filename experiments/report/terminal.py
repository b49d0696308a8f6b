"""What people see in the terminal: progress, the summary of a run, plans and tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from experiments.report import wording
from experiments.report.compare import Cell, Comparison, SeedsComparison
from experiments.report.stage_words import measured, number, one_line
from experiments.report.tables import StageTable, health_tables
from experiments.report.wording import score
from experiments.store.runs import Result
from experiments.store.stages import Artifact

ARMS_ABREAST = 6  # in a table as wide as a terminal
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


class Progress:
    """One line per stage as it ends; while a stage runs, a bar with rate and remaining time (on a terminal)."""

    def __init__(self, run_name: str, stages: int) -> None:
        self.run_name, self.stages, self.done, self.began = run_name, stages, 0, 0.0
        columns = (
            TextColumn("   {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self.bars = Bars(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task: Any = None
        self.last_line = 0.0

    def __enter__(self) -> Progress:
        console.print(f"[bold]{escape(self.run_name)}[/]  {self.stages} stages")
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def started(self, name: str) -> None:
        self.began = self.last_line = time.monotonic()
        if not console.is_terminal:
            console.print(f"  …       {escape(name)}")

    def advance(self, what: str, done: int, total: int) -> None:
        """`done` of `total` things of the running stage."""
        seconds = time.monotonic() - self.began
        rate = f"{done / seconds:.2g}/s" if seconds else ""
        if self.task is None:
            self.task = self.bars.add_task(what, total=total, rate=rate)
        self.bars.update(self.task, description=what, completed=done, total=total, rate=rate)
        if not console.is_terminal and time.monotonic() - self.last_line > 15:
            self.last_line = time.monotonic()
            left = (total - done) * seconds / max(done, 1)
            console.print(f"          {what} {done}/{total}, {rate}, about {left:.0f} s left")

    def ended(self, name: str, artifact: Artifact, cached: bool) -> None:
        self.done += 1
        if self.task is not None:
            self.bars.remove_task(self.task)
            self.task = None
        took = "cached " if cached else f"{time.monotonic() - self.began:5.1f} s"
        console.print(f"  {took} {escape(name):<18} {escape(one_line(artifact.metrics))}")


def summary(result: Result) -> None:
    """The end of a run: counts by stage, drops by reason, scores before and after, losses, benchmarks, where it is."""
    table = Table(
        "stage", "rows", "left out, by reason", "measured", title=escape(result.run_name), title_justify="left"
    )
    for name, step in result.steps.items():
        metrics = step["metrics"]
        dropped = "\n".join(f"{reason} {n}" for reason, n in metrics.get("dropped", {}).items())
        table.add_row(escape(name), str(metrics.get("rows", "")), escape(dropped), escape(measured(name, metrics)))
    console.print(table)
    if result.caution:
        console.print(f"[yellow]{escape(result.caution)}[/]")
    console.print(f"W&B run: {escape(result.tracked or 'none')}", soft_wrap=True)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table."""
    shown = Table(*head, title=title, title_justify="left")
    for row in rows:
        shown.add_row(*(escape(cell) for cell in row))
    console.print(shown)


def comparison(c: Comparison) -> None:
    """Arms side by side: scores with paired differences, what came with each arm, what was changed, warnings, and the
    same over seeds."""
    base = c.arms[0].result.name
    rows = [(arm.result.name, *(_cell(arm.cells[name]) for name in c.measures)) for arm in c.arms]
    title = (
        f"scale {c.scale}, seed {c.seed}: score (scored/all, and its bounds); below it the paired difference from "
        f"{base}, 95 % interval, p (corrected for the arms), items, ≥ what they could show; then what may be said "
        f"(equivalent: within {wording.EQUIVALENCE})"
    )
    table(title, ("arm", *c.measures), rows)
    _confounds(c)
    for found in health_tables(c):
        _stage_table(found)
    for arm in c.arms:
        for changed in arm.changed:
            line(f"{arm.result.name}: {changed}")
    for arm in c.arms:
        if arm.idle:
            line(f"{arm.result.name}: trained on the very same tokens as {base}: this ablation changed nothing here")
    for caution in c.cautions:
        line(caution)
    if c.over_seeds:
        _over_seeds(c.over_seeds)


def _cell(cell: Cell) -> str:
    measured = score(cell.measure) if cell.measure else "not run"
    d = cell.difference
    texts = (measured, wording.published_text(cell.published), wording.difference_text(d), wording.finding_text(d))
    return "\n".join(filter(None, texts))


def _over_seeds(c: SeedsComparison) -> None:
    rows = []
    for arm in c.arms:
        cells = [(arm.cells[name], arm.cells[name].difference) for name in c.measures]
        texts = [(wording.seeds_text(cell), wording.difference_text(d), wording.finding_text(d)) for cell, d in cells]
        rows.append((arm.name, *("\n".join(filter(None, lines)) for lines in texts)))
    if rows:
        table(
            f"scale {c.scale}, over seeds {', '.join(map(str, c.seeds))}: mean ± deviation between seeds; below it the "
            f"difference from {rows[0][0]}, interval and p for new seeds and items (items alone: for these models), sd "
            "of the difference between seeds, ≥ what so many could show",
            ("arm", *c.measures),
            rows,
        )
    for said in c.left_out:
        line(said)


def _stage_table(found: StageTable) -> None:
    differing, same = found.compact()
    for start in range(0, len(found.arms), ARMS_ABREAST):
        part = slice(start, start + ARMS_ABREAST)
        if differing:
            table(found.title, ("", *found.arms[part]), [(label, *cells[part]) for label, cells in differing])
    if same:
        line(f"{found.title}, the same in all arms: {same}")
    for note in found.notes:
        line(note)


def _confounds(c: Comparison) -> None:
    for start in range(0, len(c.arms), ARMS_ABREAST):
        arms = c.arms[start : start + ARMS_ABREAST]
        found = [
            (label, *("–" if (told := arm.confounds[label]) is None else number(told) for arm in arms))
            for label in c.counted()
        ]
        table("what came with it", ("", *(arm.result.name for arm in arms)), found)


def line(text: str) -> None:
    console.print(escape(text), soft_wrap=True)


def error(text: str) -> None:
    """An error for a person: no traceback, what to do is in the text."""
    Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)


def where(path: Path) -> None:
    console.print(f"HTML report: {escape(str(path))}", soft_wrap=True)
