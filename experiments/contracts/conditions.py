"""What is said of an arm beside its scores: what it changed, whether it can be compared, and what else differs."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from experiments.contracts.check import CheckedTerm, ContractReport
from experiments.contracts.confounds import Flag, at_seeds
from experiments.store.runs import Counts

T = TypeVar("T")
SHARE = re.compile(r"(\d+)%")  # of answers, in the reason why a model is degenerate


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions of an arm beside the baseline, at one seed or over several. `label` is its name without the
    overrides that all arms share. `contract` says whether the arm can be compared with the baseline, `flags` are the
    confounds too far from the baseline's, and `aliases` are other names of runs of this very experiment.
    `control_seconds` is what the baseline took from its training on, as a matched arm would. `degenerate` says why the
    model is, where it is worse than the baseline's; of the baseline itself, the comparison's cautions say so."""

    label: str
    is_baseline: bool
    changed: tuple[str, ...]
    confounds: Counts
    contract: ContractReport = field(default_factory=ContractReport)
    flags: tuple[Flag, ...] = ()
    control_seconds: float | None = None
    aliases: tuple[str, ...] = ()
    degenerate: tuple[str, ...] = ()

    @property
    def contract_word(self) -> str:
        """Whether the arm kept its contract, in words."""
        return "baseline" if self.is_baseline else self.contract.word


def over_seeds(by_seed: Mapping[int, Conditions]) -> Conditions:
    """The conditions of an arm over its seeds. Confounds are means over the seeds that have them. Whatever limits the
    comparison at any seed is kept; a flag, a broken statement and a degenerate model with their seeds where they are
    not all. A matched arm takes its time once for each seed."""
    by_seed = dict(sorted(by_seed.items()))
    first = next(iter(by_seed.values()))
    seconds = [one.control_seconds for one in by_seed.values() if one.control_seconds is not None]
    return Conditions(
        label=first.label,
        is_baseline=first.is_baseline,
        changed=_union(one.changed for one in by_seed.values()),
        confounds={label: _mean(one.confounds.get(label) for one in by_seed.values()) for label in first.confounds},
        contract=_contract({seed: one.contract for seed, one in by_seed.items()}),
        flags=tuple(_flags(by_seed)),
        control_seconds=math.fsum(seconds) if seconds else None,
        aliases=_union(one.aliases for one in by_seed.values()),
        degenerate=tuple(reasons_over_seeds({seed: one.degenerate for seed, one in by_seed.items()})),
    )


def _flags(by_seed: Mapping[int, Conditions]) -> Iterator[Flag]:
    """Each flagged confound once, with its mean over the seeds at which it is flagged."""
    for label in _union([flag.label for flag in one.flags] for one in by_seed.values()):
        flagged = {seed: flag for seed, one in by_seed.items() for flag in one.flags if flag.label == label}
        yield Flag(
            label,
            here=statistics.fmean(flag.here for flag in flagged.values()),
            baseline=statistics.fmean(flag.baseline for flag in flagged.values()),
            control=next(iter(flagged.values())).control,
            seeds=_some(flagged, by_seed),
        )


def reasons_over_seeds(by_seed: Mapping[int, Sequence[str]]) -> Iterator[str]:
    """Each reason why models are degenerate once, with the least and the greatest share of answers that show it, and
    the seeds where they are not all."""
    found: dict[str, dict[int, str]] = {}
    for seed, reasons in by_seed.items():
        for reason in reasons:
            found.setdefault(SHARE.sub("", reason), {})[seed] = reason
    for of_seeds in found.values():
        shares = sorted({int(share) for reason in of_seeds.values() for share in SHARE.findall(reason)})
        reason = next(iter(of_seeds.values()))
        text = SHARE.sub(f"{shares[0]} to {shares[-1]}%", reason) if len(shares) > 1 else reason
        yield text + at_seeds(_some(of_seeds, by_seed))


def _contract(reports: Mapping[int, ContractReport]) -> ContractReport:
    """A statement holds over the seeds if it holds at each of them."""
    all_reports = reports.values()
    statements = _union([(term.of, term.statement) for term in report.terms] for report in all_reports)
    terms = {
        key: {
            seed: term for seed, report in reports.items() for term in report.terms if (term.of, term.statement) == key
        }
        for key in statements
    }
    return ContractReport(
        terms=tuple(_term(of_one) for of_one in terms.values()),
        leaked=_union(report.leaked for report in all_reports),
        no_op=any(report.no_op for report in all_reports),
        moved=_union(report.moved for report in all_reports),
        stated=any(report.stated for report in all_reports),
        expects=next((report.expects for report in all_reports if report.expects), None),
    )


def _term(by_seed: Mapping[int, CheckedTerm]) -> CheckedTerm:
    """A statement with its mean measurement at the seeds that decide whether it holds."""
    states = {term.holds for term in by_seed.values()}
    holds = False if False in states else None if None in states else True
    deciding = {seed: term for seed, term in by_seed.items() if term.holds is holds}
    measured = _mean(term.measured for term in deciding.values())
    return replace(next(iter(deciding.values())), measured=measured, seeds=_some(deciding, by_seed))


def _some(seeds: Iterable[int], every: Mapping[int, object]) -> tuple[int, ...]:
    """The seeds, where they are not all of them."""
    some = tuple(seeds)
    return some if len(some) < len(every) else ()


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _union(groups: Iterable[Iterable[T]]) -> tuple[T, ...]:
    """Everything in any group once, in order."""
    return tuple(dict.fromkeys(item for group in groups for item in group))
