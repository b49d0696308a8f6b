"""Terminal output: progress, the summary of a run, plans and tables.

Tables fit the terminal (80 columns where there is none): wide ones are split by arms, and names wrap at separators.
"""

from __future__ import annotations

import io
import os
import re
import sys
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal, TextIO, cast

from rich import box
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from evals.statistics.paired import Difference
from experiments.choices import Choice
from experiments.report import formatting
from experiments.report.compare import Comparison, SeedsComparison
from experiments.report.measures import metrics_in
from experiments.report.tables import ProbeTable, probe_tables
from experiments.report.views import confound_table
from experiments.stages.evaluation import score_text
from experiments.store.metrics import FilteredRowMetrics, RowMetrics
from experiments.store.runs import Result
from experiments.store.step import Artifact, StepName
from reer.secrets import redacted
from reer.text import without_control_characters

NAME_WIDTH = 24  # characters of a row's label before it wraps
ARM_WIDTH = 13  # characters of an arm's name at the head of a column
PADDING = 3  # characters between two columns


class Output(io.TextIOBase):
    """`sys.stdout` or `sys.stderr`, whichever object it is by now, as a file that takes every text: where one cannot be
    written (a full disk, a closed terminal), it and all later ones are dropped, because a display is no reason to end a
    run."""

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self.name = name

    @property
    def stream(self) -> TextIO:
        return sys.stdout if self.name == "stdout" else sys.stderr

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.stream.encoding or "utf-8"

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        """Send what is still buffered, and all that follows, to the null device."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.stream.fileno())
        os.close(null)


console = Console(file=cast(TextIO, Output("stdout")), highlight=False)
errors = Console(file=cast(TextIO, Output("stderr")), highlight=False)


def escape(text: str) -> str:
    """A text as it may be shown: without markup, control characters and secrets."""
    return escape_markup(redacted(without_control_characters(text)))


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
        self.task: TaskID | None = None
        self.last_line = 0.0

    def __enter__(self) -> Progress:
        console.print(f"[bold]{escape(self.run_name)}[/]  {self.stages} stages")
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def started(self, name: StepName) -> None:
        self.began = self.last_line = time.monotonic()
        if not console.is_terminal:
            console.print(f"  …       {escape(str(name))}")

    def advance(self, what: str, done: int, total: int) -> None:
        """Show that the running stage has done `done` of `total`."""
        seconds = time.monotonic() - self.began
        rate = f"{done / seconds:.2g}/s" if seconds else ""
        if self.task is None:
            self.task = self.bars.add_task(escape(what), total=total, rate=rate)
        self.bars.update(self.task, description=escape(what), completed=done, total=total, rate=rate)
        if not console.is_terminal and time.monotonic() - self.last_line > 15:
            self.last_line = time.monotonic()
            left = (total - done) * seconds / max(done, 1)
            console.print(f"          {escape(what)} {done}/{total}, {rate}, about {left:.0f} s left")

    def ended(self, name: StepName, artifact: Artifact, cached: bool) -> None:
        self.done += 1
        if self.task is not None:
            self.bars.remove_task(self.task)
            self.task = None
        took = "cached " if cached else f"{time.monotonic() - self.began:5.1f} s"
        console.print(f"  {took} {escape(str(name)):<18} {escape(artifact.metrics.headline())}", soft_wrap=True)


def summary(result: Result) -> None:
    """The end of a run: rows and drops of each stage, its metrics, and where the run is tracked."""
    rows: list[tuple[str, ...]] = []
    for name, metrics in metrics_in(result).items():
        kept = str(metrics.rows) if isinstance(metrics, RowMetrics) else ""
        dropped = metrics.dropped if isinstance(metrics, FilteredRowMetrics) else {}
        reasons = "\n".join(folded(f"{reason} {count}", NAME_WIDTH) for reason, count in dropped.items())
        rows.append((str(name), kept, reasons, "\n".join(metrics.summary())))
    table(result.run_name, ("stage", "rows", "dropped", "result"), rows)
    if result.caution:
        console.print(f"[yellow]{escape(result.caution)}[/]")
    line(f"W&B run: {result.tracked or 'none'}")


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table with its title above. The first column holds names, which wrap at separators."""
    console.print(f"\n[bold]{escape(title)}[/]")
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i, text in enumerate(head):
        shown.add_column(escape(text), no_wrap=i == 0)
    for label, *cells in rows:
        shown.add_row(escape(folded(label, NAME_WIDTH)), *(escape(cell) for cell in cells))
    console.print(shown)


def table_by_arms(title: str, arms: Sequence[str], rows: Sequence[Sequence[str]], head: str = "") -> None:
    """A table with one column per arm, split into several where the terminal is too narrow for all arms."""
    names = [folded(arm, ARM_WIDTH) for arm in arms]
    lines = [folded(row[0], NAME_WIDTH).split("\n") for row in rows]
    left = max((len(text) for label in lines for text in label), default=0)
    widths = [
        max(len(text) for text in [*names[i].split("\n"), *(row[i + 1] for row in rows)]) for i in range(len(arms))
    ]
    for part in parts(widths, console.width - left):
        table(title, (head, *names[part]), [(row[0], *row[1:][part]) for row in rows])


