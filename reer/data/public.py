"""Public reasoning rows for the mixture: question, thinking and answer, in the shapes of common data sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from pydantic import PositiveInt

from reer.data.draw import Draw, subject_of
from reer.data.files import RowFile, content_of, row_files, rows_in
from reer.data.hub import hub_rows
from reer.data.reader import composed_exchange
from reer.data.rows import READER, BadRow, Fields, OnBadRow, Placed, Problems, Row, pluck, text_of
from reer.errors import InputError
from reer.parts import Name, Seed, Share, refuse_other_sum
from reer.types import Message, Sample, content_id

PROBLEMS = Path(__file__).parent / "problems.jsonl"


@dataclass(frozen=True, kw_only=True)
class PublicRows:
    """The rows of files or of a hub data set; without either, the bundled problems.

    Rows are read by their shape (see `reer.data.shapes`). In a conversation the turns before the question are context.
    A `system` column is ignored: that of OpenThoughts only explains its markers.
    """

    name: Name
    path: str | None = field(default=None, metadata={"identity": False})
    """A file of rows, a folder of them, or a glob."""
    repo: str | None = None
    """A hub data set as owner/name, with `revision`."""
    revision: str | None = None
    split: str = "train"
    config: str | None = None
    """The configuration of a data set that has several."""
    limit: PositiveInt | None = None
    """The most rows to read; in a draw, the rows to draw."""
    shares: dict[str, Share] = field(default_factory=dict[str, float])
    """The shares of strata (mathematics, code, science, other) in a seeded draw from all rows; empty takes the first
    rows in order."""
    stratum: str = ""
    """The field of a row that names its stratum; '' finds the subject of the question by its words."""
    seed: Seed = 0
    """The seed of the draw."""
    on_bad_row: OnBadRow = "error"
    """Stop at a bad row, or skip and count it."""

    def __post_init__(self) -> None:
        if (self.path and self.repo) or (self.repo and not self.revision):
            raise InputError(
                f"public={self.name}: want a path, or a repo with its revision, or neither for the bundled problems; "
                f"got path {self.path!r}, repo {self.repo!r}, revision {self.revision!r}"
            )
        if self.shares:
            if self.limit is None:
                raise InputError("public.limit: want the number of rows to draw, because public.shares are given")
            refuse_other_sum("public.shares: the shares", self.shares)
        elif self.stratum or self.seed:
            raise InputError(
                f"public.shares: want shares for a draw, got stratum {self.stratum!r} and seed {self.seed}, which do "
                "nothing without; give shares, or leave them out"
            )

    @cached_property
    def files(self) -> tuple[RowFile, ...]:
        """The files with the digests of their bytes when they were first asked for."""
        return row_files(self.path or str(PROBLEMS), "public.path")

    def identity(self) -> dict[str, object]:
        """The content of the files, or the revision on the hub; not the path."""
        hub = {"repo": self.repo, "revision": self.revision, "config": self.config}
        where = hub if self.repo else {"content": content_of(self.files)}
        settings = {"split": self.split, "limit": self.limit, "on_bad_row": self.on_bad_row}
        reader = {"reader": READER} if self.repo or self.path else {}  # the bundled rows are read as ever
        draw = {"shares": self.shares, "stratum": self.stratum, "seed": self.seed} if self.shares else {}
        return {"name": self.name, **settings, **where, **reader, **draw}

    def samples(self, problems: Problems) -> Iterator[Sample]:
        """Rows as samples, the first or those of a draw. Raises InputError for a row of no known shape, unless bad rows
        are skipped, for a file that has changed since its content identified the rows, and if all rows were bad."""
        if not self.shares:
            yield from (sample for _, sample in self._read(islice(self._rows(problems), self.limit), problems))
            return
        draw = Draw(self.shares, self.limit or 0, self.seed)
        for row, sample in self._read(self._rows(problems), problems):
            draw.add(self._stratum(row, sample), sample)
        problems.strata.update(draw.found)
        yield from draw.rows()

    def _stratum(self, row: Row, sample: Sample) -> str:
        if self.stratum:
            return text_of(pluck(row, self.stratum, "stratum"), self.stratum) or "other"
        return subject_of(sample.messages[-2].content)

    def _read(self, rows: Iterable[Placed], problems: Problems) -> Iterator[tuple[Row, Sample]]:
        kept = 0
        for where, row in rows:
            try:
                sample = _sample(where, row, self.name, problems)
            except BadRow as bad:
                problems.add(where, bad.reason, str(bad))
            else:
                kept += 1
                yield row, sample
        if not kept:
            first = next(iter(problems.examples.values()), "it has none")
            raise InputError(f"public={self.name}: no row can be used; for example {first}")

    def _rows(self, problems: Problems) -> Iterator[Placed]:
        if self.repo:
            return hub_rows(self.repo, self.revision or "", problems, config=self.config, split=self.split)
        return rows_in(self.files, problems)


def _sample(where: str, row: Row, source: str, problems: Problems) -> Sample:
    found = composed_exchange(where, row, Fields(), problems)
    if found.query is None:
        raise BadRow("empty_text", "the question is empty")
    context, thinking = (*found.context, Message("user", found.query)), found.thinking or ""
    return Sample(
        id=content_id(*(message.content for message in context), thinking, found.answer),
        messages=(*context, Message("assistant", found.answer)),
        source=source,
        category="reasoning",
        thinking=thinking,
        answer=found.answer,
    )
