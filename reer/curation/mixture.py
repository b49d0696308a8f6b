"""The training mixture: REER samples and public reasoning rows, by stated sizes (paper.md §3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from reer.errors import InputError
from reer.types import Sample, content_id

T = TypeVar("T")


@dataclass(frozen=True)
class Mixture:
    """Which parts are mixed. Sizes are the scale's; `seed` decides membership and order together with content. Rows of
    the parts named in `without_thinking` are taught as answers alone."""

    name: str
    synthetic: bool
    public: bool
    seed: int = 0
    without_thinking: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = set(self.without_thinking) - {"synthetic", "public"}
        if unknown:
            raise InputError(f"data.without_thinking: want parts among synthetic and public, got {sorted(unknown)}")
        if not (self.synthetic or self.public):
            raise InputError("data: neither synthetic nor public rows are wanted; a mixture needs at least one")

    def choose(self, **parts: T) -> dict[str, T]:
        """The named parts that this mixture uses; what it does not use is never computed."""
        return {name: part for name, part in parts.items() if getattr(self, name)}


def mix(
    parts: Mapping[str, Sequence[Sample]], sizes: Mapping[str, int], seed: int, without_thinking: Sequence[str] = ()
) -> list[Sample]:
    """At most `sizes[name]` rows of each part, shuffled together. Membership and order depend on the seed and on the
    rows' content only, not on the order in which they arrive; nor on whether their thinking is left out.

    Raises InputError when a part has no rows at all.
    """
    chosen: list[Sample] = []
    for name, rows in parts.items():
        if not rows:
            raise InputError(
                f"mixture: the part {name!r} has no rows; look at its drop reasons, or choose another data="
            )
        members = sorted(rows, key=lambda row: content_id(str(seed), "member", row.id))[: sizes[name]]
        chosen += [replace(row, without_thinking=True) for row in members] if name in without_thinking else members
    return sorted(chosen, key=lambda row: content_id(str(seed), "order", row.id))
