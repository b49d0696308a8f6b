"""How many worlds are done, on the error stream: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.report.console import aside, errors
from experiments.report.progress import SECONDS_BETWEEN_LINES


@contextmanager
def worlds_done(total: int) -> Generator[Callable[[int], None]]:
    """A callback that shows how many of `total` worlds are done, with their rate and the remaining time."""
    columns = (
        TextColumn("worlds"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    began = last_line = time.monotonic()
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bars:
        task = bars.add_task("worlds", total=total, rate="")

        def advance(done: int) -> None:
            nonlocal last_line
            seconds = time.monotonic() - began
            rate = f"{60 * done / seconds:.3g} worlds/min"
            bars.update(task, completed=done, rate=rate)
            if not errors.is_terminal and time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                aside(f"{done} of {total} worlds, {rate}, about {seconds * (total - done) / done:.0f} s left")

        yield advance