def parts(widths: Sequence[int], room: int) -> list[slice]:
    """Consecutive columns that fit into `room` characters together with their padding; at least one in each part."""
    slices: list[slice] = []
    start, used = 0, 0
    for i, width in enumerate(widths):
        if i > start and used + width + PADDING > room:
            slices.append(slice(start, i))
            start, used = i, 0
        used += width + PADDING
    return [*slices, slice(start, len(widths))] if widths else []


def folded(name: str, width: int) -> str:
    """A name in lines of at most `width` characters, broken after separators; a longer piece stays whole."""
    lines = [""]
    for piece in re.findall(r"[^\s_/+=.:-]+[\s_/+=.:-]*|[\s_/+=.:-]+", name):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(text.rstrip() for text in lines)


def comparison(compared: Comparison) -> None:
    """Arms side by side: scores with paired differences, confounds, probes, changed configuration, cautions, and the
    comparison over seeds."""
    base = compared.arms[0].name
    for name in compared.measures:
        _measure(compared, name)
    line(
        f"score: value (scored/all items, and its bounds where some are missing); difference: paired with {base}, 95 % "
        "interval; p (corrected by Holm for all arms); n: items, ≥ the difference they can detect; equivalent: within "
        f"{formatting.EQUIVALENCE}"
    )
    confounds = confound_table(compared)
    table_by_arms(f"confounds, scale {compared.scale}, seed {compared.seed}", confounds.columns[1:], confounds.rows)
    for probe in probe_tables(compared):
        _probe(probe)
    for arm in compared.arms:
        for changed in arm.changed:
            line(f"{arm.name}: {changed}")
    for arm in compared.arms:
        if arm.no_op:
            line(f"{arm.name}: trained on the same tokens as {base}: this ablation changed nothing")
    for caution in compared.cautions:
        line(caution)
    if compared.over_seeds:
        _over_seeds(compared.over_seeds)


def _measure(compared: Comparison, name: str) -> None:
    """One measure: a row for each arm."""
    rows: list[tuple[str, ...]] = []
    for arm in compared.arms:
        cell = arm.cells[name]
        score = score_text(cell.measure).replace(" (", "\n(") if cell.measure else "not run"
        texts = [score, formatting.published_text(cell.published)]
        rows.append((arm.name, "\n".join(filter(None, texts)), *_difference_cells(cell.difference)))
    table(
        f"{name}, scale {compared.scale}, seed {compared.seed}",
        ("arm", "score", "difference", "p", "n", "conclusion"),
        rows,
    )


def _difference_cells(difference: Difference | None) -> tuple[str, str, str, str]:
    if difference is None:
        return "", "", "", ""
    change = formatting.change_text(difference).replace(" [", "\n[").replace(", ", ",")  # the interval stays whole
    p, sample = formatting.p_text(difference), formatting.sample_text(difference)
    return change, p.replace(" (", "\n("), sample.replace(" ", "\n"), formatting.finding_text(difference)


def _over_seeds(compared: SeedsComparison) -> None:
    seeds = ", ".join(map(str, compared.seeds))
    for name in compared.measures if compared.arms else ():
        rows = [
            (arm.name, formatting.seeds_text(cell), *_difference_cells(cell.difference))
            for arm in compared.arms
            if (cell := arm.cells[name])
        ]
        head = ("arm", "mean ± sd", "difference", "p", "n", "conclusion")
        table(f"{name}, scale {compared.scale}, over seeds {seeds}", head, rows)
    if compared.arms:
        line(
            f"mean ± standard deviation between seeds; difference from {compared.arms[0].name}, interval and p for new "
            "seeds and items (items alone: for these trained models); sd: of the difference between seeds; ≥ the "
            "difference that this many seeds and items can detect"
        )
    for reason in compared.left_out:
        line(reason)


def _probe(probe: ProbeTable) -> None:
    differing, same = probe.compact()
    if differing:
        table_by_arms(probe.title, probe.arms, [(label, *cells) for label, cells in differing])
    if same:
        line(f"{probe.title}, the same in all arms: {'; '.join(same)}")
    for note in probe.notes:
        line(note)


def line(text: str) -> None:
    console.print(escape(text), soft_wrap=True)


def error(text: str) -> None:
    """An error for the user, without a traceback: the text contains what to do."""
    errors.print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)


def where(path: Path) -> None:
    console.print(f"HTML report: {escape(str(path))}", soft_wrap=True)


def show_choices(choices: Sequence[Choice]) -> None:
    """The choices of each group with a sentence on each; * marks the default, and for what where a group fills several
    keys (`model`)."""
    for group, members in groupby(choices, key=lambda choice: choice.group):
        rows = [(_marked(choice), choice.description) for choice in members]
        table(group, ("choice", "description"), rows)
    line("* used where no override is given; override with GROUP=CHOICE, e.g. search=single_pass")


def _marked(choice: Choice) -> str:
    if not choice.used_by:
        return choice.name
    keys = [key for key in choice.used_by if key != choice.group]
    return f"{choice.name} *" + (f"\n({', '.join(keys)})" if keys else "")
