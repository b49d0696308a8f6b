"""The training mixture: REER samples and public reasoning rows in given numbers (paper.md §3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

from reer.errors import InputError
from reer.parts import Name, Share
from reer.types import Sample, content_id

Part = TypeVar("Part")


class Sizes(NamedTuple):
    """The most rows of each part."""

    synthetic: int
    public: int


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Which parts are mixed; the scale sets their sizes."""

    name: Name
    synthetic: bool
    """Use the REER samples."""
    public: bool
    """Use the public reasoning rows."""
    seed: int = 0
    """Together with a row's content it decides membership and order."""
    without_thinking: tuple[Literal["synthetic", "public"], ...] = ()
    """Parts whose rows are trained on as answers without thinking."""
    synthetic_share: Share = 1.0
    """The share of the scale's synthetic rows that is used."""
    public_share: Share = 1.0
    """The share of the scale's public rows that is used; 0 trains on none."""

    def __post_init__(self) -> None:
        if not self.choose(synthetic=True, public=True):
            raise InputError(
                "data: a mixture needs at least one part, got none; set data.synthetic or data.public to true, and its "
                "share above 0"
            )

    def choose(self, **parts: Part) -> dict[str, Part]:
        """The named parts that this mixture uses; the others are never computed."""
        used = {"synthetic": self.synthetic and self.synthetic_share, "public": self.public and self.public_share}
        return {name: part for name, part in parts.items() if used[name]}

    def sizes(self, synthetic: int, public: int) -> Sizes:
        """The rows of both parts, given the scale's; at least one where the share is not 0."""
        shares = ((synthetic, self.synthetic_share), (public, self.public_share))
        return Sizes(*(max(round(rows * share), min(rows, 1)) if share else 0 for rows, share in shares))


def member_order(seed: int, row_id: str) -> str:
    """The place of a row among those of its part: the first ones are taken."""
    return content_id(str(seed), "member", row_id)


def mix(
    parts: Mapping[str, Sequence[Sample]], sizes: Mapping[str, int], seed: int, without_thinking: Sequence[str] = ()
) -> list[Sample]:
    """At most `sizes[name]` rows of each part, shuffled together. Membership and order depend on the seed and on the
    rows' content only, not on the order of arrival or on whether the thinking is used.

    Raises InputError if a part has no rows.
    """
    chosen: list[Sample] = []
    for name, rows in parts.items():
        if not rows:
            raise InputError(
                f"mixture: the part {name!r} has no rows; look at its drop reasons, or choose another data="
            )
        members = sorted(rows, key=lambda row: member_order(seed, row.id))[: sizes[name]]
        chosen += [replace(row, without_thinking=True) for row in members] if name in without_thinking else members
    return sorted(chosen, key=lambda row: content_id(str(seed), "order", row.id))
