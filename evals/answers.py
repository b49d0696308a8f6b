"""Where the answers to a benchmark come from: the model that is trained here, or a file made elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import cast

from evals.benchmark import Item, Response
from reer.errors import InputError, near
from reer.parts import Name

FIELDS = ("id", "prompt", "answer", "thinking")


@dataclass(frozen=True, kw_only=True)
class AnswerSource:
    """The trained model, or the rows of a JSONL file: an `answer` to the item with this `id` or this `prompt`, and if
    wanted its `thinking`. The content of a file identifies a result, not its path."""

    name: Name
    path: str | None = field(default=None, metadata={"identity": False})
    """None: the model that is trained here."""

    def identity(self) -> Mapping[str, object]:
        return {"name": self.name} | ({} if self.path is None else {"sha256": hashlib.sha256(self.read()).hexdigest()})

    @property
    def caution(self) -> str:
        return "" if self.path is None else f"The answers of this row are from {Path(self.path).name}, not made here."

    def read(self) -> bytes:
        """The content of the file, read once. Raises InputError where it is missing."""
        return _content(self.path or "")

    def responses(self, all_items: Sequence[Item], items: Sequence[Item]) -> AnsweredItems:
        """The answers to some of a benchmark's items, in their order. Raises InputError for a row that does not fit."""
        by_prompt: dict[str, Item] = {item.prompt: item for item in all_items}
        by_id = {item.id: item for item in all_items}
        found: dict[str, Response] = {}
        for where, row in _rows(self.path or "", self.read()):
            item = _item(where, row, by_id, by_prompt)
            if item.id in found:
                raise InputError(f"{where}: a second answer to {item.id}; keep one of them")
            found[item.id] = _response(item.id, row)
        answered = [found[item.id] for item in items if item.id in found]
        return AnsweredItems(answered, missing=len(items) - len(answered), beside=len(found) - len(answered))


@dataclass(frozen=True)
class AnsweredItems:
    """Answers, how many items have none, and how many answers are to items outside the sample."""

    responses: Sequence[Response]
    missing: int
    beside: int


@lru_cache(maxsize=4)
def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"answers.path: {path} cannot be read ({error.strerror}); want a JSONL file") from None


def _rows(path: str, content: bytes) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The rows with their places. Raises InputError for a line that is no row of texts."""
    for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), start=1):
        where = f"{path}:{number}"
        if line.strip():
            yield where, _row(where, line)


def _row(where: str, line: str) -> Mapping[str, str]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: want a JSON object with an answer, got invalid JSON: {error}") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: want a JSON object with an answer, got {line[:60]!r}")
    for key, value in row.items():
        if key not in FIELDS:
            raise InputError(f"{where}: unknown field {key!r}; want {', '.join(FIELDS)}{near(str(key), FIELDS)}")
        if not isinstance(value, str):
            raise InputError(f"{where}: {key}: want a text, got {value!r}")
    if "answer" not in row or not {"id", "prompt"} & row.keys():
        raise InputError(f"{where}: want an answer and an id or a prompt, got {', '.join(row) or 'nothing'}")
    return cast("Mapping[str, str]", row)


def _item(where: str, row: Mapping[str, str], by_id: Mapping[str, Item], by_prompt: Mapping[str, Item]) -> Item:
    field_name, known = ("id", by_id) if "id" in row else ("prompt", by_prompt)
    asked = row[field_name]
    if asked not in known:
        closest = f"; the nearest is {nearest!r}" if (nearest := _nearest(asked, known)) else ""
        raise InputError(f"{where}: the benchmark has no item with the {field_name} {asked[:60]!r}{closest}")
    return known[asked]


def _nearest(asked: str, known: Mapping[str, Item]) -> str:
    """The known id or prompt that shares most words or characters with one, shortened."""
    wanted = Counter(asked.split() or asked)
    best = max(known, key=lambda text: (sum((wanted & Counter(text.split())).values()), _shared_start(asked, text)))
    return best[:60]


def _shared_start(one: str, other: str) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _response(item_id: str, row: Mapping[str, str]) -> Response:
    text = f"<think>{row['thinking']}</think>\n\n{row['answer']}" if row.get("thinking") else row["answer"]
    return Response.read(item_id, text, truncated=False, tokens=0)
