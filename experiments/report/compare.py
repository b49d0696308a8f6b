"""Comparisons as records: arms beside their baseline at one scale and seed, and over the seeds of a scale."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from evals.benchmark import Measure
from evals.statistics.equivalence import equivalence_margin
from evals.statistics.multiplicity import correct_family
from evals.statistics.paired import Difference
from evals.statistics.seeds import SeedsDifference
from experiments.report.measures import ScoredRun, confounds
from experiments.report.published import Published, published, source
from experiments.report.statistics import Statistics
from experiments.stages import training
from experiments.store.fingerprint import difference
from experiments.store.records import digest_of
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
    folder = results[0].folder
    statistics = Statistics(folder.parents[2] / "statistics.json" if folder else None)
    scales: dict[str, dict[int, list[ScoredRun]]] = {}
    for result in results:
        scales.setdefault(result.scale, {}).setdefault(result.seed, []).append(ScoredRun.read(result))
    comparisons: list[Comparison] = []
    for seeds in scales.values():
        of_scale = [_comparison(runs, statistics) for runs in seeds.values()]
        over_seeds = _over_seeds(of_scale, [run for runs in seeds.values() for run in runs], statistics)
        comparisons += [*of_scale[:-1], replace(of_scale[-1], over_seeds=over_seeds)]
    statistics.save()
    return comparisons


def _comparison(runs: Sequence[ScoredRun], statistics: Statistics) -> Comparison:
    common = set.intersection(*(set(run.result.name.split("+")[1:]) for run in runs))  # overrides that all arms share
    first = runs[0].result
    baseline = next((r for r in runs if r.result.name == "+".join([r.result.baseline, *sorted(common)])), None)
    ordered = sorted(runs, key=lambda run: (run is not baseline,))
    names = tuple(dict.fromkeys(name for run in ordered for name in run.measures))
    arms = _corrected([_arm(run, baseline, names, statistics) for run in ordered], names, statistics)
    cautions = [run.result.caution for run in ordered if run.result.caution]
    cautions += [source() for arm in arms for cell in arm.cells.values() if cell.published]
    unique = tuple(dict.fromkeys(cautions))
    return Comparison(scale=first.scale, seed=first.seed, measures=names, arms=arms, cautions=unique)


def _corrected(arms: Sequence[AnyArm], names: Sequence[str], statistics: Statistics) -> tuple[AnyArm, ...]:
    """The arms with the p-values of each measure corrected for the number of arms."""
    rows = [dict(arm.cells) for arm in arms]
    for name in names:
        family = [(row, d) for row in rows if (d := row[name].difference) is not None]
        for (row, _), d in zip(family, correct_family([d for _, d in family]), strict=True):
            row[name] = replace(row[name], difference=d)
    return tuple(replace(arm, cells=row) for arm, row in zip(arms, rows, strict=True))


def _arm(run: ScoredRun, baseline: ScoredRun | None, names: Sequence[str], statistics: Statistics) -> Arm:
    against, result = None if baseline is run else baseline, run.result
    lines = difference(dict(against.result.identity), dict(result.identity)) if against else []
    return Arm(
        result=result,
        is_baseline=run is baseline,
        changed=tuple(line for line in lines if not line.startswith("name:")),
        confounds=confounds(result),
        cells={name: _cell(name, run, against, statistics) for name in names},
        no_op=against is not None and no_op(result, against.result),
    )


def _cell(name: str, run: ScoredRun, against: ScoredRun | None, statistics: Statistics) -> Cell:
    measure, change = run.measures.get(name), None
    if measure and against and run.score(name) is not None and against.score(name) is not None:
        change = statistics.paired(
            run.column(name), against.column(name), equivalence_margin(measure.worst, measure.best)
        )
    return Cell(measure, change, published(run.result, measure) if measure else None)


def _over_seeds(
    comparisons: Sequence[Comparison], scored: Sequence[ScoredRun], statistics: Statistics
) -> SeedsComparison | None:
    """The comparison over the seeds of one scale; None without a baseline and an arm that share two."""
    names = tuple(dict.fromkeys(name for c in comparisons for name in c.measures))
    runs: dict[str, dict[int, ScoredRun]] = {}
    for run in scored:
        runs.setdefault(run.result.name, {})[run.result.seed] = run
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
    arms = [_seeds_arm(name, kept[name], {} if name == base else kept[base], names, statistics) for name in order]
    return SeedsComparison(
        scale=comparisons[0].scale,
        seeds=tuple(sorted(runs[base])),
        measures=names,
        arms=_corrected(arms, names, statistics),
        left_out=left_out,
    )


def _seed_differences(runs: Iterable[ScoredRun]) -> str:
    """What differs, beside the seed, between runs that should differ by their seed alone; empty if nothing does."""
    first, *others = ({key: value for key, value in r.result.identity.items() if key != "seed"} for r in runs)
    return "; ".join(dict.fromkeys(line for other in others for line in difference(first, other)[:3]))


def _seeds_arm(
    name: str,
    runs: Mapping[int, ScoredRun],
    baseline: Mapping[int, ScoredRun],
    names: Sequence[str],
    statistics: Statistics,
) -> SeedsArm:
    """One arm; `baseline` is empty for the baseline itself."""
    cells = {measure: _seeds_cell(measure, runs, baseline, statistics) for measure in names}
    return SeedsArm(name, not baseline, cells)


def _seeds_cell(
    name: str, runs: Mapping[int, ScoredRun], against: Mapping[int, ScoredRun], statistics: Statistics
) -> SeedsCell:
    """Seeds at which the score of either side is withheld are not compared."""
    scores = {seed: score for seed, run in runs.items() if (score := run.score(name)) is not None}
    both = sorted(seed for seed, run in against.items() if seed in scores and run.score(name) is not None)
    if not both:
        return SeedsCell(tuple(scores.values()), None)
    columns = [{seed: side[seed].column(name) for seed in both} for side in (runs, against)]
    measure = runs[both[0]].measures[name]
    margin = equivalence_margin(measure.worst, measure.best)
    return SeedsCell(tuple(scores.values()), statistics.over_seeds(columns[0], columns[1], margin))


def no_op(result: Result, baseline: Result) -> bool:
    """True if an arm that should change the training rows trained on the tokens of the baseline."""
    changed_later = any(result.identity.get(part) != baseline.identity.get(part) for part in AFTER_RENDERING)
    return not changed_later and training_data(result) == training_data(baseline)


def training_data(result: Result) -> str | None:
    """sha256 of the rows a run trained on."""
    folder = result.folder_of(training.match) or result.folder_of(training.render)
    return digest_of(folder / "rows.jsonl").sha256 if folder else None
