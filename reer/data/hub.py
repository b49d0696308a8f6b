"""`source=hub`: pairs from a data set on the Hugging Face hub, at a pinned revision."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from pydantic import PositiveInt

from reer.data.rows import Fields, OnBadRow, Problems, Row, raw_pair
from reer.errors import InputError
from reer.types import RawPair

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """The rows of one split of a data set."""

    repo: str
    """The data set as owner/name."""
    revision: str
    """A commit; a branch or tag works too and is resolved each time the data set is read."""
    split: str
    fields: Fields = field(default_factory=Fields)
    """The names of the fields. The query may be a list of chat messages or its JSON text: the content of the first
    message is the query, as in DeepWriting-20K (paper.md §3.5)."""
    config: str | None = None
    """The configuration of a data set that has several."""
    limit: PositiveInt | None = None
    """The most rows to read."""
    min_votes: float | None = None
    """The least vote score; rows without votes are kept."""
    on_bad_row: OnBadRow = "error"
    """Stop at a bad row, or skip and count it."""

    @property
    def name(self) -> str:
        return self.repo

    def __post_init__(self) -> None:
        if "/" not in self.repo or not self.revision:
            raise InputError(
                f"source=hub: want source.repo=owner/name and a source.revision, got {self.repo!r} {self.revision!r}"
            )

    def rows(self, problems: Problems) -> Iterator[RawPair]:
        """Rows in the order of the split, streamed."""
        from datasets import load_dataset

        commit = commit_of(self.repo, self.revision)
        table = load_dataset(
            self.repo, self.config, split=self.split, revision=commit, streaming=True, trust_remote_code=False
        )
        for number, row in enumerate(table if self.limit is None else table.take(self.limit)):
            where = f"{self.repo}/{self.split}:{number}"
            pair = raw_pair(_with_text_query(row, self.fields.query), self.fields, self.name, where, problems)
            if pair is not None:
                yield pair


def commit_of(repo: str, revision: str) -> str:
    """The commit of a revision. A branch or tag is looked up on the hub, with a warning to pin the commit."""
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import HfApi

    commit = HfApi().dataset_info(repo, revision=revision).sha
    if commit is None:
        raise InputError(
            f"data set {repo}: the hub returns no commit for revision {revision!r}; give a commit of 40 hex digits"
        )
    log.warning(
        "%s at %r is commit %s today; set revision=%s to keep the run reproducible", repo, revision, commit, commit
    )
    return commit


def _with_text_query(row: Row, query: str) -> Row:
    """The row with the first message's content in place of a query that is a list of chat messages."""
    value = row.get(query)
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        with suppress(ValueError):  # a query that only looks like a list
            value = json.loads(value)
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return {**row, query: value[0].get("content")}
    return row
