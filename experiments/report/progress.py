"""The progress of a run in the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from textwrap import wrap

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column

from experiments.report.console import console, escape
from experiments.store.step import Artifact, StepName

TIME_WIDTH = 9  # characters of the time a stage took
BAR_WIDTH = 8  # characters: a narrow terminal shows the numbers, which say more
NAME_WIDTH = 19  # characters of the name of a stage
SECONDS_BETWEEN_LINES = 15.0  # of the progress of a stage, where there is no terminal


class Progress:
    """One line per stage as it ends, and one for all that are found in the store; while a stage runs, a bar with rate
    and remaining time (on a terminal). The rate is that since the first count: what was loaded before it, or found
    done, is no part of it. Times are in seconds of `clock`."""

    def __init__(self, run_name: str, stages: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.run_name, self.stages, self.clock, self.began = run_name, stages, clock, 0.0
        self.first = (0.0, 0)  # when something was first counted, and how much
        shortened = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        columns = (
            TextColumn("{task.description}", table_column=shortened),
            BarColumn(BAR_WIDTH),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self.bars = Bars(*columns, console=console, transient=True, expand=True, disable=not console.is_terminal)
        self.task: TaskID | None = None
        self.last_line = 0.0
        self.found: list[str] = []  # stages in the store, since the last line

    def __enter__(self) -> Progress:
        console.print(f"[bold]{escape(self.run_name)}[/]  {self.stages} stages")
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._show_found()
        self.bars.stop()

    def started(self) -> None:
        self._show_found()
        self.began = self.last_line = self.clock()

    def advance(self, what: str, done: int, total: int) -> None:
        """Show that the running stage has done `done` of `total`."""
        now = self.clock()
        if self.task is None:
            self.task, self.first = self.bars.add_task(escape(what), total=total, rate=""), (now, done)
        elif done < self.bars.tasks[self.bars.task_ids.index(self.task)].completed:
            self.bars.reset(self.task)  # something else is counted now, at another rate
            self.first = now, done
        seconds, counted = now - self.first[0], done - self.first[1]
        per_second = counted / seconds if seconds else 0.0
        rate = f"{per_second:.{'0f' if per_second >= 10 else '2g'}}/s" if per_second else ""
        self.bars.update(self.task, description=escape(what), completed=done, total=total, rate=rate)
        if not console.is_terminal and now - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = now
            left = f", {rate}, about {(total - done) / per_second:.0f} s left" if per_second else ""
            self._line("", f"{what} {done}/{total}{left}")

    def ended(self, name: StepName, artifact: Artifact, cached: bool) -> None:
        if self.task is not None:
            self.bars.remove_task(self.task)
            self.task = None
        if cached:
            self.found.append(str(name))
        else:
            took = f"{self.clock() - self.began:.1f} s"
            self._line(took, f"{name!s:<{NAME_WIDTH}} {artifact.metrics.headline()}")

    def _show_found(self) -> None:
        """All stages that were in the store since the last line, as a paragraph."""
        if self.found:
            first, *others = wrap(", ".join(self.found), console.width - TIME_WIDTH - 1, break_on_hyphens=False)
            self._line("cached", first)
            for line in others:
                self._line("", line)
            self.found = []

    def _line(self, took: str, text: str) -> None:
        """A line of the terminal's width; what does not fit is in the summary and the record."""
        console.print(f"{took:>{TIME_WIDTH}} {escape(text)}", no_wrap=True, overflow="ellipsis")
