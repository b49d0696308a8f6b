"""Files of finished runs, changed as another time or another machine would have written them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.store.records import read_document, write_document

Change = Callable[[dict[str, Any]], object]


def rewritten(file: Path, change: Change) -> None:
    """Change the content of a record, lock or result, with a checksum that fits."""
    content: dict[str, Any] = dict(read_document(file))
    change(content)
    write_document(file, content)


def record_of(root: Path, stage: str) -> Path:
    """The record of the first result of a stage."""
    return min(root.glob(f"store/{stage}/*/record.json"))


def stage_folder(root: Path, run: str, step: str) -> Path:
    """The folder of a step's result that a run names."""
    folder = root / "runs" / run
    steps: dict[str, Any] = dict(read_document(folder / "result.json"))["steps"]  # pyright: ignore[reportAssignmentType]
    return (folder / steps[step]["path"]).resolve()
