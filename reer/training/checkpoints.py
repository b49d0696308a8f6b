"""Checkpoints on disk: complete or absent, and resumed only by the training that wrote them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from reer.errors import InputError
from reer.files import write_atomic

MARKER = "COMPLETE"
Facts = Mapping[str, object]
"""Conditions that a resumed training must share with the checkpoint, by name; values are plain JSON."""


def commit_checkpoint(checkpoint: Path, facts: Facts) -> None:
    """Flush a checkpoint to disk, then mark it complete with the conditions that a resumed training must share."""
    for file in checkpoint.rglob("*"):
        if file.is_file():
            _flush(file)
    write_atomic(checkpoint / MARKER, json.dumps(facts))


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def newest_complete(checkpoints: Path) -> Path | None:
    """The complete checkpoint with the highest step. Incomplete ones are ignored."""
    complete = [path.parent for path in checkpoints.glob(f"checkpoint-*/{MARKER}")]
    return max(complete, key=step_of, default=None)


def resumable(checkpoints: Path, facts: Facts) -> Path | None:
    """The checkpoint to resume from, or None if there is none.

    Raises InputError if the newest one was written under other conditions: its steps would not be those of this
    training.
    """
    newest = newest_complete(checkpoints)
    if newest is None:
        return None
    recorded = json.loads((newest / MARKER).read_text(encoding="utf-8"))
    differences = [
        f"  {name}: {recorded.get(name)} -> {facts.get(name)}"
        for name in sorted({*recorded, *facts})
        if recorded.get(name) != facts.get(name)
    ]
    if differences:
        raise InputError(
            f"training stopped at step {step_of(newest)} under other conditions:\n" + "\n".join(differences) + "\n"
            f"Restore them, or delete {checkpoints} to train from the start."
        )
    return newest


def step_of(checkpoint: Path) -> int:
    """The optimizer step in the name of a checkpoint's folder."""
    return int(checkpoint.name.split("-")[1])


def delete_checkpoints(folder: Path) -> None:
    """Delete a folder of checkpoints, markers first: a deletion that is interrupted leaves no complete checkpoint."""
    for marker in folder.rglob(MARKER):
        marker.unlink()
    shutil.rmtree(folder, ignore_errors=True)
