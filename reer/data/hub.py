"""`source=hub`: pairs from a data set on the Hugging Face hub, at a pinned revision.

`datasets` says which files a split has; each file is downloaded when its first row is wanted, and read as any other
file of rows. A download that breaks off is continued by the next command: the hub's own client would begin it again.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import ClassVar

from filelock import FileLock
from pydantic import PositiveInt

from reer.data.duplicates import SameRow, identity_of
from reer.data.files import RowFile, rows_in
from reer.data.pairs import EVERY, Quotas
from reer.data.reader import Reader
from reer.data.rows import READER, Fields, OnBadRow, Placed, Problems
from reer.errors import InputError
from reer.files import adapter, write_json
from reer.models.local.checkpoints import cache_folder
from reer.models.local.hub import asking, first_line
from reer.types import RawPair, content_id

log = logging.getLogger(__name__)
LOOKUP_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """The rows of one split of a data set."""

    repo: str
    """The data set as owner/name."""
    revision: str
    """A commit; a branch or tag works too and is resolved each time the data set is read."""
    split: str
    fields: Fields = field(default_factory=Fields)
    """The names of the fields."""
    config: str | None = None
    """The configuration of a data set that has several."""
    limit: PositiveInt | None = None
    """The most rows to read."""
    min_votes: float | None = None
    """The least vote score; rows with fewer votes, or none, are dropped."""
    on_bad_row: OnBadRow = "error"
    """Stop at a bad row, or skip and count it."""
    same_row: SameRow = "solution"
    """Which rows count as the same row; only the first of them is used."""

    quotas: ClassVar[Quotas] = EVERY

    @property
    def name(self) -> str:
        return self.repo

    def __post_init__(self) -> None:
        if "/" not in self.repo or not self.revision:
            raise InputError(
                f"source=hub: want source.repo=owner/name and a source.revision, got {self.repo!r} {self.revision!r}"
            )
        self._reader()

    def _reader(self) -> Reader:
        return Reader(source=self.name, fields=self.fields, min_votes=self.min_votes)

    def identity(self) -> dict[str, object]:
        """The data set, its revision and split, and how its rows are read."""
        where = {"repo": self.repo, "revision": self.revision, "config": self.config, "split": self.split}
        settings = {"limit": self.limit, "min_votes": self.min_votes, "on_bad_row": self.on_bad_row}
        return {**where, **settings, "fields": self.fields, "reader": READER, **identity_of(self.same_row)}

    def rows(self, problems: Problems) -> Iterator[RawPair]:
        """Rows in the order of the split."""
        rows = hub_rows(self.repo, self.revision, problems, config=self.config, split=self.split)
        return self._reader().pairs(islice(rows, self.limit), problems)


def hub_rows(repo: str, revision: str, problems: Problems, *, config: str | None, split: str) -> Iterator[Placed]:
    """The rows of a split, file by file. Raises InputError for a data set that is missing, gated or has no such split,
    and Incomplete where the hub cannot be reached or a download breaks off."""
    return rows_in(_downloaded(repo, commit_of(repo, revision), config, split), problems)


def _downloaded(repo: str, commit: str, config: str | None, split: str) -> Iterator[RowFile]:
    """The files of a split, each downloaded when it is wanted, from the cache where it is there."""
    for name in _files_of_split(repo, commit, config, split):
        with asking(f"data set {repo}", f"https://huggingface.co/datasets/{repo}"):
            path = _cached_file(repo, name, commit)
        yield RowFile(path, label=f"{repo}/{name}")


def _cached_file(repo: str, name: str, commit: str) -> Path:
    """A file of a data set, from the hub's cache or ours, where it is put if it is in neither."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name, repo_type="dataset", revision=commit)
    if isinstance(found, str):
        return Path(found)
    target = cache_folder() / "datasets" / f"{content_id(repo, commit, name)}-{Path(name).name}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            _download(repo, name, commit, target)
    return target


def _download(repo: str, name: str, commit: str, target: Path) -> None:
    """Download a file, from where an earlier attempt ended. Raises OSError where the bytes are not those of the hub's
    sha256, which it has for large files."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repo, name, repo_type="dataset", revision=commit)
    said = get_hf_file_metadata(url)
    part = target.with_name(f"{target.name}.part")
    if part.exists() and said.size is not None and part.stat().st_size > said.size:
        part.unlink()
    with part.open("ab") as file:
        http_get(url, file, resume_size=file.tell(), headers=build_hf_headers(), expected_size=said.size)
    if re.fullmatch(r"[0-9a-f]{64}", said.etag or "") and _sha256(part) != said.etag:
        part.unlink()
        raise OSError(f"{name} came with other bytes than the hub says; it is downloaded from its beginning")
    part.replace(target)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files_of_split(repo: str, commit: str, config: str | None, split: str) -> list[str]:
    """The names of a split's files inside the data set. They are kept: a commit does not change, so that a later run
    needs no network where the files are in the hub's cache."""
    kept = cache_folder() / "splits" / f"{content_id(repo, commit, config or '', split)}.json"
    if not kept.exists():
        write_json(kept, _asked_files(repo, commit, config, split))
    return adapter(list[str]).validate_json(kept.read_bytes())


def _asked_files(repo: str, commit: str, config: str | None, split: str) -> list[str]:
    from datasets import load_dataset_builder
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError

    with asking(f"data set {repo}", f"https://huggingface.co/datasets/{repo}"):
        try:
            found = load_dataset_builder(f"hf://datasets/{repo}", config, revision=commit).config.data_files or {}
        except (DatasetNotFoundError, DataFilesNotFoundError) as error:
            raise InputError(
                f"data set {repo}: {first_line(error)} Check the name and the revision; if it is gated or private, "
                "accept its terms there and set HF_TOKEN"
            ) from error
        except ValueError as error:  # no such configuration; the message names those there are
            raise InputError(f"data set {repo}: {first_line(error)}; check source.config") from error
    if split not in found:
        raise InputError(
            f"data set {repo}: no split {split!r}; want one of {', '.join(map(str, found))}; check source.split"
        )
    return [str(url).split(f"@{commit}/", 1)[1] for url in found[split]]


def commit_of(repo: str, revision: str) -> str:
    """The commit of a revision. A branch or tag is looked up on the hub, with a warning to pin the commit."""
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import HfApi

    with asking(f"data set {repo}", f"https://huggingface.co/datasets/{repo}"):
        commit = HfApi().dataset_info(repo, revision=revision, timeout=LOOKUP_SECONDS).sha
    if commit is None:
        raise InputError(
            f"data set {repo}: the hub returns no commit for revision {revision!r}; give a commit of 40 hex digits"
        )
    log.warning(
        "%s at %r is commit %s today; set revision=%s to keep the run reproducible", repo, revision, commit, commit
    )
    return commit
