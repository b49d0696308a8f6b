"""What is known on disk of batches under way: one small file for each, whole or not there."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from reer.files import write_atomic
from reer.types import content_id

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PendingBatch:
    """A batch: the provider's id of it, whose it is, what it was asked, and when (seconds since 1970)."""

    id: str
    server: str
    address: str
    custom_ids: tuple[str, ...]
    submitted_at: float


_NOTE = TypeAdapter(PendingBatch)


class BatchLedger:
    """The notes in a folder of one server's batches. Those that cannot be read are passed over, and said."""

    def __init__(self, folder: Path, server: str, address: str) -> None:
        self.folder, self.server, self.address = folder, server, address

    def about(self, wanted: Collection[str]) -> list[PendingBatch]:
        """Batches that hold something of what is wanted, oldest first."""
        found = [note for file in sorted(self.folder.glob("*.json")) if (note := self._read(file))]
        ours = [note for note in found if (note.server, note.address) == (self.server, self.address)]
        return sorted(
            (note for note in ours if any(key in wanted for key in note.custom_ids)), key=lambda note: note.submitted_at
        )

    def _read(self, file: Path) -> PendingBatch | None:
        try:
            return _NOTE.validate_json(file.read_bytes())
        except (ValidationError, FileNotFoundError) as error:
            log.warning("%s says nothing of a batch and is passed over: %s", file, str(error).splitlines()[0])
            return None

    def add(self, batch: str, custom_ids: Sequence[str]) -> PendingBatch:
        """Note a batch that was just submitted, to last through a power cut."""
        note = PendingBatch(batch, self.server, self.address, tuple(custom_ids), time.time())
        write_atomic(self._file(note), json.dumps(asdict(note)))
        return note

    def put_away(self, note: PendingBatch) -> None:
        """Its answers are kept elsewhere: it is not waited for again. The file stays, under another name."""
        file = self._file(note)
        if file.exists():
            os.replace(file, file.with_suffix(".ended"))

    def _file(self, note: PendingBatch) -> Path:
        return self.folder / f"{content_id(self.address, note.id)}.json"
