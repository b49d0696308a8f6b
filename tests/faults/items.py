"""The tests of the 60 items of the fault list, read from their source, so that nothing need be imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ITEMS = range(1, 61)
_NAME = re.compile(r"test_fault_(\d\d)_\w+")


@dataclass(frozen=True, kw_only=True, order=True)
class FaultTest:
    """A test of an item; `expected` is its docstring in one line, '' where it has none."""

    item: int
    file: str
    name: str
    expected: str


def fault_tests(folder: Path = FOLDER) -> list[FaultTest]:
    """All tests of items below a folder, by item."""
    return sorted(test for file in folder.rglob("test_*.py") for test in _tests_in(file, folder))


def _tests_in(file: Path, folder: Path) -> Iterator[FaultTest]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (match := _NAME.fullmatch(node.name)):
            expected = " ".join((ast.get_docstring(node) or "").split())
            yield FaultTest(
                item=int(match[1]), file=file.relative_to(folder).as_posix(), name=node.name, expected=expected
            )


def items_table(folder: Path = FOLDER) -> str:
    """Item, test and expected behaviour, as a table."""
    rows = [f"| {t.item} | `{t.file}::{t.name}` | {t.expected.replace('|', '/')} |" for t in fault_tests(folder)]
    return "\n".join(["| item | test | expected behaviour |", "|---|---|---|", *rows])
