"""Training rows made equal in number, tokens or optimizer steps to another arm's: an ablation must not seem to cost
what it merely trained less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from reer.errors import InputError
from reer.training.chat_format import MASKED, Rendered
from reer.types import content_id


@dataclass(frozen=True)
class Match:
    """`rows` leaves rows out until there are as many as in the arm `to` (the baseline if empty); `steps` and `tokens`
    leave out or repeat rows until an epoch has as many optimizer steps, or as many trained tokens, as its."""

    by: Literal["none", "rows", "tokens", "steps"]
    to: str = field(default="", metadata={"identity": False})  # its rows are an input, and identify
    seed: int = 0


def matched(rows: Sequence[Rendered], reference: Sequence[Rendered], match: Match, global_batch: int) -> list[Rendered]:
    """The rows of one epoch. Which are left out or repeated depends on the seed and the rows' ids alone.

    Raises InputError where `rows` would have to invent some.
    """
    if match.by == "tokens":
        return _up_to(rows, match.seed, sum(map(trained, reference)))
    have, want = len(rows), len(reference)
    if match.by == "rows" and have < want:
        raise InputError(
            f"match=rows: this arm has {have} rows, the arm it is matched to {want}. Match the larger to the smaller "
            "(experiment=LARGER match=rows match.to=SMALLER), or repeat rows with match=steps"
        )
    if match.by == "steps" and -(-have // global_batch) == -(-want // global_batch):
        return list(rows)
    return _endless(rows, match.seed, want)


def trained(row: Rendered) -> int:
    """How many tokens of a row are taught."""
    return sum(label != MASKED for label in row.labels)


def _endless(rows: Sequence[Rendered], seed: int, count: int) -> list[Rendered]:
    """As many rows, each as often as another but for the last round."""
    rounds, rest = divmod(count, len(rows))
    last = set(_drawn(rows, seed)[:rest])
    return [row for turn in range(rounds + 1) for at, row in enumerate(rows) if turn < rounds or at in last]


def _up_to(rows: Sequence[Rendered], seed: int, tokens: int) -> list[Rendered]:
    """Rows whose trained tokens together come as near to a number as whole rows can, taken in the drawn order."""
    sizes = [trained(row) for row in rows]
    rounds, left = divmod(tokens, sum(sizes))
    last: set[int] = set()
    for at in _drawn(rows, seed):
        if sizes[at] <= 2 * left:
            last.add(at)
            left -= sizes[at]
        if left <= 0:
            break
    return [row for turn in range(rounds + 1) for at, row in enumerate(rows) if turn < rounds or at in last]


def _drawn(rows: Sequence[Rendered], seed: int) -> list[int]:
    return sorted(range(len(rows)), key=lambda at: content_id(str(seed), "match", rows[at].id))
