"""What a sweep says of each claim: supported, contradicted or undecided, with the comparisons that it rests on.

The comparisons of a claim are one family: their p-values are corrected together by Holm, and their intervals are
simultaneous (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from evals.statistics.heterogeneity import SMALLEST_GROUP, GroupDifference, Heterogeneity
from evals.statistics.multiplicity import correct_family, holm
from evals.statistics.paired import Difference
from evals.statistics.power import ALPHA, POWER
from evals.statistics.seeds import SeedsDifference
from experiments.report.claims.evidence import Evidence
from experiments.report.claims.expressions import SEARCH_SCORE, Atom, Claim, Comparison, Outcome, Relation, Spread


@dataclass(frozen=True, kw_only=True)
class Needed:
    """What would decide a comparison of this spread at 80 % power, if its true difference is `difference`: so many
    items, or seeds. `seconds` is what answering and grading the further items takes both arms at their speed."""

    difference: float
    items: int
    seeds: int | None
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class ComparisonVerdict:
    """One comparison of a claim: mean difference with its simultaneous interval, corrected p-values, and why it cannot
    be decided at all. `confounded_by` names the confounds of the two arms that are out of bounds."""

    asked: Comparison
    outcome: Outcome
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_equivalent: float | None = None
    items: int = 0
    why: str = ""
    confounded_by: tuple[str, ...] = ()
    needed: Needed | None = None


@dataclass(frozen=True, kw_only=True)
class SpreadVerdict:
    """One test of heterogeneity, with the difference in each group as a share of the measure's range."""

    asked: Spread
    outcome: Outcome
    mean: float | None = None
    groups: tuple[GroupDifference, ...] = ()
    p: float | None = None
    why: str = ""
    confounded_by: tuple[str, ...] = ()


Part = ComparisonVerdict | SpreadVerdict


@dataclass(frozen=True, kw_only=True)
class ClaimVerdict:
    """A claim and what a sweep says of it."""

    claim: str
    says: str
    source: str
    outcome: Outcome
    parts: tuple[Part, ...]

    @property
    def why(self) -> tuple[str, ...]:
        """Why parts of it cannot be decided, each reason once."""
        return tuple(dict.fromkeys(part.why for part in self.parts if part.why))

    @property
    def confounded_by(self) -> tuple[str, ...]:
        """The confounds of any of its comparisons."""
        return tuple(dict.fromkeys(label for part in self.parts for label in part.confounded_by))


def judge_claims(claims: Sequence[Claim], evidence: Evidence) -> tuple[ClaimVerdict, ...]:
    """The verdict on each claim. What was computed is kept beside the runs."""
    verdicts = tuple(_judge(claim, evidence) for claim in claims)
    evidence.statistics.save()
    return verdicts


def _judge(claim: Claim, evidence: Evidence) -> ClaimVerdict:
    atoms = list(dict.fromkeys(claim.holds.atoms(evidence.measures)))
    parts = _parts(atoms, evidence)
    outcome = claim.holds.outcome(evidence.measures, lambda atom: parts[atom].outcome)
    return ClaimVerdict(
        claim=claim.name, says=claim.says, source=claim.source, outcome=outcome, parts=tuple(parts.values())
    )


def _parts(atoms: Sequence[Atom], evidence: Evidence) -> dict[Atom, Part]:
    """Each comparison of one claim, corrected for all of them."""
    refused = {atom: _refusal(atom, evidence) for atom in atoms}
    open_ = [atom for atom in atoms if not refused[atom]]
    asked = {atom.pair: atom for atom in open_ if isinstance(atom, Comparison)}
    found = {pair: d for pair, atom in asked.items() if (d := evidence.difference(atom)) is not None}
    uneven = {a: h for a in open_ if isinstance(a, Spread) and (h := evidence.heterogeneity(a)) is not None}
    tested: list[tuple[object, float]] = [(pair, d.p) for pair, d in found.items() if d.p is not None]
    tested += [(atom, spread.p) for atom, spread in uneven.items()]
    holms = dict(zip([key for key, _ in tested], holm([p for _, p in tested]), strict=True))
    bounded = zip(found, correct_family(list(found.values())), strict=True)
    corrected = {pair: replace(d, p_holm=holms.get(pair)) for pair, d in bounded}
    parts: dict[Atom, Part] = {}
    for atom in atoms:
        if isinstance(atom, Spread):
            part = _spread(atom, uneven.get(atom), holms.get(atom), refused[atom])
        elif atom.pair in corrected:
            part = _compared(atom, corrected[atom.pair], len(tested), evidence)
        else:
            part = _open(atom, refused[atom])
        parts[atom] = replace(part, confounded_by=_confounds(atom, evidence))
    return parts


