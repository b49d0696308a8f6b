"""The pending batches on disk: one small file each, written atomically."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ValidationError

from reer.files import adapter, write_atomic
from reer.types import content_id

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PendingBatch:
    """A submitted batch: the provider's `id`, the server and address it was sent to, its requests, and the time of
    submission (seconds since 1970)."""

    id: str
    server: str
    address: str
    custom_ids: tuple[str, ...]
    submitted_at: float


class BatchLedger:
    """The pending batches of one server, in a folder. Unreadable files are skipped with a warning."""

    def __init__(self, folder: Path, server: str, address: str) -> None:
        self.folder, self.server, self.address = folder, server, address

    def pending(self, custom_ids: Collection[str]) -> list[PendingBatch]:
        """Batches of this server that hold at least one of these requests, oldest first."""
        batches = [batch for file in sorted(self.folder.glob("*.json")) if (batch := self._read(file))]
        own = [batch for batch in batches if (batch.server, batch.address) == (self.server, self.address)]
        matching = [batch for batch in own if any(key in custom_ids for key in batch.custom_ids)]
        return sorted(matching, key=lambda batch: batch.submitted_at)

    def _read(self, file: Path) -> PendingBatch | None:
        try:
            return adapter(PendingBatch).validate_json(file.read_bytes())
        except (ValidationError, FileNotFoundError) as error:
            log.warning("%s does not describe a batch and is skipped: %s", file, str(error).splitlines()[0])
            return None

    def add(self, batch: str, custom_ids: Sequence[str]) -> PendingBatch:
        """Record a batch that was just submitted; the record survives a power cut."""
        pending = PendingBatch(
            id=batch, server=self.server, address=self.address, custom_ids=tuple(custom_ids), submitted_at=time.time()
        )
        write_atomic(self._file(pending), json.dumps(asdict(pending)))
        return pending

    def archive(self, batch: PendingBatch) -> None:
        """Rename the file of a batch whose answers are stored elsewhere, so that it is not waited for again."""
        file = self._file(batch)
        if file.exists():
            os.replace(file, file.with_suffix(".ended"))

    def _file(self, batch: PendingBatch) -> Path:
        return self.folder / f"{content_id(self.address, batch.id)}.json"
