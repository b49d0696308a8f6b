"""Makes local files from upstream files, reproducibly to the byte and without running any of them.

Constants of Python files are taken from the syntax tree; an expression that would have to be computed is refused. The
serialisation is part of what the pinned sha256 covers: even a changed separator is detected.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from evals.benchmarks.data_files import UpstreamFiles
from reer.errors import InputError

PYTHON_BYTES = 2**20  # far above the size of these scripts; bounds the input of the parser
SUMMARY_CATEGORIES = {  # words in the opening of a HelloBench summarization prompt → its category
    "academic article": "academic_article",
    "following report": "report",
    "following dialog": "long_dialogue",
    "following news": "news",
    "blog article": "blogs",
}
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, SyntaxError, RecursionError, MemoryError)

Contents = Mapping[str, bytes]


def extract(name: str, source: UpstreamFiles, contents: Contents) -> bytes:
    """The local file `name`, made from its upstream files by role. Raises InputError if they have another format."""
    try:
        return EXTRACTORS[source.method](source, contents)
    except UNREADABLE as error:
        files = ", ".join(source.files.values())
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{name} cannot be made from {files}: {reason}") from None


def _copy(source: UpstreamFiles, contents: Contents) -> bytes:
    (content,) = contents.values()
    return content


def _texts(source: UpstreamFiles, contents: Contents) -> bytes:
    """A JSON object with the entries of `header`, then the string constants of a Python file by the keys of
    `constants`."""
    nodes = assigned(contents["python"], source.constants.values())
    texts = {key: text_of(nodes[name], name) for key, name in source.constants.items()}
    return _json({**source.header, **texts}, indent=1)


def _weights(source: UpstreamFiles, contents: Contents) -> bytes:
    """One constant of a Python file: a dict of lists of numbers."""
    (name,) = source.constants.values()
    value = ast.literal_eval(assigned(contents["python"], [name])[name])
    if not isinstance(value, dict) or not all(
        isinstance(key, str) and _numbers(numbers) for key, numbers in value.items()
    ):
        raise InputError(f"{name}: want a dict of lists of numbers; use the file at the pinned commit")
    return _json(value, indent=1)


def _numbers(value: object) -> bool:
    return isinstance(value, list) and all(type(number) is float for number in value)


def _criteria(source: UpstreamFiles, contents: Contents) -> bytes:
    """Requirement → query → names of its criteria, which calculate_scores.py needs from WritingBench's `_C` subsets: a
    row of theirs has only the criteria about that requirement."""
    index = {
        requirement: {str(row["index"]): [criterion["name"] for criterion in row["checklist"]] for row in _rows(lines)}
        for requirement, lines in contents.items()
    }
    return _json(index, indent=0)


def _summaries(source: UpstreamFiles, contents: Contents) -> bytes:
    """HelloBench's summarization prompts as rows of main_data, where upstream has no such file. Instructions come from
    a model's published answers (they are the same for all models), the checklist from that of the category. `raw_text`
    and `requirements` are recovered from the instruction; no published file confirms them."""
    checklists = json.loads(contents["checklists"])
    rows = sorted(_rows(contents["rows"]), key=lambda row: row["id"])
    return "".join(_json_line(_summary(row, checklists)) for row in rows).encode("utf-8")


def _summary(row: Mapping[str, str], checklists: Mapping[str, list[str]]) -> dict[str, Any]:
    text = row["instruction"]
    head, _, rest = text.partition("[Text Start]")
    body, _, tail = rest.rpartition("[Text End]")
    (category,) = [category for words, category in SUMMARY_CATEGORIES.items() if words in head]
    numbered = [{"checklist_id": i, "checklist_content": question} for i, question in enumerate(checklists[category])]
    requirements = [line for line in tail.partition("[Requirements]:")[2].split("\n") if line.strip()]
    return {
        "id": row["id"],
        "category": category,
        "instruction": text,
        "checklists": checklists[category],
        "formatted_checklists": json.dumps(numbered, ensure_ascii=False),
        "num_checklist": len(numbered),
        "raw_text": body.removeprefix(":").strip(),
        "requirements": [re.sub(r"^[0-9]+\. ", "", line).strip() for line in requirements],
    }


def _rows(lines: bytes) -> list[Any]:
    return [json.loads(line) for line in lines.decode("utf-8").split("\n") if line.strip()]


def _json(value: object, indent: int) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8")


def _json_line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def assigned(python: bytes, names: Iterable[str]) -> dict[str, ast.expr]:
    """The expressions assigned to names at the top level of a Python file, which is parsed and never run. Raises
    InputError unless each name is bound exactly once in the file, at the top level: else its value is uncertain."""
    if len(python) > PYTHON_BYTES:
        raise InputError(f"want at most {PYTHON_BYTES:,} bytes of Python, got {len(python):,}")
    tree = ast.parse(python.decode("utf-8"))
    bound = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)]
    values: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            values[node.targets[0].id] = node.value
    expressions: dict[str, ast.expr] = {}
    for name in names:
        if name not in values or bound.count(name) != 1:
            raise InputError(f"want {name} assigned once, at the top level, but it is bound {bound.count(name)} times")
        expressions[name] = values[name]
    return expressions


def text_of(node: ast.expr, name: str) -> str:
    """The value of a constant expression: a string, adjacent strings or strings joined by `+`, and `.strip()` of one,
    which WritingBench applies to its prompts. Raises InputError for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return text_of(left, name) + text_of(right, name)
        case ast.Call(func=ast.Attribute(value=inner, attr="strip"), args=[], keywords=[]):
            return text_of(inner, name).strip()
    raise InputError(f"{name}: want a string constant, got {type(node).__name__} in line {node.lineno}; no code is run")


EXTRACTORS: Mapping[str, Callable[[UpstreamFiles, Contents], bytes]] = {
    "copy": _copy,
    "texts": _texts,
    "weights": _weights,
    "criteria": _criteria,
    "summaries": _summaries,
}
