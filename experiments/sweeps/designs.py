"""Designs: the arms of a sweep over several factors.

A factor is a part of the experiment that can be taken out of it. An arm is the set of factors that it lacks, so an arm
has the same name in every design.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from reer.errors import InputError, near


@dataclass(frozen=True)
class Arm:
    """The factors that an arm lacks, and the overrides that take them out."""

    lacks: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()

    def named(self, name: str, baseline: str) -> str:
        """The name of this arm of the experiment `name`: `no_search+no_reflection`. The baseline's own name is left
        out."""
        parts = [f"no_{factor}" for factor in self.lacks]
        return "+".join(parts if parts and name == baseline else [name, *parts])


@dataclass(frozen=True, kw_only=True)
class Design:
    """Which factors are varied, and in which combinations."""

    arms: Literal["none", "leave_one_out", "add_one_in", "pairs", "factorial"]
    """none: one arm, with all factors. leave_one_out: that arm, and each factor alone taken out. add_one_in: an arm
    without any of them, and each alone added back. pairs: the arm with all, and each two taken out. factorial: every
    combination."""
    without: dict[str, dict[str, str | int | float]]
    """What takes each factor out: group or key -> choice or value."""
    factors: tuple[str, ...] = ()
    """The factors that are varied."""

    def __post_init__(self) -> None:
        for factor in self.factors:
            if factor not in self.without:
                known = ", ".join(self.without)
                raise InputError(f"design.factors: want some of {known}, got {factor!r}{near(factor, self.without)}")
        if len(set(self.factors)) < len(self.factors):
            raise InputError(f"design.factors: want each factor once, got {', '.join(self.factors)}")
        if self.arms != "none" and len(self.factors) < (needed := 2 if self.arms == "pairs" else 1):
            raise InputError(f"design.factors: {self.arms} wants at least {needed} of {', '.join(self.without)}")
        keys = [key for factor in self.factors for key in self.without[factor]]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise InputError(
                f"design.without: want each group in one factor that is varied, got {', '.join(twice)} in two"
            )

    def varied_by(self) -> Mapping[str, str]:
        """Each group or key that the design varies, and the factor that it belongs to."""
        return {key: factor for factor in self.factors for key in self.without[factor]}

    def all_arms(self) -> list[Arm]:
        """The arms in order, the one that the others are compared with first."""
        return [self._arm(lacks) for lacks in self._lacking()]

    def _lacking(self) -> list[tuple[str, ...]]:
        every = self.factors
        match self.arms:
            case "none":
                return [()]
            case "leave_one_out":
                return [(), *((factor,) for factor in every)]
            case "add_one_in":
                return [every, *(tuple(other for other in every if other != factor) for factor in every)]
            case "pairs":
                return [(), *combinations(every, 2)]
            case "factorial":
                return [lacks for size in range(len(every) + 1) for lacks in combinations(every, size)]

    def _arm(self, lacks: tuple[str, ...]) -> Arm:
        settings = {key: value for factor in lacks for key, value in self.without[factor].items()}
        return Arm(lacks, tuple(f"{key}={value}" for key, value in settings.items()))
