"""LongBench-Write's length score by rule (LongWriter 3fcfdff, evaluation/eval_length.py): no judge, any language."""

from __future__ import annotations

import re

_IDEOGRAPH = re.compile(r"[\u4e00-\u9fff]")
_LATIN = re.compile(r"\b[a-zA-Z]+\b")


def count_units(text: str) -> int:
    """Ideographs plus runs of ASCII letters at word boundaries, as upstream counts; digits are not counted."""
    return len(_IDEOGRAPH.findall(text)) + len(_LATIN.findall(text))


def length_score(required: int, text: str) -> float:
    """S_l in [0, 100] of a text that should have `required` units: 100 at that length, 0 from four times and below a
    third of it. An empty text scores 0 (upstream divides by zero)."""
    written = count_units(text)
    if written == 0:
        return 0.0
    if written > required:
        return 100 * max(0.0, 1 - (written / required - 1) / 3)
    return 100 * max(0.0, 1 - (required / written - 1) / 2)
