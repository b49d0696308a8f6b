"""Training rows matched to another arm's in number, tokens or optimizer steps, so that an ablation is not confounded
with the amount of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from reer.errors import InputError
from reer.training.chat_format import MASKED, Rendered
from reer.types import content_id


@dataclass(frozen=True)
class Match:
    """Which quantity of the training rows is made equal to another arm's."""

    by: Literal["none", "rows", "tokens", "steps"]
    """`rows` leaves rows out until the numbers are equal. `steps` and `tokens` leave out or repeat rows until an epoch
    has as many optimizer steps, or as many trained tokens."""

    to: str = field(default="", metadata={"identity": False})  # the rows of that arm are an input and identify it
    """The arm to match, the baseline if empty."""

    seed: int = 0
    """Decides which rows are left out or repeated."""


def matched(rows: Sequence[Rendered], target: Sequence[Rendered], match: Match, global_batch: int) -> list[Rendered]:
    """The rows of one epoch. Which are left out or repeated depends only on the seed and the rows' ids.

    Raises InputError if `match.by` is `rows` and `target` has more rows.
    """
    if match.by == "tokens":
        return _nearest_tokens(rows, match.seed, sum(map(trained_tokens, target)))
    have, want = len(rows), len(target)
    if match.by == "rows" and have < want:
        raise InputError(
            f"match=rows: this arm has {have} rows, the arm it is matched to {want}. Match the larger to the smaller "
            "(experiment=LARGER match=rows match.to=SMALLER), or repeat rows with match=steps"
        )
    if match.by == "steps" and -(-have // global_batch) == -(-want // global_batch):
        return list(rows)
    return _cycled(rows, match.seed, want)


def trained_tokens(row: Rendered) -> int:
    """The number of tokens in a row that the loss includes."""
    return sum(label != MASKED for label in row.labels)


def _cycled(rows: Sequence[Rendered], seed: int, count: int) -> list[Rendered]:
    """`count` rows in which the frequencies of any two rows differ by at most one."""
    rounds, rest = divmod(count, len(rows))
    return _repeated(rows, rounds, set(_drawn(rows, seed)[:rest]))


def _nearest_tokens(rows: Sequence[Rendered], seed: int, tokens: int) -> list[Rendered]:
    """Rows, taken in the drawn order, whose trained tokens sum as nearly to `tokens` as whole rows allow."""
    sizes = [trained_tokens(row) for row in rows]
    rounds, left = divmod(tokens, sum(sizes))
    once_more: set[int] = set()
    for index in _drawn(rows, seed):
        if sizes[index] <= 2 * left:
            once_more.add(index)
            left -= sizes[index]
        if left <= 0:
            break
    return _repeated(rows, rounds, once_more)


def _repeated(rows: Sequence[Rendered], rounds: int, once_more: set[int]) -> list[Rendered]:
    """All rows `rounds` times, then those with an index in `once_more`."""
    return [*rows] * rounds + [row for index, row in enumerate(rows) if index in once_more]


def _drawn(rows: Sequence[Rendered], seed: int) -> list[int]:
    """The rows' indices in an order that depends on the seed."""
    return sorted(range(len(rows)), key=lambda index: content_id(str(seed), "match", rows[index].id))
