"""The shapes in which rows hold a query, thinking and an answer; one reader for files, the hub and public rows.

README.md beside this file lists every shape with its outcome.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reer.data.rows import BadRow, Fields, Row, composed, named, pluck, text_of
from reer.text import split_thinking
from reer.types import Message

Role = Literal["system", "user", "assistant"]
ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
THINKING = ("reasoning_content", "reasoning", "thinking")
"""Fields of a row or of a turn that hold thinking."""
_OTHER_TAG = re.compile(r"\s*<(think|thinking|thought|reasoning)>(.*?)</\1>", re.I | re.S)
_GSM8K_RESULT = re.compile(r"\s*####[ \t]*([^\n]+)")


@dataclass(frozen=True)
class Shape:
    """The fields of a row that hold the query and the answer; one field for both is a conversation. `beside` is text
    that belongs to the query where a row has it. `result`: the answer may be a number, or GSM8K's steps and result."""

    query: str
    answer: str
    beside: str = ""
    result: bool = False


SHAPES = (
    Shape("query", "answer"),
    Shape("question", "answer", result=True),
    Shape("problem", "solution", result=True),
    Shape("prompt", "completion"),
    Shape("prompt", "response"),
    Shape("prompt", "solution"),
    Shape("instruction", "output", beside="input"),
    Shape("instruction", "response", beside="context"),
    Shape("conversations", "conversations"),
    Shape("messages", "messages"),
)
"""What a row is read as, if its fields are not named: the first shape whose answer is not null."""


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation; `thinking` is what a field or part of its own holds."""

    role: Role
    text: str
    thinking: str | None

    @property
    def message(self) -> Message:
        """The turn as it was said, its thinking in a block before its text."""
        block = f"<think>\n{self.thinking}\n</think>\n\n" if self.thinking else ""
        return Message(self.role, block + self.text)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What a row holds: the turns before the query (the system's, earlier ones), the query, thinking and answer."""

    context: tuple[Message, ...]
    query: str | None
    thinking: str | None
    answer: str

    def composed(self) -> Exchange:
        """The same in Unicode's composed form."""
        return Exchange(
            context=tuple(replace(turn, content=composed(turn.content)) for turn in self.context),
            query=None if self.query is None else composed(self.query),
            thinking=None if self.thinking is None else composed(self.thinking),
            answer=composed(self.answer),
        )


def exchange(row: Row, fields: Fields) -> Exchange:
    """The exchange in a row. The query is the user's last turn before the answer. Raises BadRow."""
    shape = _recognised(row) if fields.by_shape else Shape(fields.query, fields.solution)
    asked, reply = _sides(row, shape)
    *context, query = asked or [Turn("user", "", None)]
    if query.role != "user":
        raise _unknown("want the turn before the reply to be the user's")
    apart = _thinking_apart(row, fields)
    thinking, answer = _parted(reply.text)
    if shape.result and not (apart or thinking):
        thinking, answer = _steps(answer)
    return Exchange(
        context=tuple(turn.message for turn in context),
        query=query.text if query.text.strip() else None,
        thinking=_the_one([apart, reply.thinking, thinking]),
        answer=answer,
    )


def _thinking_apart(row: Row, fields: Fields) -> str | None:
    """The thinking in a field of the row: the named one, else, in a row read by its shape, one of the usual names."""
    if fields.thinking or not fields.by_shape:
        return text_of(named(row, fields.thinking, "thinking"), fields.thinking)
    return _thinking(row)


def _unknown(message: str) -> BadRow:
    return BadRow("unknown_shape", message)


def _recognised(row: Row) -> Shape:
    """The shape of a row. Raises BadRow, naming what the row has, for a row of none."""
    whole = [shape for shape in SHAPES if shape.query in row and shape.answer in row]
    answered = [shape for shape in whole if row[shape.answer] not in (None, [])]
    if whole:
        return (answered or whole)[0]
    has = ", ".join(sorted(row)) or "no fields"
    for shape in SHAPES:
        if (shape.query in row) != (shape.answer in row):
            absent, setting = (shape.answer, "solution") if shape.query in row else (shape.query, "query")
            raise BadRow("missing_field", f"no field {absent!r} (fields.{setting}); the row has: {has}")
    forms = ", ".join(dict.fromkeys(f"{shape.query}/{shape.answer}" for shape in SHAPES[:-2]))
    raise _unknown(f"want {forms}, conversations or messages; the row has: {has}; name the fields by fields.query=…")


def _sides(row: Row, shape: Shape) -> tuple[list[Turn], Turn]:
    """The turns up to the query, and the reply to it."""
    said = pluck(row, shape.answer, "solution") if shape.answer else None
    if said is None:
        raise BadRow("missing_field", f"field {shape.answer!r} (fields.solution) is null; want the text to learn from")
    replied = _conversation(said, shape.answer)
    if replied is None and shape.query == shape.answer:
        raise _unknown(f"want conversations or messages as a list of turns; {shape.answer!r} is {type(said).__name__}")
    *earlier, reply = replied or [Turn("assistant", _plain(said, shape), None)]
    if reply.role != "assistant":
        raise _unknown("want conversations that end with a question and its reply")
    if shape.query == shape.answer:
        if not earlier:
            raise _unknown("want conversations that begin with a question")
        return earlier, reply
    return [*_asked(row, shape), *earlier], reply


