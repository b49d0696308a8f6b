"""Reads JSON as judges write it: with the deviations that this grammar names, and no others.

A text between double, single or typographic quotes may hold raw line breaks, and a backslash that escapes nothing
counts as a backslash. Outside texts, full-width brackets, colons, commas and digits count as the ASCII ones, a comma
may stand before a closing bracket, a number may have a plus sign, `8/10` is read as the text "8/10", and None, True and
False are null, true and false. Everything else is as in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

FULL_WIDTH = str.maketrans("｛｝［］：，．／＋－０１２３４５６７８９", "{}[]:,./+-0123456789")
"""Full-width marks and digits to ASCII."""
_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<text>"(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | “[^”]*” | ‘[^’]*’)
    | (?P<mark>[][{}:,｛｝［］：，])
    | (?P<ratio>[0-9０-９]+ (?:[.．][0-9０-９]+)? \s* [/／] \s* [0-9０-９]+)
    | (?P<number>[-+－＋]? [0-9０-９]+ (?:[.．][0-9０-９]+)? (?:[eE][-+]?[0-9]+)?)
    | (?P<word>-?[A-Za-z]+)
    """,
    re.X | re.S,
)
_ESCAPE = re.compile(r"""\\(?P<valid>["\\/bfnrt]|u[0-9a-fA-F]{4})|\\(?P<quote>')|\\|\"""")
_WORDS = {"None": "null", "True": "true", "False": "false"}


def decode(text: str, start: int, loads: Callable[[str], Any]) -> tuple[Any, int]:
    """The value that begins with the bracket at an offset, and the offset of its end. `loads` reads strict JSON, into
    which the value is rewritten. Raises ValueError where the text is not in the grammar, and what `loads` raises."""
    pieces: list[str] = []
    depth, at = 0, start
    while token := _TOKEN.match(text, at):
        at = token.end()
        if token.lastgroup == "space":
            continue
        piece = _rewritten(token)
        if piece in ("}", "]"):
            _drop_comma(pieces)
        pieces.append(piece)
        depth += (piece in ("{", "[")) - (piece in ("}", "]"))
        if depth == 0:
            return loads("".join(pieces)), at
    raise ValueError(f"nothing of the grammar is at offset {at}")


def _rewritten(token: re.Match[str]) -> str:
    """A token as strict JSON writes it."""
    content = token[0]
    match token.lastgroup:
        case "text":
            return f'"{_ESCAPE.sub(_escaped, content[1:-1])}"'
        case "ratio":
            return json.dumps("".join(content.translate(FULL_WIDTH).split()))
        case "word":
            return _WORDS.get(content, content)
        case _:
            return content.translate(FULL_WIDTH).removeprefix("+")


def _escaped(found: re.Match[str]) -> str:
    if found["valid"]:
        return found[0]
    if found["quote"]:
        return "'"
    return r"\\" if found[0] == "\\" else r"\""


def _drop_comma(pieces: list[str]) -> None:
    """Remove the comma after the last element. Raises ValueError where no element is before it."""
    if pieces and pieces[-1] == ",":
        pieces.pop()
        if pieces[-1] in ("{", "[", ","):
            raise ValueError("a comma follows no element")
