"""Public reasoning rows for the mixture: question, thinking and answer, in the formats of common data sets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from reer.data.hub import commit_of
from reer.data.rows import BadRow, OnBadRow, Problems, Row, file_digest, json_lines
from reer.errors import InputError
from reer.parts import Name
from reer.text import split_thinking
from reer.types import Message, Sample, content_id

Role = Literal["system", "user", "assistant"]
ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
PROBLEMS = Path(__file__).parent / "problems.jsonl"
_GSM8K_RESULT = re.compile(r"\s*####[ \t]*([^\n]+)")


@dataclass(frozen=True, kw_only=True)
class PublicRows:
    """The rows of a JSONL file or a hub data set; without either, the bundled problems.

    Formats: `question`/`reasoning`/`answer` (also GSM8K's) and `conversations` or `messages`. In a conversation earlier
    turns are context, and the thinking of the last reply is inside `<think>`, inside OpenThoughts' markers, or in a
    separate field. A `system` column is ignored: that of OpenThoughts only explains its markers.
    """

    name: Name
    path: str | None = field(default=None, metadata={"identity": False})
    """A JSONL file."""
    repo: str | None = None
    """A hub data set as owner/name, with `revision`."""
    revision: str | None = None
    split: str = "train"
    limit: PositiveInt | None = None
    """The most rows to read."""
    on_bad_row: OnBadRow = "error"
    """Stop at a bad row, or skip and count it."""

    def __post_init__(self) -> None:
        if (self.path and self.repo) or (self.repo and not self.revision):
            raise InputError(
                f"public={self.name}: want a path, or a repo with its revision, or neither for the bundled problems; "
                f"got path {self.path!r}, repo {self.repo!r}, revision {self.revision!r}"
            )

    def _file(self) -> Path:
        return Path(self.path) if self.path else PROBLEMS

    @cached_property
    def content(self) -> str:
        """The digest of the file's bytes when it was first asked for."""
        return file_digest(self._file())

    def identity(self) -> dict[str, object]:
        """The content of the file, or the revision on the hub; not the path."""
        where = {"repo": self.repo, "revision": self.revision} if self.repo else {"content": self.content}
        settings = {"split": self.split, "limit": self.limit, "on_bad_row": self.on_bad_row}
        return {"name": self.name, **settings, **where}

    def samples(self, problems: Problems) -> Iterator[Sample]:
        """Rows as samples. Raises InputError for a row of no known format, unless bad rows are skipped, and for a file
        that has changed since its content identified the rows."""
        for number, (where, row) in enumerate(self._rows(problems)):
            if self.limit is not None and number >= self.limit:
                break
            try:
                sample = _sample(row, source=self.name)
            except BadRow as bad:
                problems.add(where, bad.reason, str(bad))
            else:
                yield sample

    def _rows(self, problems: Problems) -> Iterator[tuple[str, Row]]:
        if not self.repo:
            yield from json_lines(self._file(), problems, self.content)
            return
        from datasets import load_dataset

        commit = commit_of(self.repo, self.revision or "")
        table = load_dataset(self.repo, split=self.split, revision=commit, streaming=True, trust_remote_code=False)
        for number, row in enumerate(table):
            yield f"{self.repo}:{number}", row


def _sample(row: Row, source: str) -> Sample:
    context, thinking, answer = _conversation(row)
    if not (context[-1].content and answer):
        raise BadRow("empty_text", "the question or the answer is empty")
    return Sample(
        id=content_id(*(message.content for message in context), thinking, answer),
        messages=(*context, Message("assistant", answer)),
        source=source,
        category="reasoning",
        thinking=thinking,
        answer=answer,
    )


def _unknown(message: str) -> BadRow:
    return BadRow("unknown_shape", message)


def _conversation(row: Row) -> tuple[tuple[Message, ...], str, str]:
    """The turns before the last reply, its thinking, and its answer."""
    if row.get("question") is not None and row.get("answer") is not None:
        question, answer, thinking = str(row["question"]), str(row["answer"]), _thinking_field(row)
        steps, line_break, last_line = answer.strip().rpartition("\n")
        result = _GSM8K_RESULT.fullmatch(last_line) if line_break else None
        if not thinking and result:  # GSM8K has the steps and the result in one field
            thinking, answer = steps, result[1]
        return (Message("user", question.strip()),), thinking.strip(), answer.strip()
    *earlier, last = _turns(row)
    context = tuple(Message(_role(turn), _with_thinking(turn)) for turn in earlier)
    if _role(last) != "assistant" or context[-1].role != "user":
        raise _unknown("want conversations that end with a question and its reply, or question/reasoning/answer")
    return context, *_reply(last)


def _turns(row: Row) -> Sequence[Row]:
    turns = row.get("conversations") or row.get("messages")
    if not isinstance(turns, list) or len(turns) < 2 or not all(isinstance(turn, dict) for turn in turns):
        raise _unknown(f"want question/reasoning/answer or conversations, got {', '.join(sorted(row))}")
    return turns


def _role(turn: Row) -> Role:
    name = str(turn.get("from") or turn.get("role") or "")
    if name not in ROLES:
        raise _unknown(f"want conversations whose turns are of {', '.join(ROLES)}; got {name!r}")
    return ROLES[name]


def _with_thinking(turn: Row) -> str:
    """A turn's text verbatim, after its thinking if that is in a separate field."""
    thinking, text = _thinking_field(turn), _content(turn)
    return f"<think>\n{thinking}\n</think>\n\n{text}" if thinking else text


def _reply(turn: Row) -> tuple[str, str]:
    """Thinking and answer of the last reply: from separate fields, OpenThoughts' markers, or `<think>`."""
    reply, thinking = _content(turn), _thinking_field(turn)
    thought = _between(reply, "<|begin_of_thought|>", "<|end_of_thought|>")
    if thought and not thinking:
        before, inside, after = thought
        solution = _between(after, "<|begin_of_solution|>", "<|end_of_solution|>")
        rest = solution[0] + solution[2] if solution else ""
        if (before + rest).strip():
            raise _unknown("want conversations whose last reply has no text outside its markers")
        return inside.strip(), (solution[1] if solution else after).strip()
    inside, answer, _ = split_thinking(reply)
    return (thinking, reply.strip()) if thinking else (inside or "", answer)


def _between(text: str, opening: str, closing: str) -> tuple[str, str, str] | None:
    """The text before the first `opening`, then up to the next `closing`, then the rest; None if one is absent."""
    before, opened, rest = text.partition(opening)
    inside, closed, after = rest.partition(closing)
    return (before, inside, after) if opened and closed else None


def _thinking_field(row: Row) -> str:
    texts = [str(row[name]) for name in ("reasoning", "thinking", "reasoning_content") if row.get(name)]
    return texts[0].strip() if texts else ""


def _content(turn: Row) -> str:
    """The text of a turn, whose content may be a list of text parts. Raises BadRow for other parts."""
    content = turn.get("value") or turn.get("content") or ""
    if not isinstance(content, list):
        return str(content).strip()
    texts = [part.get("text") if isinstance(part, dict) else None for part in content]
    if not all(isinstance(text, str) for text in texts):
        raise _unknown("want conversations of text; a turn's content has parts that are not text")
    return "".join(map(str, texts)).strip()
