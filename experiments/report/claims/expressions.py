"""Claims as small expression trees, built from YAML: which comparisons a claim needs, and what their outcomes make of
it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import InstanceOf, PositiveInt

from reer.errors import InputError
from reer.parts import Name, build, kinds_of

GROUP = "claims"
BASELINE = "full"  # how claims call the arm that the others are compared with, whatever its name
SEARCH_SCORE = "search/score"
"""What the search minimises, by pair: nats per token of the solution under the final thinking. Lower is better."""
Outcome = Literal["supported", "contradicted", "undecided"]
Relation = Literal["less", "greater", "equivalent"]
Grouping = Literal["category", "length", "measure"]


@dataclass(frozen=True)
class Comparison:
    """One difference that a claim needs: arm minus `than` on a measure, and what the claim says of it."""

    arm: str
    than: str
    measure: str
    relation: Relation

    @property
    def pair(self) -> tuple[str, str, str]:
        """Arms and measure: comparisons that share them are one test, whatever is said of it."""
        return self.arm, self.than, self.measure


@dataclass(frozen=True)
class Spread:
    """One test whether the difference between two arms is the same in all groups of the items of these measures."""

    arm: str
    than: str
    measures: tuple[str, ...]
    by: Grouping


Atom = Comparison | Spread
Decide = Callable[[Atom], Outcome]


class Expression(ABC):
    """A statement that is supported, contradicted or undecided by what its comparisons found."""

    @abstractmethod
    def atoms(self, taken: Sequence[str]) -> tuple[Atom, ...]:
        """The comparisons that it needs; `taken` are the measures that there are."""

    @abstractmethod
    def outcome(self, taken: Sequence[str], decide: Decide) -> Outcome:
        """What these outcomes of its comparisons make of it."""


@dataclass(frozen=True, kw_only=True)
class OnMeasures(Expression):
    """A relation of two arms on every measure that `measures` match (`writingbench/*`), or on at least `at_least` of
    them. Without any such measure it is undecided."""

    arm: Name
    measures: tuple[str, ...]
    than: Name = BASELINE
    at_least: PositiveInt | None = None

    @property
    @abstractmethod
    def relation(self) -> Relation: ...

    def atoms(self, taken: Sequence[str]) -> tuple[Atom, ...]:
        return tuple(Comparison(self.arm, self.than, name, self.relation) for name in matching(self.measures, taken))

    def outcome(self, taken: Sequence[str], decide: Decide) -> Outcome:
        found: list[Outcome] = [decide(atom) for atom in self.atoms(taken)]
        return at_least(self.at_least or len(found), found) if found else "undecided"


class Less(OnMeasures):
    """`arm` is lower than `than`."""

    @property
    def relation(self) -> Relation:
        return "less"


class Greater(OnMeasures):
    """`arm` is higher than `than`."""

    @property
    def relation(self) -> Relation:
        return "greater"


class Equivalent(OnMeasures):
    """`arm` and `than` differ by less than the equivalence margin of the measure."""

    @property
    def relation(self) -> Relation:
        return "equivalent"


@dataclass(frozen=True, kw_only=True)
class Ordered(Expression):
    """Each arm is lower than the next, on every measure that `measures` match."""

    arms: tuple[Name, ...]
    measures: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.arms) < 2:
            raise InputError(f"arms: an ordering wants at least two arms, got {', '.join(self.arms) or 'none'}")

    def atoms(self, taken: Sequence[str]) -> tuple[Atom, ...]:
        pairs = zip(self.arms, self.arms[1:], strict=False)
        return tuple(Comparison(*pair, name, "less") for pair in pairs for name in matching(self.measures, taken))

    def outcome(self, taken: Sequence[str], decide: Decide) -> Outcome:
        found: list[Outcome] = [decide(atom) for atom in self.atoms(taken)]
        return at_least(len(found), found) if found else "undecided"


@dataclass(frozen=True, kw_only=True)
class Uneven(Expression):
    """The difference between two arms is not the same in all groups of items: their categories, the lengths that they
    ask for, or the measures themselves, each as a share of its range."""

    arm: Name
    measures: tuple[str, ...]
    by: Grouping
    than: Name = BASELINE

    def atoms(self, taken: Sequence[str]) -> tuple[Atom, ...]:
        named = tuple(matching(self.measures, taken))
        return (Spread(self.arm, self.than, named, self.by),) if named else ()

    def outcome(self, taken: Sequence[str], decide: Decide) -> Outcome:
        found: list[Outcome] = [decide(atom) for atom in self.atoms(taken)]
        return found[0] if found else "undecided"


@dataclass(frozen=True, kw_only=True)
class AtLeast(Expression):
    """At least `k` of these hold."""

    k: PositiveInt
    of: tuple[InstanceOf[Expression], ...]

    def __post_init__(self) -> None:
        if self.k > len(self.of):
            raise InputError(f"k: want at most the {len(self.of)} statements that there are, got {self.k}")

    def atoms(self, taken: Sequence[str]) -> tuple[Atom, ...]:
        return tuple(atom for part in self.of for atom in part.atoms(taken))

    def outcome(self, taken: Sequence[str], decide: Decide) -> Outcome:
        return at_least(self.k, [part.outcome(taken, decide) for part in self.of])


@dataclass(frozen=True, kw_only=True)
class AllOf(Expression):
    """All of these hold."""

    of: tuple[InstanceOf[Expression], ...]

    def atoms(self, taken: Sequence[str]) -> tuple[Atom, ...]:
        return tuple(atom for part in self.of for atom in part.atoms(taken))

    def outcome(self, taken: Sequence[str], decide: Decide) -> Outcome:
        return at_least(len(self.of), [part.outcome(taken, decide) for part in self.of])


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One finding: what it says in words, where it is from, and as a statement that can be tested."""

    name: Name
    says: str
    source: str
    holds: InstanceOf[Expression]


@dataclass(frozen=True)
class ClaimSet:
    """The claims of a YAML file."""

    claims: tuple[Claim, ...]


def at_least(k: int, found: Sequence[Outcome]) -> Outcome:
    """The outcome of `at least k of these`."""
    supported, undecided = found.count("supported"), found.count("undecided")
    if supported >= k:
        return "supported"
    return "undecided" if supported + undecided >= k else "contradicted"


def matching(patterns: Sequence[str], taken: Sequence[str]) -> list[str]:
    """The measures that any pattern matches, in order."""
    return [name for name in taken if any(fnmatchcase(name, pattern) for pattern in patterns)]


@cache
def kinds() -> dict[str, type]:
    """The classes that a claim may name under `kind`."""
    return kinds_of([Less, Greater, Equivalent, Ordered, Uneven, AtLeast, AllOf, Claim])


def read_claims(folders: Sequence[Path]) -> tuple[Claim, ...]:
    """The claims in the folder `claims/` of each configuration folder. Raises InputError naming the file and the key of
    what is wrong, and for a name that two claims have."""
    found: dict[str, Claim] = {}
    for file in (file for folder in folders for file in sorted((folder / GROUP).glob("*.yaml"))):
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: not YAML: {error}") from error
        if not isinstance(content, dict):
            raise InputError(f"{file}: want `claims:` and a list of claims")
        for claim in build(content, kinds(), str(file), ClaimSet).claims:
            if claim.name in found:
                raise InputError(f"{file}: two claims are called {claim.name!r}; give one another name")
            found[claim.name] = claim
    return tuple(found.values())
