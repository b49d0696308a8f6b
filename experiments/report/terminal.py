"""A run in the terminal: its progress, its summary, and arms side by side."""

from __future__ import annotations

import time

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from evals.statistics.paired import Difference
from experiments.report import formatting
from experiments.report.compare import Comparison, SeedsComparison
from experiments.report.console import NAME_WIDTH, console, escape, folded, line, table, table_by_arms
from experiments.report.measures import metrics_in
from experiments.report.tables import ProbeTable, probe_tables
from experiments.report.views import confound_table
from experiments.stages.evaluation import score_text
from experiments.store.metrics import FilteredRowMetrics, RowMetrics
from experiments.store.runs import Result
from experiments.store.step import Artifact, StepName


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
