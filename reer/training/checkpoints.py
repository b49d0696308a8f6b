"""Checkpoints of a training on disk: complete or absent, and resumed from only by the training that wrote them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reer.errors import InputError
from reer.files import write_atomic

MARKER = "COMPLETE"
Facts = Mapping[str, Any]


def seal(checkpoint: Path, facts: Facts) -> None:
    """Have all of a checkpoint on disk, then mark it complete with what a resumption has to agree with."""
    for file in checkpoint.rglob("*"):
        if file.is_file():
            _sync(file)
    write_atomic(checkpoint / MARKER, json.dumps(facts))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def newest_complete(checkpoints: Path) -> Path | None:
    """The checkpoint with the highest step whose marker was written; others are cut short and passed over."""
    complete = [path.parent for path in checkpoints.glob(f"checkpoint-*/{MARKER}")]
    return max(complete, key=step_of, default=None)


def resumable(checkpoints: Path, facts: Facts) -> Path | None:
    """The checkpoint to go on from, None where there is none. Raises InputError where it is that of another training:
    its steps would not be those of this one."""
    newest = newest_complete(checkpoints)
    if newest is None:
        return None
    then = json.loads((newest / MARKER).read_text(encoding="utf-8"))
    moved = [
        f"  {name}: {then.get(name)} -> {facts.get(name)}"
        for name in sorted({*then, *facts})
        if then.get(name) != facts.get(name)
    ]
    if moved:
        raise InputError(
            f"training stopped at step {step_of(newest)} under other conditions:\n" + "\n".join(moved) + "\n"
            f"Go back to them, or delete {checkpoints} to train from the start."
        )
    return newest


def step_of(checkpoint: Path) -> int:
    """The optimizer step a checkpoint's folder is named after."""
    return int(checkpoint.name.split("-")[1])


def discard(folder: Path) -> None:
    """Delete checkpoints, their markers first: one that is cut short while it goes must not look complete."""
    for marker in folder.rglob(MARKER):
        marker.unlink()
    shutil.rmtree(folder, ignore_errors=True)
