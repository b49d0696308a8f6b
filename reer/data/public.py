"""Public reasoning rows for the mixture: question, thinking, answer, in the shapes such data sets come in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from reer.data.hub import commit_of
from reer.data.rows import OnBadRow, Problems, file_digest, json_lines
from reer.errors import InputError
from reer.text import split_thinking
from reer.types import Message, Sample, content_id

ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
PROBLEMS = Path(__file__).parent / "problems.jsonl"
_BEGIN = re.compile(r"<\|begin_of_thought\|>(.*?)<\|end_of_thought\|>", re.S)
_RESULT = re.compile(r"(.*)\n\s*####[ \t]*([^\n]+)", re.S)
_SOLUTION = re.compile(r"<\|begin_of_solution\|>(.*?)<\|end_of_solution\|>", re.S)


@dataclass(frozen=True)
class PublicRows:
    """Rows of a JSONL file or a hub data set. Shapes known: `question`/`reasoning`/`answer` (GSM8K's, and the bundled
    problems') and `conversations` or `messages`: earlier turns stay as context, and the last reply's thinking stands in
    `<think>`, in OpenThoughts' markers, or in a field of its own. A `system` column is left out: OpenThoughts' only
    explains its markers."""

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
            try:
                before, thinking, answer = _conversation(row)
            except Unknown as unknown:
                problems.add(where, "unknown_shape", str(unknown))
                continue
            if not (before[-1].content and answer):
                problems.add(where, "empty_text", "the question or the answer is empty")
                continue
            yield _sample(before, thinking, answer, source=self.name)

    def _rows(self, problems: Problems) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if not self.repo:
            yield from json_lines(self._file(), problems)
            return
        from datasets import load_dataset

        commit = commit_of(self.repo, self.revision or "")
        table = load_dataset(self.repo, split=self.split, revision=commit, streaming=True)
        for number, row in enumerate(table):
            yield f"{self.repo}:{number}", row


class Unknown(ValueError):
    """A row of no known shape; the message says what was wanted."""


def _sample(before: Sequence[Message], thinking: str, answer: str, source: str) -> Sample:
    id = content_id(*(message.content for message in before), thinking, answer)
    return Sample(id, (*before, Message("assistant", answer)), source, "reasoning", thinking, answer)


def _conversation(row: Mapping[str, Any]) -> tuple[tuple[Message, ...], str, str]:
    """What comes before the last reply, its thinking, and its answer."""
    if row.get("question") is not None and row.get("answer") is not None:
        answer, thinking = str(row["answer"]), _thinking_of(row)
        result = _RESULT.fullmatch(answer.strip())
        if not thinking and result:  # GSM8K keeps the steps and the result in one field
            thinking, answer = result.groups()
        return (Message("user", str(row["question"]).strip()),), thinking.strip(), answer.strip()
    turns = row.get("conversations") or row.get("messages")
    if not isinstance(turns, list) or len(turns) < 2 or not all(isinstance(turn, Mapping) for turn in turns):
        raise Unknown(f"want question/reasoning/answer or conversations, got {', '.join(sorted(row))}")
    *earlier, last = turns
    before = tuple(Message(_role(turn), _whole(turn)) for turn in earlier)
    if _role(last) != "assistant" or before[-1].role != "user":
        raise Unknown("want conversations that end with a question and its reply, or question/reasoning/answer")
    thinking, answer = _reply(last)
    return before, thinking, answer


def _role(turn: Mapping[str, Any]) -> Literal["system", "user", "assistant"]:
    name = str(turn.get("from") or turn.get("role") or "")
    if name not in ROLES:
        raise Unknown(f"want conversations whose turns are of {', '.join(ROLES)}; got {name!r}")
    return ROLES[name]


def _whole(turn: Mapping[str, Any]) -> str:
    """A turn's text verbatim, with the thinking that stands in a field of its own in front."""
    thinking, text = _thinking_of(turn), _text_of(turn)
    return f"<think>\n{thinking}\n</think>\n\n{text}" if thinking else text


def _reply(turn: Mapping[str, Any]) -> tuple[str, str]:
    """Thinking and answer of the last reply: of fields of their own, OpenThoughts' markers, or `<think>`."""
    reply, thinking = _text_of(turn), _thinking_of(turn)
    marked = _BEGIN.search(reply)
    if marked and not thinking:
        solution = _SOLUTION.search(reply, marked.end())
        between = reply[marked.end() : solution.start()] + reply[solution.end() :] if solution else ""
        if (reply[: marked.start()] + between).strip():
            raise Unknown("want conversations whose last reply has no text outside its markers")
        return marked[1].strip(), (solution[1] if solution else reply[marked.end() :]).strip()
    inside, answer, _ = split_thinking(reply)
    return (thinking, reply.strip()) if thinking else (inside or "", answer)


def _thinking_of(fields: Mapping[str, Any]) -> str:
    found = [str(fields[name]) for name in ("reasoning", "thinking", "reasoning_content") if fields.get(name)]
    return found[0].strip() if found else ""


def _text_of(turn: Mapping[str, Any]) -> str:
    """The text of a turn, whose content may be a list of parts. Raises Unknown for parts that are no text."""
    content = turn.get("value") or turn.get("content") or ""
    if isinstance(content, list):
        if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
            raise Unknown("want conversations of text; a turn's content has parts that are none")
        content = "".join(part["text"] for part in content)
    return str(content).strip()
