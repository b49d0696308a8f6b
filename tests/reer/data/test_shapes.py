"""Every shape of row with its outcome; the table of reer/data/README.md is written from it.

`REER_GOLDEN=write pytest tests/reer/data/test_shapes.py` rewrites the table.
"""

import json
import os
import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from reer.data.reader import composed_exchange
from reer.data.rows import BadRow, Fields, Problems
from reer.data.shapes import Exchange, exchange
from reer.types import Message
from tests.conftest import REPOSITORY

README = REPOSITORY / "reer" / "data" / "README.md"
TABLE = re.compile(r"(?<=<!-- shapes: written by tests/reer/data/test_shapes.py -->\n).*?(?=\n\n|\Z)", re.S)
U, A, S = ({"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"), ("system", "s")))
Q, SYSTEM, OLD_Q = Message("user", "q"), Message("system", "s"), Message("user", "p")


@dataclass(frozen=True)
class Case:
    """A row, how it is called in the table, and what is read from it: an exchange, or the code of the refusal."""

    name: str
    row: dict[str, Any]
    outcome: Exchange | str
    fields: Fields = field(default_factory=Fields)


def read(
    thinking: str | None = None, query: str | None = "q", answer: str = "a", context: tuple[Message, ...] = ()
) -> Exchange:
    return Exchange(context=context, query=query, thinking=thinking, answer=answer)


def turns(*turns: Any, key: str = "messages") -> dict[str, Any]:
    return {key: list(turns)}