def _spread(atom: Spread, found: Heterogeneity | None, p: float | None, refusal: str) -> SpreadVerdict:
    if found is None:
        why = refusal or f"no two groups by {atom.by} with {SMALLEST_GROUP} items each that both arms have"
        return SpreadVerdict(asked=atom, outcome="undecided", why=why)
    outcome: Outcome = "supported" if p is not None and p < ALPHA else "undecided"
    return SpreadVerdict(asked=atom, outcome=outcome, mean=found.mean, groups=found.groups, p=p)


def _open(atom: Comparison, refusal: str) -> ComparisonVerdict:
    return ComparisonVerdict(asked=atom, outcome="undecided", why=refusal or f"{atom.measure} has no score in both")


def _refusal(atom: Atom, evidence: Evidence) -> str:
    """Why two arms cannot be compared: one has no result, or its contract is broken."""
    for name in (atom.arm, atom.than):
        runs = evidence.arm(name)
        if runs is None:
            return f"{name} has no current result"
        if broken := [line for arm in runs.arms.values() for line in arm.contract.broken]:
            return f"{name} is not comparable: {broken[0]}"
    return ""


def _confounds(atom: Atom, evidence: Evidence) -> tuple[str, ...]:
    """The confounds of the two arms. Those of the search alone are none for what it minimises."""
    if isinstance(atom, Comparison) and atom.measure == SEARCH_SCORE:
        return ()
    runs = [found for name in (atom.arm, atom.than) if (found := evidence.arm(name)) is not None]
    return tuple(dict.fromkeys(flag.label for found in runs for arm in found.arms.values() for flag in arm.flags))


def _compared(atom: Comparison, difference: Difference, family: int, evidence: Evidence) -> ComparisonVerdict:
    outcome = decided(atom.relation, difference)
    factor = _quantile(ALPHA / 2 / max(1, family)) / _quantile(ALPHA / 2)
    mean, ends = difference.mean, (difference.low, difference.high)
    low, high = (None if end is None else mean + factor * (end - mean) for end in ends)
    untested = "" if difference.p is not None else f"{atom.measure}: too few items, or the same difference in all"
    return ComparisonVerdict(
        asked=atom,
        outcome=outcome,
        mean=mean,
        low=low,
        high=high,
        p=difference.p_holm,
        p_equivalent=difference.p_equivalent_holm,
        items=difference.items,
        why=untested if outcome == "undecided" else "",
        needed=_needed(atom, difference, family, evidence) if outcome == "undecided" else None,
    )


def decided(relation: Relation, difference: Difference) -> Outcome:
    """What a corrected difference says of a relation. One that is significant on the other side contradicts it, and so
    does equivalence of what should differ, and a difference beyond the margin of what should be equivalent."""
    differs = difference.p_holm is not None and difference.p_holm < ALPHA
    p_equivalent = difference.p_equivalent_holm
    equivalent = p_equivalent is not None and p_equivalent < ALPHA
    if relation == "equivalent":
        beyond = differs and difference.margin is not None and abs(difference.mean) > difference.margin
        return "supported" if equivalent else "contradicted" if beyond else "undecided"
    if differs:
        return "supported" if (difference.mean < 0) == (relation == "less") else "contradicted"
    return "contradicted" if equivalent else "undecided"


def _quantile(p: float) -> float:
    return -NormalDist().inv_cdf(p)


def _needed(atom: Comparison, difference: Difference, family: int, evidence: Evidence) -> Needed | None:
    """The sample that detects the observed difference, or the margin where that is larger, in four of five cases. One
    seed says nothing of how seeds vary, so that only items are extrapolated from it."""
    target = max(abs(difference.mean), difference.margin or 0.0)
    if not target or not difference.minimum_detectable:
        return None
    power = _quantile(1 - POWER)
    adjusted = (_quantile(ALPHA / 2 / max(1, family)) + power) / (_quantile(ALPHA / 2) + power)
    more = (difference.minimum_detectable * adjusted / target) ** 2
    seeds = math.ceil(difference.seeds * more) if isinstance(difference, SeedsDifference) else None
    items = math.ceil(difference.items * more)
    per_item = evidence.seconds_per_item(atom)
    return Needed(
        difference=target,
        items=items,
        seeds=seeds,
        seconds=None if per_item is None else per_item * max(0, items - difference.items),
    )
