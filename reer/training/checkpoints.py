"""Checkpoints on disk: complete or absent, and resumed only by the training that wrote them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from reer.errors import InputError
from reer.files import adapter, sync_tree, write_json

log = logging.getLogger(__name__)

MARKER = "COMPLETE"
Facts = Mapping[str, object]
"""Conditions that a resumed training must share with the checkpoint, by name; values are plain JSON."""


@dataclass(frozen=True)
class _Marker:
    """What a complete checkpoint states about itself: its conditions, and the size in bytes of every file."""

    facts: dict[str, object]
    files: dict[str, int]


def commit_checkpoint(checkpoint: Path, facts: Facts) -> None:
    """Flush a checkpoint to disk, then mark it complete with the conditions that a resumed training must share."""
    sync_tree(checkpoint)
    write_json(checkpoint / MARKER, {"facts": facts, "files": _sizes(checkpoint)})


def _sizes(checkpoint: Path) -> dict[str, int]:
    files = [file for file in sorted(checkpoint.rglob("*")) if file.is_file() and file.name != MARKER]
    return {str(file.relative_to(checkpoint)): file.stat().st_size for file in files}


def newest_complete(checkpoints: Path) -> Path | None:
    """The complete checkpoint with the highest step; None if there is none. One without a marker is ignored; one that
    has lost a file or a part of it since is passed over with a warning that names the file."""
    marked = sorted((path.parent for path in checkpoints.glob(f"checkpoint-*/{MARKER}")), key=step_of, reverse=True)
    for checkpoint in marked:
        damage = _damage(checkpoint)
        if not damage:
            return checkpoint
        log.warning("%s: %s; this checkpoint is not used, the one before it is", checkpoint, damage)
        (checkpoint / MARKER).unlink(missing_ok=True)  # the training will write here again, half of it at first
    return None


def _damage(checkpoint: Path) -> str:
    """What a marked checkpoint has lost; '' if it is complete."""
    try:
        marker = adapter(_Marker).validate_json((checkpoint / MARKER).read_bytes())
    except FileNotFoundError:  # another process of this training was first
        return "not complete"
    except ValidationError:
        return f"{MARKER} is damaged"
    sizes = _sizes(checkpoint)
    lost = [name for name, size in marker.files.items() if sizes.get(name) != size]
    return f"{lost[0]} is missing or has another size" if lost else ""


def resumable(checkpoints: Path, facts: Facts) -> Path | None:
    """The checkpoint to resume from, or None if there is none.

    Raises InputError if the newest one was written under other conditions: its steps would not be those of this
    training.
    """
    newest = newest_complete(checkpoints)
    if newest is None:
        return None
    recorded = adapter(_Marker).validate_json((newest / MARKER).read_bytes()).facts
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
