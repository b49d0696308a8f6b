"""Send what was tracked offline: each directory on its own, so that a damaged one keeps no other from arriving."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from experiments.store.runs import Result
from experiments.tracking.client import add_tag, arrived_rows, put_row, stored_run
from experiments.tracking.destination import answers_now, has_key, server
from experiments.tracking.ledger import SUPERSEDED, Ledger, Mirror
from experiments.tracking.rows import LOCK, SentRow, send_all_rows
from experiments.tracking.tracker import TrackingFailed
from reer.errors import Incomplete, InputError

SYNC_SECONDS = 3600
NOT_FOR_SYNC = ("WANDB_MODE", "WANDB_DISABLED", "WANDB_RUN_ID", "WANDB_SERVICE", "WANDB_SILENT")


@dataclass(frozen=True)
class Arrival:
    """What became of one offline directory: the address and rows of the W&B run, or why it has not arrived."""

    run_name: str
    address: str
    rows: int = 0
    problem: str = ""


def require_wandb() -> None:
    """Raise InputError without a key, and Incomplete where W&B gives no answer."""
    if not has_key(os.environ):
        raise InputError("W&B: there is no key, so nothing can be sent; set WANDB_API_KEY, or run `wandb login`")
    address = server(os.environ)
    if not answers_now(address):
        raise Incomplete(f"W&B at {address} gives no answer; nothing is lost, run `reer sync` again later")


def sync(root: Path) -> Iterator[Arrival]:
    """Send every offline directory under a runtime.root that W&B does not have, then the rows and tags that changed
    since."""
    for folder in sorted(root.glob("runs/*/*/s*")):
        name = "/".join(folder.parts[-3:])
        try:
            with FileLock(folder / LOCK, timeout=0):
                yield from _sync_run(root, folder, name)
        except Timeout:
            yield Arrival(name, "", problem="it is running now; run `reer sync` again when it has ended")


def _sync_run(root: Path, folder: Path, name: str) -> Iterator[Arrival]:
    ledger = Ledger(folder)
    for mirror in ledger.mirrors:
        if mirror.online or mirror.folder is None:
            continue
        try:
            arrival, arrived = _sync_folder(root, root / mirror.folder, name, mirror)
        except TrackingFailed as error:
            yield Arrival(name, mirror.folder, problem=str(error))
        else:
            ledger.change(arrived)
            yield arrival
    for mirror in ledger.mirrors:
        if mirror.online:
            _bring_up_to_date(ledger, mirror)


def _sync_folder(root: Path, directory: Path, name: str, mirror: Mirror) -> tuple[Arrival, Mirror]:
    if not directory.is_dir():
        raise TrackingFailed(f"{directory}: is missing; rerun the run with tracking.mode=online to send its record")
    variables = {key: value for key, value in os.environ.items() if key not in NOT_FOR_SYNC}
    variables["WANDB_DIR"] = str(root.resolve())
    command = [sys.executable, "-m", "wandb", "sync", "--project", mirror.project, str(directory)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=SYNC_SECONDS)
    if done.returncode:
        raise TrackingFailed(f"wandb sync ended with exit code {done.returncode}: {_last_line(done.stderr)}")
    stored = stored_run(mirror.path)
    arrived = replace(mirror, online=True, folder=None, entity=stored.entity)
    return Arrival(name, stored.url, len(arrived_rows(arrived.path))), arrived


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def _bring_up_to_date(ledger: Ledger, mirror: Mirror) -> None:
    """The row that changed since the directory was written, and the tag of one that another replaced."""
    if mirror.superseded:
        add_tag(mirror.path, SUPERSEDED)
    elif mirror.row and not mirror.row_sent:
        put_row(mirror.path, mirror.row, {})
        ledger.change(replace(mirror, row_sent=True))


def sync_rows(results: Sequence[Result]) -> list[SentRow]:
    """Recompute the rows of all arms and bring those that changed to W&B. Raises Incomplete where W&B fails."""
    try:
        return send_all_rows(results)
    except TrackingFailed as error:
        raise Incomplete(f"W&B: {error}; run the same command again") from error
