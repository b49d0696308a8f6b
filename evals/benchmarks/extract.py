"""Local files that upstream does not have as they are: made of files it has, to the byte, without running any of them.

Python is read as a syntax tree and its constants taken; whatever would have to be computed is refused. A result is
serialised as the one its pinned sha256 was taken of, so a changed separator shows.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from evals.benchmarks.data_files import Source
from reer.errors import InputError

PYTHON_BYTES = 2**20  # far above any of these scripts; bounds what the parser is given
KINDS = {  # the words by which a HelloBench summarization prompt opens, and its category
    "academic article": "academic_article",
    "following report": "report",
    "following dialog": "long_dialogue",
    "following news": "news",
    "blog article": "blogs",
}
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, SyntaxError, RecursionError, MemoryError)

Contents = Mapping[str, bytes]


def derive(name: str, source: Source, contents: Contents) -> bytes:
    """The local file `name` from its upstream files. Raises InputError if they are not of the form it is made from."""
    try:
        return WAYS[source.how](source, contents)
    except UNREADABLE as error:
        files = ", ".join(source.files.values())
        why = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{name} cannot be made of {files}: {why}") from None


def _copy(source: Source, contents: Contents) -> bytes:
    (content,) = contents.values()
    return content


def _texts(source: Source, contents: Contents) -> bytes:
    """String constants of a Python file, by the keys of `take`, after the entries of `label`."""
    nodes = assigned(contents["python"], source.take.values())
    return _json({**source.label, **{key: text_of(nodes[name], name) for key, name in source.take.items()}}, indent=1)


def _weights(source: Source, contents: Contents) -> bytes:
    """A constant of a Python file that holds lists of numbers by name."""
    (name,) = source.take.values()
    value = ast.literal_eval(assigned(contents["python"], [name])[name])
    if not isinstance(value, dict) or not all(isinstance(k, str) and _numbers(v) for k, v in value.items()):
        raise InputError(f"{name}: want lists of numbers by name; take the file at the pinned commit")
    return _json(value, indent=1)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is float for number in value)


def _criteria(source: Source, contents: Contents) -> bytes:
    """Names of the criteria by query, by requirement: what calculate_scores.py needs of WritingBench's `_C` subsets,
    whose rows hold the criteria about that requirement alone."""
    index = {
        requirement: {str(row["index"]): [criterion["name"] for criterion in row["checklist"]] for row in _rows(lines)}
        for requirement, lines in contents.items()
    }
    return _json(index, indent=0)


def _summaries(source: Source, contents: Contents) -> bytes:
    """HelloBench's summarization prompts as rows of main_data, where upstream has no such file: instructions from a
    model's published answers (the same for all models), the checklist from their category's. `raw_text` and
    `requirements` are read back out of the instruction, as nothing published confirms."""
    checklists = json.loads(contents["checklists"])
    rows = sorted(_rows(contents["rows"]), key=lambda row: row["id"])
    return "".join(_json_line(_summary(row, checklists)) for row in rows).encode("utf-8")


def _summary(row: Mapping[str, str], checklists: Mapping[str, list[str]]) -> dict[str, Any]:
    text = row["instruction"]
    head, _, rest = text.partition("[Text Start]")
    body, _, tail = rest.rpartition("[Text End]")
    (kind,) = [kind for words, kind in KINDS.items() if words in head]
    shown = [{"checklist_id": i, "checklist_content": question} for i, question in enumerate(checklists[kind])]
    wanted = [line for line in tail.partition("[Requirements]:")[2].split("\n") if line.strip()]
    return {
        "id": row["id"],
        "category": kind,
        "instruction": text,
        "checklists": checklists[kind],
        "formatted_checklists": json.dumps(shown, ensure_ascii=False),
        "num_checklist": len(shown),
        "raw_text": body.removeprefix(":").strip(),
        "requirements": [re.sub(r"^[0-9]+\. ", "", line).strip() for line in wanted],
    }


def _rows(lines: bytes) -> list[Any]:
    return [json.loads(line) for line in lines.decode("utf-8").split("\n") if line.strip()]


def _json(value: Any, indent: int) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8")


def _json_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def assigned(python: bytes, names: Any) -> dict[str, ast.expr]:
    """The expressions assigned to names at the top level of a Python file, which is parsed and never run. Raises
    InputError where a name is bound nowhere there, or anywhere else too, so that its value is not plain to see."""
    if len(python) > PYTHON_BYTES:
        raise InputError(f"want at most {PYTHON_BYTES:,} bytes of Python, got {len(python):,}")
    tree = ast.parse(python.decode("utf-8"))
    bound = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)]
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
    for name in names:
        if name not in found or bound.count(name) != 1:
            raise InputError(f"want {name} assigned once, at the top level, got it bound {bound.count(name)} times")
    return {name: found[name] for name in names}


def text_of(node: ast.expr, name: str) -> str:
    """The text a constant expression stands for: a string, strings side by side or joined by `+`, and `.strip()` of
    one, which is how WritingBench ends its prompts. Raises InputError for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return text_of(left, name) + text_of(right, name)
        case ast.Call(func=ast.Attribute(value=inner, attr="strip"), args=[], keywords=[]):
            return text_of(inner, name).strip()
    raise InputError(f"{name} wants a string constant, got {type(node).__name__} in line {node.lineno}; nothing is run")


WAYS: dict[str, Callable[[Source, Contents], bytes]] = {
    "copy": _copy,
    "texts": _texts,
    "weights": _weights,
    "criteria": _criteria,
    "summaries": _summaries,
}
