"""How many worlds are done, on the error stream: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.report.console import aside, errors
from experiments.report.progress import SECONDS_BETWEEN_LINES

Outcome = TypeVar("Outcome")


def counted(outcomes: Iterable[Outcome], total: int) -> Iterator[Outcome]:
    """The outcomes of worlds, of which there will be `total`, while their number, rate and remaining time are shown."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("worlds {task.fields[rate]}"), TimeRemainingColumn())
    began = last_line = time.monotonic()
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bars:
        task = bars.add_task("", total=total, rate="")
        for done, outcome in enumerate(outcomes, start=1):
            seconds = time.monotonic() - began
            rate = f"{60 * done / seconds:.3g} a minute"
            bars.update(task, completed=done, rate=rate)
            if not errors.is_terminal and time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                aside(f"{done} of {total} worlds, {rate}, about {seconds * (total - done) / done:.0f} s left")
            yield outcome
