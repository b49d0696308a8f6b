"""Comparisons as records: arms beside their baseline at one scale and seed, and over the seeds of a scale."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from evals.benchmark import ItemScores, Measure
from evals.statistics.equivalence import equivalence_margin
from evals.statistics.multiplicity import correct_family
from evals.statistics.paired import Difference, paired_difference
from evals.statistics.seeds import SeedsDifference, difference_over_seeds
from experiments.report.confounds import confounds
from experiments.report.measures import item_table, measures_of
from experiments.report.published import Published, published, source
from experiments.stages import training
from experiments.store.fingerprint import difference
from experiments.store.runs import Counts, Result
from reer.errors import InputError

AFTER_RENDERING = ("student", "train", "seed", "scale", "benchmark", "judge")


@dataclass(frozen=True)
class Cell:
    """One measure of one arm and its paired difference from the baseline: None for the baseline itself, and where
    either side's score is withheld. `published` is the paper's value where it has one for this very arm."""

    measure: Measure | None
    difference: Difference | None
    published: Published | None = None


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One row of the comparison: the changed configuration, confounds and scores. `no_op` means that the arm should
    change the training rows and trained on the tokens of the baseline."""

    result: Result
    is_baseline: bool
    changed: tuple[str, ...]
    confounds: Counts
    cells: Mapping[str, Cell]
    no_op: bool

    @property
    def name(self) -> str:
        return self.result.name


@dataclass(frozen=True)
class SeedsCell:
    """One measure of one arm at each seed that has a headline, and the difference over the seeds it shares with the
    baseline."""

    values: tuple[float, ...]
    difference: SeedsDifference | None

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation between seeds."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class SeedsArm:
    """One row of the comparison over seeds."""

    name: str
    is_baseline: bool
    cells: Mapping[str, SeedsCell]


