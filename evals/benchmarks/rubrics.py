"""`benchmark=rubrics`: prompts and criteria of your own from a JSONL file, graded 1 to 10; no Python needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError

from evals.benchmark import Item, Response, Verdict
from evals.benchmarks.writing import WritingPrompts
from reer.errors import InputError
from reer.files import adapter
from reer.text import main_language
from reer.types import Language


@dataclass(frozen=True, kw_only=True)
class RubricRow:
    """One line of the file. `length` is the number of words that the prompt asks for."""

    prompt: str
    rubric: tuple[str, ...]
    id: str = ""
    category: str = "own"
    language: Language | None = None
    length: int | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Rubrics(WritingPrompts):
    """The rows of a file (`RubricRow`), judged as the bundled prompts are. The content of the file identifies a result,
    not its path. Items that ask for a length have a length score, too."""

    path: str = field(metadata={"identity": False})

    @property
    def name(self) -> str:
        return "rubrics"

    @property
    def file_sha256(self) -> Mapping[str, str]:
        return {"rubrics.jsonl": hashlib.sha256(_content(self.path)).hexdigest()}

    def all_items(self) -> list[Item]:
        lines = _content(self.path).decode("utf-8", "replace").split("\n")
        items = [self._item(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
        if not items:
            raise InputError(
                f"benchmark.rubrics.path: {self.path} has no rows; want a prompt and a rubric on each line"
            )
        repeated = {item.id for item in items if sum(item.id == other.id for other in items) > 1}
        if repeated:
            raise InputError(f"{self.path}: the id {min(repeated)!r} occurs more than once; give each row its own")
        return items

    def _item(self, number: int, line: str) -> Item:
        try:
            row = adapter(RubricRow).validate_python(json.loads(line))
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(f"{self.path}:{number}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        except ValueError as error:
            raise InputError(f"{self.path}:{number}: want a JSON object, got invalid JSON: {error}") from None
        if not row.rubric:
            raise InputError(f"{self.path}:{number}: rubric: want one criterion or more, got none")
        return Item(
            id=row.id or f"row-{number:04d}",
            prompt=row.prompt,
            language=row.language or main_language(row.prompt),
            category=row.category,
            length=row.length,
            rubric=row.rubric,
        )

    def stratum(self, item: Item) -> str:
        return f"{item.category}/{item.language}"

    def groups(self, item: Item) -> tuple[str, ...]:
        return (f"category {item.category}",)

    def scores(self, item: Item, response: Response, verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        scores = super().scores(item, response, verdicts)
        return scores if item.length else {"quality": scores["quality"]}


@lru_cache(maxsize=4)
def _content(path: str) -> bytes:
    """The content of a file, read once, so that the items are those of the identity."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror})"
        raise InputError(f"benchmark.rubrics.path: {reason}; want a JSONL file") from None
