"""The end of a run in the terminal."""

from __future__ import annotations

from experiments.report.console import NAME_WIDTH, console, escape, folded, line, table
from experiments.report.measures import metrics_in
from experiments.store.metrics import FilteredRowMetrics, RowMetrics
from experiments.store.runs import Result


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