@dataclass(frozen=True, kw_only=True)
class SeedsComparison:
    """Arms of one scale that were run with several seeds, like their baseline, which comes first. `left_out` names the
    arms whose seeds are not repetitions of one configuration, with the reason."""

    scale: str
    seeds: tuple[int, ...]
    measures: tuple[str, ...]
    arms: tuple[SeedsArm, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Arms of one scale and seed, the baseline first. The comparison of the last seed also holds that over seeds."""

    scale: str
    seed: int
    measures: tuple[str, ...]
    arms: tuple[Arm, ...]
    cautions: tuple[str, ...]
    over_seeds: SeedsComparison | None = None

    def reported_confounds(self) -> list[str]:
        """The confounds that any arm reports."""
        labels = dict.fromkeys(label for arm in self.arms for label in arm.confounds)
        return [label for label in labels if any(arm.confounds.get(label) is not None for arm in self.arms)]


AnyArm = TypeVar("AnyArm", Arm, SeedsArm)


def compare(results: Sequence[Result]) -> list[Comparison]:
    """One comparison for each scale and seed among the results. Raises InputError without any result."""
    if not results:
        raise InputError("nothing to compare: no run has finished here; start one with `reer run`")
    scales: dict[str, dict[int, list[Result]]] = {}
    for result in results:
        scales.setdefault(result.scale, {}).setdefault(result.seed, []).append(result)
    comparisons: list[Comparison] = []
    for scale, seeds in scales.items():
        of_scale = [_comparison(scale, seed, group) for seed, group in seeds.items()]
        comparisons += [*of_scale[:-1], replace(of_scale[-1], over_seeds=_over_seeds(of_scale))]
    return comparisons


def _comparison(scale: str, seed: int, results: Sequence[Result]) -> Comparison:
    common = set.intersection(*(set(r.name.split("+")[1:]) for r in results))  # overrides that all arms share
    baseline = next((r for r in results if r.name == "+".join([r.baseline, *sorted(common)])), None)
    ordered = sorted(results, key=lambda r: (r is not baseline,))
    names = tuple(dict.fromkeys(name for r in ordered for name in measures_of(r)))
    arms = _corrected([_arm(r, baseline, names) for r in ordered], names)
    cautions = [r.caution for r in ordered if r.caution]
    cautions += [source() for arm in arms for cell in arm.cells.values() if cell.published]
    unique = tuple(dict.fromkeys(cautions))
    return Comparison(scale=scale, seed=seed, measures=names, arms=arms, cautions=unique)


def _corrected(arms: Sequence[AnyArm], names: Sequence[str]) -> tuple[AnyArm, ...]:
    """The arms with the p-values of each measure corrected for the number of arms."""
    rows = [dict(arm.cells) for arm in arms]
    for name in names:
        family = [(row, d) for row in rows if (d := row[name].difference) is not None]
        for (row, _), d in zip(family, correct_family([d for _, d in family]), strict=True):
            row[name] = replace(row[name], difference=d)
    return tuple(replace(arm, cells=row) for arm, row in zip(arms, rows, strict=True))


def _arm(result: Result, baseline: Result | None, names: Sequence[str]) -> Arm:
    against = None if baseline is result else baseline
    lines = difference(dict(against.identity), dict(result.identity)) if against else []
    tables = [item_table(run) if run else {} for run in (result, against)]
    return Arm(
        result=result,
        is_baseline=result is baseline,
        changed=tuple(line for line in lines if not line.startswith("name:")),
        confounds=confounds(result),
        cells={name: _cell(name, result, against, tables) for name in names},
        no_op=against is not None and no_op(result, against),
    )


def _cell(name: str, result: Result, against: Result | None, tables: Sequence[ItemScores]) -> Cell:
    measures = [measures_of(run).get(name) if run else None for run in (result, against)]
    measure, comparable = measures[0], all(_score(m) is not None for m in measures)
    of_arm, of_baseline = (table.get(name, {}) for table in tables)
    change = paired_difference(of_arm, of_baseline, margin=_margin(measure)) if comparable else None
    return Cell(measure, change, published(result, measure) if measure else None)


def _score(measure: Measure | None) -> float | None:
    return measure.value if measure else None


def _margin(measure: Measure | None) -> float | None:
    """The largest difference that counts as none in this measure; None where its range is unknown."""
    return equivalence_margin(measure.worst, measure.best) if measure else None


def _over_seeds(comparisons: Sequence[Comparison]) -> SeedsComparison | None:
    """The comparison over the seeds of one scale; None without a baseline and an arm that share two."""
    names = tuple(dict.fromkeys(name for c in comparisons for name in c.measures))
    runs: dict[str, dict[int, Result]] = {}
    for arm, seed in ((arm, c.seed) for c in comparisons for arm in c.arms):
        runs.setdefault(arm.name, {})[seed] = arm.result
    baselines = {c.arms[0].name for c in comparisons if c.arms[0].is_baseline}
    if len(baselines) != 1 or len(runs[base := baselines.pop()]) < 2:
        return None
    shared = {name: by_seed for name, by_seed in runs.items() if len(by_seed.keys() & runs[base].keys()) > 1}
    mixed = {name: lines for name, by_seed in shared.items() if (lines := _seed_differences(by_seed.values()))}
    left_out = tuple(
        f"{name}: left out of the comparison over seeds, whose runs differ in their configuration ({lines})"
        for name, lines in mixed.items()
    )
    kept = {name: by_seed for name, by_seed in shared.items() if name not in mixed}
    if len(shared) < 2:
        return None
    order = [base, *(name for name in kept if name != base)] if base in kept and len(kept) > 1 else []
    arms = _corrected([_seeds_arm(name, kept[name], name == base, kept[base], names) for name in order], names)
    return SeedsComparison(
        scale=comparisons[0].scale, seeds=tuple(sorted(runs[base])), measures=names, arms=arms, left_out=left_out
    )


def _seed_differences(results: Iterable[Result]) -> str:
    """What differs, beside the seed, between runs that should differ by their seed alone; empty if nothing does."""
    first, *others = ({key: value for key, value in r.identity.items() if key != "seed"} for r in results)
    return "; ".join(dict.fromkeys(line for other in others for line in difference(first, other)[:3]))


def _seeds_arm(
    name: str, runs: Mapping[int, Result], is_baseline: bool, baseline: Mapping[int, Result], names: Sequence[str]
) -> SeedsArm:
    against = {} if is_baseline else baseline
    return SeedsArm(name, is_baseline, {measure: _seeds_cell(measure, runs, against) for measure in names})


def _seeds_cell(name: str, runs: Mapping[int, Result], against: Mapping[int, Result]) -> SeedsCell:
    """Seeds at which the score of either side is withheld are not compared."""
    scored = [
        {s: m for s, r in side.items() if (m := measures_of(r).get(name)) and m.value is not None}
        for side in (runs, against)
    ]
    values = tuple(measure.value or 0.0 for measure in scored[0].values())
    both = sorted(scored[0].keys() & scored[1].keys())
    if not both:
        return SeedsCell(values, None)
    tables = [{seed: item_table(side[seed]).get(name, {}) for seed in both} for side in (runs, against)]
    return SeedsCell(values, difference_over_seeds(tables[0], tables[1], margin=_margin(scored[0][both[0]])))


def no_op(result: Result, baseline: Result) -> bool:
    """True if an arm that should change the training rows trained on the tokens of the baseline."""
    changed_later = any(result.identity.get(part) != baseline.identity.get(part) for part in AFTER_RENDERING)
    return not changed_later and training_data(result) == training_data(baseline)


def training_data(result: Result) -> str | None:
    """sha256 of the rows a run trained on."""
    folder = result.folder_of(training.match) or result.folder_of(training.render)
    return hashlib.sha256((folder / "rows.jsonl").read_bytes()).hexdigest() if folder else None
