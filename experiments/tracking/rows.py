"""The rows of the table in W&B: each arm's summary is its row, and all rows of a scale and seed change when one arm,
such as the baseline, arrives."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from experiments.report.arms import crossing_of
from experiments.report.compare import Arm, Comparison, compare
from experiments.report.exports.row import Row, summary_row
from experiments.store.fingerprint import Json
from experiments.store.runs import Result, all_results
from experiments.tracking.client import put_row
from experiments.tracking.ledger import Ledger

log = logging.getLogger(__name__)
LOCK = ".mirrored.lock"  # held by the process that mirrors a run


@dataclass(frozen=True)
class SentRow:
    """A row that W&B has now, or that `reer sync` sends later."""

    run_name: str
    sent: bool


def comparison_at(runs: Path, scale: str, seed: int, identity: Mapping[str, Json]) -> Comparison | None:
    """All current results of a scale and seed beside their baseline, as `reer compare` shows them: those with the
    judge, benchmarks and source of an experiment's identity."""
    crossing = crossing_of(identity)
    at = [
        result
        for result in all_results(runs)
        if (result.scale, result.seed, crossing_of(result.identity)) == (scale, seed, crossing)
    ]
    current = [result for result in at if not result.why_stale()]
    return compare(current)[0] if current else None


def arm_of(comparison: Comparison, result: Result) -> Arm:
    """The arm of a result, which may be known by another name of the same experiment."""
    return next(arm for arm in comparison.arms if result.name in (arm.name, *arm.aliases))


def send_rows(comparison: Comparison, online: bool) -> list[SentRow]:
    """Bring the row of every arm to its W&B run, where it is another than W&B has; where `online` is False, keep it for
    `reer sync`. Raises TrackingFailed."""
    rows = [(arm.result, summary_row(comparison, arm)) for arm in comparison.arms]
    return [sent for result, row in rows if (sent := _send(result, row, online)) is not None]


def send_all_rows(results: Sequence[Result]) -> list[SentRow]:
    """The same for all scales and seeds among the results."""
    return [sent for comparison in compare(results) for sent in send_rows(comparison, online=True)]


def _send(result: Result, row: Row, online: bool) -> SentRow | None:
    """None where W&B has this row, has no such run, or another process mirrors the run and brings it."""
    if result.folder is None:
        return None
    try:
        with FileLock(result.folder / LOCK, timeout=0):
            ledger = Ledger(result.folder)
            mirror = ledger.current
            if mirror is None or (mirror.row_sent and mirror.row == row):
                return None
            sent = online and mirror.online
            if sent:
                put_row(mirror.path, row, mirror.row)
            ledger.change(replace(mirror, row=row, row_sent=sent))
            return SentRow(result.run_name, sent)
    except Timeout:
        log.info("%s: another process mirrors this run to W&B and brings its row", result.run_name)
        return None
