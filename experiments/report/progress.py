"""The progress of a run in the terminal."""

from __future__ import annotations

import time

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from experiments.report.console import console, escape
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