def _plain(value: object, shape: Shape) -> str:
    if shape.result and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return text_of(value, shape.answer) or ""


def _asked(row: Row, shape: Shape) -> list[Turn]:
    value = named(row, shape.query, "query")
    turns = _conversation(value, shape.query)
    if turns is not None:
        return turns
    texts = [text_of(value, shape.query), text_of(row.get(shape.beside), shape.beside)]
    given = [text.strip() for text in texts if text and text.strip()]
    return [Turn("user", "\n\n".join(given), None)] if given else []


def _conversation(value: object, name: str) -> list[Turn] | None:
    """The turns of a list, or of its JSON text; None for text and null. Raises BadRow for a list of anything else."""
    if isinstance(value, str):
        value = _json_turns(value)
    if not isinstance(value, list):
        return None
    if not value or not all(isinstance(turn, Mapping) for turn in value):
        raise _unknown(f"want conversations as lists of turns; {name!r} is a list of something else, or empty")
    return [_turn(turn) for turn in value]


def _json_turns(text: str) -> object:
    """The list of turns that a text holds as JSON; the text itself if it holds none."""
    if not re.match(r"\s*\[\s*\{", text):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    is_turns = isinstance(value, list) and all(isinstance(turn, Mapping) and _has_role(turn) for turn in value)
    return value if is_turns else text


def _has_role(turn: Mapping[str, object]) -> bool:
    return _role_name(turn).lower() in ROLES


def _role_name(turn: Mapping[str, object]) -> str:
    return str(turn.get("from") or turn.get("role") or "")


def _turn(turn: Mapping[str, object]) -> Turn:
    name = _role_name(turn)
    if name.lower() not in ROLES:
        raise _unknown(f"want conversations whose turns are of {', '.join(ROLES)}; got {name!r}")
    content = turn.get("value") if turn.get("value") is not None else turn.get("content")
    text, thinking = _content(content)
    return Turn(ROLES[name.lower()], text.strip(), _the_one([_thinking(turn), thinking]))


def _content(content: object) -> tuple[str, str | None]:
    """Text and thinking of a turn, whose content may be a list of parts. Raises BadRow for parts of another kind."""
    if not isinstance(content, Sequence) or isinstance(content, str):
        return text_of(content, "content") or "", None
    texts, thoughts = list[str](), list[str]()
    for part in content:
        kind = part.get("type", "text") if isinstance(part, Mapping) else None
        value = part.get(kind) if isinstance(part, Mapping) and kind in ("text", "thinking") else None
        if not isinstance(value, str):
            raise _unknown("want conversations of text; a turn's content has parts that are neither text nor thinking")
        (texts if kind == "text" else thoughts).append(text_of(value, str(kind)) or "")
    return "".join(texts), "\n\n".join(thoughts).strip() or None


def _thinking(holder: Mapping[str, object]) -> str | None:
    """The thinking in a field of a row or a turn."""
    texts = [text_of(holder[name], name) for name in THINKING if holder.get(name)]
    return _the_one([text and text.strip() for text in texts])


def _the_one(texts: Sequence[str | None]) -> str | None:
    """The thinking that one or several places hold. Raises BadRow if two hold different ones."""
    found = {text.strip() for text in texts if text and text.strip()}
    if len(found) > 1:
        raise BadRow("two_thinkings", "the row holds two different texts of thinking; name one by fields.thinking=…")
    return next(iter(found), None)


def _parted(reply: str) -> tuple[str | None, str]:
    """Thinking and answer of a reply in one text, from OpenThoughts' markers, `<think>` or another tag of that kind.
    Raises BadRow for text before the thinking and for a second one: it would be lost, or taught as thinking."""
    thought = _between(reply, "<|begin_of_thought|>", "<|end_of_thought|>")
    if not thought:
        block = _OTHER_TAG.match(reply)
        whole = f"<think>{block[2]}</think>{reply[block.end() :]}" if block else reply
        inside, answer, _ = split_thinking(whole)
        if (whole.partition("<think>")[0].strip() and "<think>" in whole) or re.search("</?think>", inside or ""):
            raise _unknown("want one thinking, before the reply; there is text before it, or another one")
        return inside, answer
    before, inside, after = thought
    solution = _between(after, "<|begin_of_solution|>", "<|end_of_solution|>")
    if (before + (solution[0] + solution[2] if solution else "")).strip():
        raise _unknown("want conversations whose last reply has no text outside its markers")
    return inside, (solution[1] if solution else after).strip()


def _steps(answer: str) -> tuple[str | None, str]:
    """GSM8K's steps and result, where an answer ends with a result."""
    steps, _, last_line = answer.rpartition("\n")
    result = _GSM8K_RESULT.fullmatch(last_line) if steps else None
    return (steps, result[1].strip()) if result else (None, answer)


def _between(text: str, opening: str, closing: str) -> tuple[str, str, str] | None:
    """The text before the first `opening`, then up to the next `closing`, then the rest; None if one is absent."""
    before, opened, rest = text.partition(opening)
    inside, closed, after = rest.partition(closing)
    return (before, inside, after) if opened and closed else None
