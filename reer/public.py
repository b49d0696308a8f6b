"""Public reasoning rows for the mixture: question, thinking, answer, in the shapes such data sets come in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reer.sources.hub import commit_of
from reer.sources.rows import OnBadRow, Problems, file_digest, json_lines
from reer.text import split_thinking
from reer.types import InputError, Message, Sample, content_id

PROBLEMS = Path(__file__).parent / "sources" / "problems.jsonl"
_BEGIN = re.compile(r"<\|begin_of_thought\|>(.*?)<\|end_of_thought\|>", re.S)
_SOLUTION = re.compile(r"<\|begin_of_solution\|>(.*?)<\|end_of_solution\|>", re.S)


@dataclass(frozen=True)
class PublicRows:
    """Rows of a JSONL file or a hub data set. Shapes known: `question`/`reasoning`/`answer` (GSM8K's, and the bundled
    problems') and `conversations` (OpenThoughts': thinking in its own markers or in `<think>`)."""

    name: str
    path: str | None = field(default=None, metadata={"identity": False})
    repo: str | None = None
    revision: str | None = None
    split: str = "train"
    limit: int | None = None
    on_bad_row: OnBadRow = "error"

    def __post_init__(self) -> None:
        if (self.path and self.repo) or (self.repo and not self.revision):
            raise InputError(f"public={self.name}: want a path, or a repo with its revision, or neither (bundled)")

    def _file(self) -> Path:
        return Path(self.path) if self.path else PROBLEMS

    def identity(self) -> dict[str, Any]:
        where = {"repo": self.repo, "revision": self.revision} if self.repo else {"content": file_digest(self._file())}
        settings = {"split": self.split, "limit": self.limit, "on_bad_row": self.on_bad_row}
        return {"name": self.name, **settings, **where}

    def samples(self, problems: Problems) -> Iterator[Sample]:
        """Rows as samples. Raises InputError for a row of no known shape."""
        for number, (where, row) in enumerate(self._rows(problems)):
            if self.limit is not None and number >= self.limit:
                break
            parts = _parts(row)
            if parts is None:
                have = ", ".join(sorted(row))
                problems.add(where, "unknown_shape", f"want question/reasoning/answer or conversations, got {have}")
                continue
            if not (parts[0] and parts[2]):
                problems.add(where, "empty_text", "the question or the answer is empty")
                continue
            yield _sample(*parts, source=self.name)

    def _rows(self, problems: Problems) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if not self.repo:
            yield from json_lines(self._file(), problems)
            return
        from datasets import load_dataset

        commit = commit_of(self.repo, self.revision or "")
        table = load_dataset(self.repo, split=self.split, revision=commit, streaming=True)
        for number, row in enumerate(table):
            yield f"{self.repo}:{number}", row


def _sample(question: str, thinking: str, answer: str, source: str) -> Sample:
    id = content_id(question, thinking, answer)
    turns = (Message("user", question), Message("assistant", answer))
    return Sample(id, turns, source, "reasoning", thinking, answer)


def _parts(row: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """(question, thinking, answer), or None for an unknown shape."""
    if row.get("question") is not None and row.get("answer") is not None:
        answer, thinking = str(row["answer"]), str(row.get("reasoning") or "")
        if not thinking and "####" in answer:  # GSM8K keeps the steps and the result in one field
            thinking, answer = answer.rsplit("####", 1)
        return str(row["question"]).strip(), thinking.strip(), answer.strip()
    turns = row.get("conversations") or row.get("messages")
    if not isinstance(turns, list) or len(turns) < 2 or not all(isinstance(turn, Mapping) for turn in turns[-2:]):
        return None
    user, reply = (_turn(turn) for turn in turns[-2:])
    if not (user and reply):
        return None
    marked = _BEGIN.search(reply)
    if marked:
        solution = _SOLUTION.search(reply)
        return user, marked[1].strip(), (solution[1] if solution else reply[marked.end() :]).strip()
    thinking, answer, _ = split_thinking(reply)
    return user, thinking or "", answer


def _turn(turn: Mapping[str, Any]) -> str:
    return str(turn.get("value") or turn.get("content") or "").strip()
