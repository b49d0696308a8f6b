"""The curves of a run in W&B: each row once, in whatever process it was measured."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from experiments.tracking.client import wandb_calls

AXES = ("step", "done")  # the number of a row that is its position on a curve
PACE_SECONDS = 5.0  # between two rows of the curve of a stage that reports its progress


class Client(Protocol):
    """What is needed of a W&B run."""

    def define_metric(self, name: str, *, step_metric: str | None, hidden: bool | None, summary: str | None) -> Any: ...

    def log(self, data: dict[str, Any]) -> None: ...


@dataclass
class Curve:
    """One curve: the positions that arrived before this process began, those it sent, and a row that came too soon
    after the last one."""

    name: str
    axis: str
    arrived: frozenset[float]
    sent: set[float] = field(default_factory=set[float])
    last: float = float("-inf")
    waiting: Mapping[str, float] | None = None

    def is_new(self, row: Mapping[str, float]) -> bool:
        """Whether a row is beyond all that W&B has."""
        return row[self.axis] > max((*self.arrived, *self.sent), default=float("-inf"))

    def is_missing(self, row: Mapping[str, float]) -> bool:
        return row[self.axis] not in self.arrived and row[self.axis] not in self.sent


class Curves:
    """The curves of one W&B run; `arrived` are the rows that W&B has of it."""

    def __init__(self, run: Client, arrived: Sequence[Mapping[str, Any]]) -> None:
        self.run, self.arrived = run, arrived
        self.curves: dict[str, Curve] = {}

    def add(self, step: str, row: Mapping[str, float]) -> None:
        """A row as it comes. Rows of progress are sent at most every few seconds."""
        curve = self._curve(step, row)
        if not curve.is_new(row):
            return
        if curve.axis == "done" and time.monotonic() - curve.last < PACE_SECONDS:
            curve.waiting = row
        else:
            self._send(curve, row)

    def fill(self, step: str, row: Mapping[str, float]) -> None:
        """A row from the record, which is sent where W&B does not have it."""
        curve = self._curve(step, row)
        if curve.is_missing(row):
            self._send(curve, row)

    def end(self, step: str) -> None:
        """The end of a step: its last row is sent, however soon it came."""
        curve = self.curves.get(_prefix(step))
        if curve is not None and curve.waiting is not None:
            self._send(curve, curve.waiting)

    def _curve(self, step: str, row: Mapping[str, float]) -> Curve:
        name = _prefix(step)
        if name not in self.curves:
            axis = next(axis for axis in AXES if axis in row)
            key = f"{name}/{axis}"
            with wandb_calls():
                self.run.define_metric(key, step_metric=None, hidden=True, summary="none")
                self.run.define_metric(f"{name}/*", step_metric=key, hidden=None, summary="none")
            self.curves[name] = Curve(name, axis, frozenset(row[key] for row in self.arrived if key in row))
        return self.curves[name]

    def _send(self, curve: Curve, row: Mapping[str, float]) -> None:
        curve.waiting, curve.last = None, time.monotonic()
        curve.sent.add(row[curve.axis])
        with wandb_calls():
            self.run.log({f"{curve.name}/{key}": value for key, value in row.items()})


def _prefix(step: str) -> str:
    return step.replace(":", "/")