BOTH = Fields(query="messages", solution="messages")
PROMPT = Fields(query="prompt", solution="solution")
CASES = [
    Case("query, answer", {"query": "q", "answer": "a"}, read()),
    Case("query null", {"query": None, "answer": "a"}, read(query=None)),
    Case("query, thinking, answer", {"query": "q", "thinking": "t", "answer": "a"}, read("t")),
    Case("query, answer, reasoning_content", {"query": "q", "reasoning_content": "t", "answer": "a"}, read("t")),
    Case("question, answer", {"question": "q", "answer": "a"}, read()),
    Case("question, answer that is a number", {"question": "q", "answer": 42}, read(answer="42")),
    Case("question, answer with GSM8K's result", {"question": "q", "answer": "t\n#### a"}, read("t")),
    Case(
        "question, reasoning, answer with a result",
        {"question": "q", "reasoning": "t", "answer": "x\n#### a"},
        read("t", answer="x\n#### a"),
    ),
    Case("problem, solution", {"problem": "q", "solution": "<think>t</think>a"}, read("t")),
    Case("prompt, completion", {"prompt": "q", "completion": "a"}, read()),
    Case("prompt, completion as turns", {"prompt": [S, U], "completion": [A]}, read(context=(SYSTEM,))),
    Case("prompt, response", {"prompt": "q", "response": "a"}, read()),
    Case(
        "prompt as turns, solution (DeepWriting)",
        {"prompt": [S, U], "solution": "<think>t</think>a"},
        read("t", context=(SYSTEM,)),
    ),
    Case("prompt as JSON text, solution", {"prompt": json.dumps([U]), "solution": "a"}, read(), PROMPT),
    Case(
        "prompt that only looks like JSON",
        {"prompt": "[{ is how I begin", "solution": "a"},
        read(query="[{ is how I begin"),
        PROMPT,
    ),
    Case(
        "prompt of JSON that is no conversation",
        {"prompt": '[{"a": 1}]', "solution": "a"},
        read(query='[{"a": 1}]'),
        PROMPT,
    ),
    Case(
        "instruction, input, output (Alpaca)", {"instruction": "q", "input": "i", "output": "a"}, read(query="q\n\ni")
    ),
    Case("instruction, empty input, output", {"instruction": "q", "input": "", "output": "a"}, read()),
    Case(
        "instruction, context, response (Dolly)",
        {"instruction": "q", "context": "i", "response": "a"},
        read(query="q\n\ni"),
    ),
    Case(
        "conversations of from/value (ShareGPT)",
        turns({"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}, key="conversations"),
        read(),
    ),
    Case(
        "conversations with OpenThoughts' markers",
        {
            "system": "how to mark",
            **turns(
                {"from": "user", "value": "q"},
                {
                    "from": "assistant",
                    "value": "<|begin_of_thought|>t<|end_of_thought|>\n<|begin_of_solution|>a<|end_of_solution|>",
                },
                key="conversations",
            ),
        },
        read("t"),
    ),
    Case("messages", turns(U, A), read()),
    Case("messages as JSON text", {"messages": json.dumps([S, U, A])}, read(context=(SYSTEM,))),
    Case("messages null beside conversations", {"messages": None, **turns(U, A, key="conversations")}, read()),
    Case("messages with a system turn", turns(S, U, A), read(context=(SYSTEM,))),
    Case("messages with a developer turn", turns({"role": "developer", "content": "s"}, U, A), read(context=(SYSTEM,))),
    Case(
        "messages with earlier turns",
        turns({"role": "user", "content": "p"}, A, U, A),
        read(context=(OLD_Q, Message("assistant", "a"))),
    ),
    Case("messages for both fields", turns(S, U, A), read(context=(SYSTEM,)), BOTH),
    Case("turn with reasoning_content", turns(U, {**A, "reasoning_content": "t"}), read("t")),
    Case("turn with thinking, null", turns(U, {**A, "thinking": None}), read()),
    Case("turn with `<think>`", turns(U, {**A, "content": "<think>\nt\n</think>\n\na"}), read("t")),
    Case("turn with an empty `<think>`", turns(U, {**A, "content": "<think>\n\n</think>\n\na"}), read()),
    Case("turn of text parts", turns({**U, "content": [{"type": "text", "text": "q"}]}, A), read()),
    Case(
        "turn of thinking and text parts",
        turns(U, {**A, "content": [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "a"}]}),
        read("t"),
    ),
    Case(
        "thinking named by fields.thinking",
        {"query": "q", "answer": "a", "cot": {"text": "t"}},
        read("t"),
        Fields(thinking="cot.text"),
    ),
    Case("the same thinking twice", {"query": "q", "thinking": "t", "answer": "<think>t</think>a"}, read("t")),
    Case(
        "two different texts of thinking",
        {"query": "q", "thinking": "t", "answer": "<think>u</think>a"},
        "two_thinkings",
    ),
    Case(
        "a turn by its number",
        {"turns": [{"text": "q"}, {"text": "a"}]},
        read(),
        Fields(query="turns.0.text", solution="turns.1.text"),
    ),
    Case("answer with `<thinking>` or `<thought>`", {"query": "q", "answer": "<Thinking>t</Thinking>\n\na"}, read("t")),
    Case(
        "turns of User and Model",
        turns({"role": "User", "content": "q"}, {"role": "Model", "content": "a"}),
        read(),
    ),
    Case("text before `<think>`", {"query": "q", "answer": "Sure. <think>t</think>a"}, "unknown_shape"),
    Case("two blocks of `<think>`", {"query": "q", "answer": "<think>t</think>a<think>u</think>b"}, "unknown_shape"),
    Case("answer null", {"query": "q", "answer": None}, "missing_field"),
    Case("no answer", {"query": "q"}, "missing_field"),
    Case("no query", {"answer": "a"}, "missing_field"),
    Case("unclosed `<think>`", {"query": "q", "answer": "<think>on and on"}, "empty_text"),
    Case("answer that is a number", {"query": "q", "answer": 7}, "not_text"),
    Case("text alone", {"text": "a"}, "unknown_shape"),
    Case("turn of a tool", turns(U, {"role": "tool", "content": "x"}, A), "unknown_shape"),
    Case("turn with an image", turns({**U, "content": [{"type": "image", "url": "x"}]}, A), "unknown_shape"),
    Case("messages that end with a question", turns(U, A, U), "unknown_shape"),
    Case("messages without a question", turns(S, A), "unknown_shape"),
    Case("messages of the reply alone", turns(A), "unknown_shape"),
    Case("messages for both fields, plain text", {"messages": "q"}, "unknown_shape", BOTH),
    Case("empty messages", turns(), "unknown_shape"),
]


def outcome(case: Case) -> Exchange | str:
    try:
        return composed_exchange("row", case.row, case.fields, Problems("error"))
    except BadRow as bad:
        return bad.reason


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_shape_of_row_has_its_outcome(case: Case) -> None:
    assert outcome(case) == case.outcome


def line(case: Case) -> str:
    """A line of the table: what q, t and a of the case were read as."""
    found = case.outcome
    if isinstance(found, str):
        return f"| {case.name} | refused: `{found}` | | |"
    context = ", ".join(turn.role for turn in found.context)
    cells = (found.query, found.thinking, found.answer, context)
    texts = ["" if cell is None else cell.replace("\n\n", " + ").replace("\n", " ") for cell in cells]
    after = f" (after {context})" if context else ""
    return f"| {case.name} | {texts[0] or 'null'} | {texts[1]} | {texts[2]}{after} |"


def table() -> str:
    head = "| a row with | query | thinking | answer |\n|---|---|---|---|"
    return "\n".join([head, *map(line, CASES)])


def test_the_readme_lists_every_shape() -> None:
    text = README.read_text(encoding="utf-8")
    if os.environ.get("REER_GOLDEN") == "write":
        README.write_text(text := TABLE.sub(lambda _: table(), text), encoding="utf-8")
    (written,) = TABLE.findall(text)
    assert written == table()


def test_a_refusal_names_what_the_row_has() -> None:
    with pytest.raises(BadRow, match=r"want query/answer, .*messages; the row has: body, title; name the fields"):
        exchange({"title": "x", "body": "y"}, Fields())
    with pytest.raises(BadRow, match=r"no field 'answer' \(fields\.solution\); the row has: id, query"):
        exchange({"query": "x", "id": 1}, Fields())


def test_text_in_decomposed_form_is_composed() -> None:
    found = exchange({"messages": [{"role": "system", "content": "e\u0301"}, U, {**A, "content": "a\u0308"}]}, Fields())
    assert found.composed() == read(answer="\u00e4", context=(Message("system", "\u00e9"),))
    assert found.composed() != found
