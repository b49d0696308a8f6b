"""What a run needs of a tracker, and trackers that never stop a run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from experiments.store.failures import Failure
from experiments.store.runs import Result
from experiments.store.step import Artifact, StepName

log = logging.getLogger(__name__)


class TrackingFailed(Exception):
    """The tracking service failed; the message names its error."""


class Tracker(Protocol):
    """Mirrors a run. `where` is the address or folder of the mirror, None without one. Any method may raise
    TrackingFailed."""

    where: str | None

    def curve(self, step: str, row: Mapping[str, float]) -> None:
        """A row of the curve of a running step. Its position on the curve is `step` or `done`."""
        ...

    def stage(self, name: StepName, artifact: Artifact, cached: bool) -> None:
        """A finished stage; `cached` if it was in the store."""
        ...

    def result(self, result: Result) -> None:
        """The result of the run, which is written."""
        ...

    def failed(self, failure: Failure) -> None:
        """Why the run ends without a result."""
        ...

    def preempting(self) -> None:
        """The run is being ended from outside, and is expected to go on later."""
        ...

    def finish(self, exit_code: int) -> None:
        """The end of the run."""
        ...

    def abandon(self) -> None:
        """The end of a run whose tracking failed: releases what would otherwise complain when the process exits."""
        ...


class NullTracker:
    """No tracking."""

    where: str | None = None

    def curve(self, step: str, row: Mapping[str, float]) -> None: ...

    def stage(self, name: StepName, artifact: Artifact, cached: bool) -> None: ...

    def result(self, result: Result) -> None: ...

    def failed(self, failure: Failure) -> None: ...

    def preempting(self) -> None: ...

    def finish(self, exit_code: int) -> None: ...

    def abandon(self) -> None: ...


class FailSafeTracker:
    """Disables tracking after the first TrackingFailed instead of failing the run."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker, self.where = tracker, tracker.where
        self.broken: Tracker | None = None

    def curve(self, step: str, row: Mapping[str, float]) -> None:
        self._try(lambda: self.tracker.curve(step, row))

    def stage(self, name: StepName, artifact: Artifact, cached: bool) -> None:
        self._try(lambda: self.tracker.stage(name, artifact, cached))

    def result(self, result: Result) -> None:
        self._try(lambda: self.tracker.result(result))

    def failed(self, failure: Failure) -> None:
        self._try(lambda: self.tracker.failed(failure))

    def preempting(self) -> None:
        self._try(lambda: self.tracker.preempting())

    def finish(self, exit_code: int) -> None:
        self._try(lambda: self.tracker.finish(exit_code))
        self.abandon()

    def abandon(self) -> None:
        if self.broken is not None:
            with contextlib.suppress(TrackingFailed):
                self.broken.abandon()

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except TrackingFailed as error:
            log.warning("W&B failed (%s); the run continues without it", error)
            log.warning("rerun the same command to mirror this run from its record")
            self.broken, self.tracker, self.where = self.tracker, NullTracker(), None
