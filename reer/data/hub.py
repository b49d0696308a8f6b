"""`source=hub`: pairs from a data set on the Hugging Face hub, at a pinned revision."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from reer.data.rows import Fields, OnBadRow, Problems, raw_pair
from reer.errors import InputError
from reer.types import RawPair

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubSource:
    """Rows of one split. `fields.query` may name a chat-message list (or its JSON text): its first content counts,
    as in DeepWriting-20K (paper.md §3.5). `limit` bounds what is read."""

    repo: str
    revision: str
    split: str
    fields: Fields = field(default_factory=Fields)
    config: str | None = None
    limit: int | None = None
    min_votes: float | None = None
    on_bad_row: OnBadRow = "error"

    @property
    def name(self) -> str:
        return self.repo

    def __post_init__(self) -> None:
        if "/" not in self.repo or not self.revision:
            raise InputError(f"source=hub: want repo 'owner/name' and a revision, got {self.repo!r} {self.revision!r}")

    def rows(self, problems: Problems) -> Iterator[RawPair]:
        """Rows in the split's order, streamed."""
        from datasets import load_dataset

        commit = commit_of(self.repo, self.revision)
        table = load_dataset(self.repo, self.config, split=self.split, revision=commit, streaming=True)
        for number, row in enumerate(table if self.limit is None else table.take(self.limit)):
            where = f"{self.repo}/{self.split}:{number}"
            pair = raw_pair(_flat(row, self.fields.query), self.fields, self.name, where, problems)
            if pair is not None:
                yield pair


def commit_of(repo: str, revision: str) -> str:
    """The commit a revision names. A branch is looked up once per reading, and the user told what to pin."""
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import HfApi

    commit = HfApi().dataset_info(repo, revision=revision).sha
    if commit is None:
        raise InputError(f"data set {repo}: the hub names no commit for revision {revision!r}; give 40 hex digits")
    log.warning(
        "%s at %r is commit %s today; pin it (revision=%s) for a run that repeats", repo, revision, commit, commit
    )
    return commit


def _flat(row: Mapping[str, Any], query: str) -> Mapping[str, Any]:
    """The row with a chat-message query replaced by its first content."""
    value = row.get(query)
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        with suppress(ValueError):  # a query that merely begins like a list
            value = json.loads(value)
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return {**row, query: value[0].get("content")}
    return row
