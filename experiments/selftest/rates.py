"""How often the harness was right, over worlds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from experiments.selftest.arms import Kind
from experiments.selftest.outcome import NAMED, Compared, WorldOutcome

Case = TypeVar("Case")
SEALED_WORLDS = 3  # the first ones, of ten sealed arms each


@dataclass(frozen=True, kw_only=True)
class KindRate:
    """Of one kind of sealed arm: how many there were, and for how many the finding was right."""

    kind: Kind
    arms: int
    right: int


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of cases in percent, and the bounds that are wanted of it. Cases of one world are alike, which the
    standard error allows for; both are None without a case, and the error also for a single world. `always`: a single
    case beside the bounds is one too many."""

    name: str
    cases: int
    percent: float | None
    standard_error: float | None
    least: float = 0.0
    most: float = 100.0
    always: bool = False

    @property
    def kept(self) -> bool | None:
        """Whether the share is within the bounds; None where it is not, by no more than two standard errors, so that
        so few worlds do not decide it."""
        if self.percent is None or self.least <= self.percent <= self.most:
            return True
        beyond = max(self.least - self.percent, self.percent - self.most)
        decided = self.always or (self.standard_error is not None and beyond > 2 * self.standard_error)
        return False if decided else None

    @property
    def wanted(self) -> str:
        """The bounds as text."""
        if self.least == 0.0:
            return "" if self.most == 100.0 else f"at most {self.most:g}"
        return f"at least {self.least:g}" if self.most == 100.0 else f"{self.least:g} to {self.most:g}"


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The rates over all worlds; `sealed` are the arms of the first worlds, of which every one should be right."""

    worlds: int
    seconds: float
    sealed: int
    sealed_right: int
    kinds: tuple[KindRate, ...]
    shares: tuple[Share, ...]

    @property
    def kept(self) -> bool:
        """Whether all that is wanted holds, as far as it is decided."""
        return self.sealed_right == self.sealed and all(share.kept is not False for share in self.shares)


def rates(outcomes: Sequence[WorldOutcome], seconds: float) -> Rates:
    """The rates over the outcomes of worlds, which are in the order of their seeds."""
    first = [sealed for outcome in outcomes[:SEALED_WORLDS] for sealed in outcome.sealed]
    return Rates(
        worlds=len(outcomes),
        seconds=seconds,
        sealed=len(first),
        sealed_right=sum(sealed.right for sealed in first),
        kinds=tuple(_of_kind(kind, outcomes) for kind in Kind),
        shares=tuple(_shares(outcomes)),
    )


def _of_kind(kind: Kind, outcomes: Sequence[WorldOutcome]) -> KindRate:
    arms = [sealed for outcome in outcomes for sealed in outcome.sealed if sealed.kind is kind]
    return KindRate(kind=kind, arms=len(arms), right=sum(sealed.right for sealed in arms))


def _shares(outcomes: Sequence[WorldOutcome]) -> Iterator[Share]:
    for title, over_seeds in (("one seed", False), ("over seeds", True)):
        compared = [[c for c in outcome.compared if c.over_seeds is over_seeds] for outcome in outcomes]
        null = [[c for c in of_world if c.without_effect] for of_world in compared]
        called = [[c for c in of_world if c.finding == "different" and not c.without_effect] for of_world in compared]
        exact = not over_seeds  # intervals over few seeds are wide on purpose where seeds hardly matter
        yield _share(f"{title}: intervals that cover the truth", compared, _covered, 94.0, 96.0 if exact else 100.0)
        yield _share(f"{title}: no effect, interval without 0", null, _rejected, 4.0 if exact else 0.0, 6.0)
        yield _share(f"{title}: no effect, called different", null, _called, most=5.0)
        yield _share(f"{title}: called different, wrong sign", called, _wrong_sign, most=0.5)
        yield _share(f"{title}: called equivalent, beyond margin", compared, lambda c: c.wrongly_equal, most=5.0)
    named = [[sealed for sealed in outcome.sealed if sealed.kind in NAMED] for outcome in outcomes]
    name = "dead, leaking, mislabelled: named"
    yield _share(name, named, lambda sealed: sealed.right, least=100.0, always=True)
    yield _share("steady judge: drift named", [o.drift_named for o in outcomes], lambda flagged: flagged, most=6.0)


def _covered(compared: Compared) -> bool:
    return compared.low <= compared.truth <= compared.high


def _rejected(compared: Compared) -> bool:
    return not compared.low <= 0.0 <= compared.high


def _called(compared: Compared) -> bool:
    return compared.finding == "different"


def _wrong_sign(compared: Compared) -> bool:
    return compared.mean * compared.truth < 0


def _share(
    name: str,
    worlds: Sequence[Sequence[Case]],
    holds: Callable[[Case], bool],
    least: float = 0.0,
    most: float = 100.0,
    always: bool = False,
) -> Share:
    """The share of cases that hold, given by world."""
    counts = [(sum(map(holds, cases)), len(cases)) for cases in worlds if cases]
    total = sum(cases for _, cases in counts)
    if not total:
        return Share(name=name, cases=0, percent=None, standard_error=None, least=least, most=most, always=always)
    share = sum(holding for holding, _ in counts) / total
    spread = statistics.stdev(holding - share * cases for holding, cases in counts) if len(counts) > 1 else None
    error = None if spread is None else 100 * spread * math.sqrt(len(counts)) / total
    return Share(
        name=name, cases=total, percent=100 * share, standard_error=error, least=least, most=most, always=always
    )
