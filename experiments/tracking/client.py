"""Calls of W&B: whatever they raise is TrackingFailed, and none waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psutil

from experiments.tracking.tracker import TrackingFailed

if TYPE_CHECKING:
    from wandb.apis.public import Run

HANG_SECONDS = 120.0  # more than W&B's own limits of 30 s for the start and 60 s for the end of a run
MOST_ROWS = 1_000_000  # more than the rows of any run, so that W&B returns all of them and no sample


@contextmanager
def wandb_calls() -> Iterator[None]:
    """Around calls of W&B and nothing else: turns what these raise into TrackingFailed. W&B has no common class of its
    errors, and raises ValueError and RuntimeError for rejected settings and for a lost connection to its process. A
    call that has not returned after `HANG_SECONDS` waits for that process, which is then ended, so that the call
    fails."""
    watchdog = threading.Timer(HANG_SECONDS, _end_wandb_core)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except Exception as error:
        of_wandb = type(error).__module__.partition(".")[0] in ("wandb", "wandb_workspaces")
        if of_wandb or isinstance(error, OSError | ValueError | RuntimeError | ImportError):
            raise TrackingFailed(f"{type(error).__name__}: {error}") from error
        raise
    finally:
        watchdog.cancel()


def _end_wandb_core() -> None:
    """Kill the process through which this one reaches W&B: one that hangs answers no request to end."""
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if child.name() == "wandb-core":
                child.kill()


def stored_run(path: str) -> Run:
    """A run as W&B's server has it. Raises TrackingFailed where it has none."""
    with wandb_calls():
        import wandb

        return wandb.Api(timeout=20).run(path)


def arrived_rows(path: str) -> list[Mapping[str, Any]]:
    """All rows of the history of a run that the server has."""
    run = stored_run(path)
    with wandb_calls():
        return list(run.history(samples=MOST_ROWS, pandas=False))  # pyright: ignore[reportArgumentType]


def put_row(path: str, row: Mapping[str, float | str], old: Mapping[str, float | str]) -> None:
    """Write the row of the table into the summary of a run that the server has; columns of the old row that the new one
    lacks are removed."""
    run = stored_run(path)
    with wandb_calls():
        for gone in old.keys() - row.keys():
            with suppress(KeyError):
                del run.summary[gone]
        run.summary.update(dict(row))


def add_tag(path: str, tag: str) -> None:
    """Tag a run that the server has."""
    run = stored_run(path)
    with wandb_calls():
        if tag not in run.tags:
            run.tags = [*run.tags, tag]  # pyright: ignore[reportAttributeAccessIssue]  # W&B declares it at run time
            run.update()
