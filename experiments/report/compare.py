"""Comparisons as records: arms beside their baseline at one scale and seed, and over the seeds of a scale."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TypeVar

from evals.benchmark import Measure, OfficialScore
from evals.statistics.multiplicity import correct_family, explore
from evals.statistics.paired import Difference
from evals.statistics.seeds import SeedsDifference
from experiments.contracts.calibration import Control, calibration
from experiments.contracts.check import ContractReport, changed_between, report_of
from experiments.contracts.conditions import Conditions, over_seeds
from experiments.contracts.confounds import flags, seconds_from_training
from experiments.report.arms import ArmNames, arm_names, baseline_name, baseline_of, by_crossing
from experiments.report.measures import ScoredRun, degenerate, degenerate_models, fooled_judges, partial_measures
from experiments.report.published import Published, published, source
from experiments.report.statistics import Statistics
from experiments.store.fingerprint import difference
from experiments.store.runs import Result
from reer.errors import InputError


@dataclass(frozen=True)
class Cell:
    """One measure of one arm and its paired difference from the baseline: None for the baseline itself, and where
    either side's score is withheld. `published` is the paper's value where it has one for this very arm. `digest` is
    the sha256 of the file of item scores that the cell comes from, empty where the measure was not taken. `official` is
    the number of the benchmark's own scripts, where it has such."""

    measure: Measure | None
    difference: Difference | None
    published: Published | None = None
    digest: str = ""
    official: OfficialScore | None = None

    @property
    def value(self) -> float | None:
        """The score; None where it is withheld or was not taken."""
        return self.measure.value if self.measure else None

    @property
    def coverage(self) -> float | None:
        """The share of items that have a score."""
        return self.measure.coverage if self.measure else None


@dataclass(frozen=True, kw_only=True)
class Arm(Conditions):
    """One row of the comparison: a run, its conditions and its scores."""

    result: Result
    cells: Mapping[str, Cell]

    @property
    def name(self) -> str:
        return self.result.name


@dataclass(frozen=True, kw_only=True)
class SeedsCell:
    """One measure of one arm at each seed that has a headline, and the difference over the seeds it shares with the
    baseline. `measure` is the one of the first seed, for its range. `digests` are the sha256 of the files of item
    scores, of all seeds; `scored` of `total` items have a score, counted over all seeds, also those whose headline is
    withheld. `official` is the number of the benchmark's own scripts over the items of all seeds."""

    values: tuple[float, ...]
    difference: SeedsDifference | None
    measure: Measure | None = None
    published: Published | None = None
    official: OfficialScore | None = None
    digests: tuple[str, ...] = ()
    scored: int = 0
    total: int = 0

    @property
    def value(self) -> float | None:
        """The mean over seeds."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def coverage(self) -> float | None:
        """The share of the items of all seeds that have a score."""
        return self.scored / self.total if self.total else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation between seeds."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True, kw_only=True)
class SeedsArm(Conditions):
    """One row of the comparison over seeds: an arm with its conditions and scores over the `seeds` that it shares with
    the baseline."""

    name: str
    seeds: tuple[int, ...]
    cells: Mapping[str, SeedsCell]


@dataclass(frozen=True, kw_only=True)
class SeedsComparison:
    """Arms of one scale that were run with several seeds, like their baseline, which comes first. `left_out` names the
    other arms, with the reason: one seed, or seeds that are not repetitions of one configuration."""

    scale: str
    seeds: tuple[int, ...]
    measures: tuple[str, ...]
    arms: tuple[SeedsArm, ...]
    left_out: tuple[str, ...]
    cautions: tuple[str, ...] = ()
    baseline_note: str = ""

    def family(self, measure: str) -> int:
        """The number of tests whose p-values are corrected together with those of this measure."""
        return _family(self.arms, measure)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Arms of one scale and seed, the baseline first and the others as they were given. The comparison of the last seed
    also holds that over seeds; `is_repetition` says that this one is a seed of it. `baseline_note` says how the
    baseline was found where no run has its name, or what to do where there is none. `crossing` names the judge,
    benchmarks or source of these arms where other arms of the scale have others. `shared_overrides` stand in
    the name of every arm and in no label."""

    scale: str
    seed: int
    measures: tuple[str, ...]
    arms: tuple[Arm, ...]
    cautions: tuple[str, ...]
    over_seeds: SeedsComparison | None = None
    is_repetition: bool = False
    baseline_note: str = ""
    crossing: str = ""
    shared_overrides: tuple[str, ...] = ()

    @property
    def setting(self) -> str:
        """The scale, with the crossing where there are several."""
        return f"{self.scale}, {self.crossing}" if self.crossing else self.scale

    @property
    def baseline(self) -> Arm | None:
        """The arm that the others are compared with."""
        return self.arms[0] if self.arms[0].is_baseline else None

    def family(self, measure: str) -> int:
        """The number of tests whose p-values are corrected together with those of this measure."""
        return _family(self.arms, measure)

    def reported_confounds(self) -> list[str]:
        """The confounds that any arm reports."""
        labels = dict.fromkeys(label for arm in self.arms for label in arm.confounds)
        return [label for label in labels if any(arm.confounds.get(label) is not None for arm in self.arms)]


AnyArm = TypeVar("AnyArm", Arm, SeedsArm)
Key = TypeVar("Key")


def _family(arms: Sequence[Arm] | Sequence[SeedsArm], measure: str) -> int:
    """The number of tests of all arms, on all headline measures or on all exploratory ones."""
    own = [d.exploratory for arm in arms if (d := arm.cells[measure].difference)]
    differences = (cell.difference for arm in arms for cell in arm.cells.values())
    return sum(d is not None and d.p is not None and [d.exploratory] == own[:1] for d in differences)


def compare(results: Sequence[Result], baseline: str | None = None) -> list[Comparison]:
    """One comparison for each scale, crossing (judge, benchmarks, source) and seed among the results, whose arms keep
    their order after the baseline. That is the arm called `baseline`, whatever its crossing; without it, the arm of the
    same crossing that is configured like the baseline of the results. Raises InputError without any result."""
    if not results:
        raise InputError("nothing to compare: no run has a current result here; start one with `reer run`")
    folder = results[0].folder
    statistics = Statistics(folder.parents[2] / "statistics.json" if folder else None)
    scales: dict[str, list[Result]] = {}
    for result in results:
        scales.setdefault(result.scale, []).append(result)
    comparisons = [
        replace(comparison, crossing=crossing)
        for of_scale in scales.values()
        for crossing, group in ([("", of_scale)] if baseline else by_crossing(of_scale))
        for comparison in _at_one_scale(group, baseline, statistics)
    ]
    statistics.save()
    return comparisons


def _at_one_scale(results: Sequence[Result], wanted: str | None, statistics: Statistics) -> list[Comparison]:
    """The comparison of each seed; the last one holds that over seeds."""
    names = arm_names(results, [wanted or baseline_name(results)])
    runs = {seed: _arms_of(results, seed, names) for seed in sorted({result.seed for result in results})}
    of_scale = [_comparison(of_seed, names, wanted, statistics) for of_seed in runs.values()]
    together = _over_seeds(of_scale, runs, names, statistics)
    if together is not None and together.arms:
        of_scale = [replace(comparison, is_repetition=True) for comparison in of_scale]
        notes = [f"Seed {c.seed}: {c.baseline_note}" for c in of_scale if c.baseline is None and c.baseline_note]
        notes += dict.fromkeys(c.baseline_note for c in of_scale if c.baseline and c.baseline_note)
        cautions = _cautions(together.arms, of_scale)
        together = replace(together, cautions=cautions, baseline_note="; ".join(notes))
    several = len(of_scale) > 1
    limits = [_cautions(c.arms, [c], f"Seed {c.seed}: " if several else "") for c in of_scale]
    of_scale = [replace(c, cautions=cautions) for c, cautions in zip(of_scale, limits, strict=True)]
    return [*of_scale[:-1], replace(of_scale[-1], over_seeds=together)]


def _cautions(
    arms: Sequence[Arm] | Sequence[SeedsArm], seeds: Sequence[Comparison], where: str = ""
) -> tuple[str, ...]:
    """What limits the meaning of arms at all these seeds: their controls, judges and models first."""
    baselines = {c.seed: c.baseline for c in seeds if c.baseline}
    others = [arm.result for c in seeds for arm in c.arms if c.baseline and not arm.is_baseline]
    measured = fooled_judges([arm.result for c in seeds for arm in c.arms])
    for arm in list(baselines.values())[:1]:
        measured += degenerate_models(arm.label, {seed: of.result for seed, of in baselines.items()}, others)
    lines = [*calibration(_controls(arms)), *(f"{where}{line}" for line in measured)]
    return tuple(dict.fromkeys([*lines, *(line for c in seeds for line in c.cautions)]))


def _is_tested(difference: Difference) -> bool:
    return difference.finding not in (None, "exploratory")


def _controls(arms: Sequence[Arm] | Sequence[SeedsArm]) -> list[Control]:
    """The arms whose contract states what to expect of them, with their headline measures that were tested."""
    controls: list[Control] = []
    for arm in arms:
        if arm.contract.expects is None:
            continue
        tested = {
            name: (measure, difference)
            for name, cell in arm.cells.items()
            if (measure := cell.measure) and (difference := cell.difference) and _is_tested(difference)
        }
        controls.append(Control(name=arm.label, expects=arm.contract.expects, tested=tested))
    return controls


def _arms_of(results: Sequence[Result], seed: int, names: ArmNames) -> list[ScoredRun]:
    """One run for each arm at a seed, in the order of the results: that of the arm's own name, where there is one."""
    arms: dict[str, Result] = {}
    for result in results:
        if result.seed == seed:
            arm = names.of_run[result.name]
            arms[arm] = result if result.name == arm else arms.get(arm, result)
    return [ScoredRun.read(result) for result in arms.values()]


def _comparison(runs: Sequence[ScoredRun], names: ArmNames, wanted: str | None, statistics: Statistics) -> Comparison:
    first, results = runs[0].result, [run.result for run in runs]
    found = baseline_of(results, names, wanted, statistics)
    ordered = sorted(runs, key=lambda run: run.result is not found)
    baseline = ordered[0] if found else None
    measures = tuple(dict.fromkeys(name for run in ordered for name in run.measures))
    arms = _corrected([_arm(run, baseline, names, measures, statistics) for run in ordered], partial_measures(runs))
    cautions = [run.result.caution for run in ordered]
    cautions += [source() for arm in arms for cell in arm.cells.values() if cell.published]
    return Comparison(
        scale=first.scale,
        seed=first.seed,
        measures=measures,
        arms=arms,
        cautions=tuple(dict.fromkeys(filter(None, cautions))),
        baseline_note=_baseline_note(results, found, wanted, names),
        shared_overrides=names.shared,
    )


def _baseline_note(results: Sequence[Result], found: Result | None, wanted: str | None, names: ArmNames) -> str:
    """How the baseline was found where no run has its name, and what to do where there is none."""
    first, name = results[0], wanted or baseline_name(results)
    if found is not None:
        like = f"{names.label(found.name)}, which is configured like {first.baseline} in all that these arms change"
        return "" if names.of_run[found.name] == names.of_run.get(name, name) else f"baseline: {like}"
    if wanted is not None:
        return f"no baseline: {wanted} has no current result at scale {first.scale}, seed {first.seed}"
    return (
        f"no baseline: none of these runs is configured like {name}; name one with --baseline NAME, or run it "
        "with the same judge, benchmarks and source: "
        f"reer run experiment={first.baseline} scale={first.scale} seed={first.seed}"
    )


def _corrected(arms: Sequence[AnyArm], parts: Set[str]) -> tuple[AnyArm, ...]:
    """The arms with their p-values corrected for all arms and measures. Measures that are only parts of another one are
    exploratory: a family of their own, and estimated together for each arm and benchmark."""
    rows: list[dict[str, Cell | SeedsCell]] = [dict(arm.cells) for arm in arms]
    for row in rows:
        for benchmark in dict.fromkeys(name.partition("/")[0] for name in row):
            own = {name: row[name] for name in row if name in parts and name.partition("/")[0] == benchmark}
            row |= _with_differences(own, explore)
    for exploratory in (False, True):
        tests = {(n, name): row[name] for n, row in enumerate(rows) for name in row if (name in parts) is exploratory}
        for (n, name), cell in _with_differences(tests, correct_family).items():
            rows[n][name] = cell
    return tuple(replace(arm, cells=row) for arm, row in zip(arms, rows, strict=True))


def _with_differences(
    cells: Mapping[Key, Cell | SeedsCell], change: Callable[[Sequence[Difference]], Sequence[Difference]]
) -> dict[Key, Cell | SeedsCell]:
    """The cells that have a difference, with what is computed from all of them."""
    compared = {key: d for key, cell in cells.items() if (d := cell.difference) is not None}
    changed = zip(compared, change(list(compared.values())), strict=True)
    return {key: replace(cells[key], difference=d) for key, d in changed}


def _arm(
    run: ScoredRun,
    baseline: ScoredRun | None,
    names: ArmNames,
    measures: Sequence[str],
    statistics: Statistics,
) -> Arm:
    against, result = None if baseline is run else baseline, run.result
    changed = changed_between(against.result.identity, result.identity) if against else ()
    return Arm(
        result=result,
        label=names.label(result.name),
        is_baseline=run is baseline,
        changed=changed,
        confounds=run.confounds,
        cells={name: _cell(name, run, against, statistics) for name in measures},
        contract=report_of(result, against.result, changed) if against else ContractReport(),
        flags=flags(result, against.result, changed) if against else (),
        degenerate=() if run is baseline else degenerate(result, against.result if against else None),
        control_seconds=seconds_from_training(against.result) if against else None,
        aliases=names.aliases(result.name),
    )


def _cell(name: str, run: ScoredRun, against: ScoredRun | None, statistics: Statistics) -> Cell:
    measure, change = run.measures.get(name), None
    if measure and against and run.score(name) is not None and against.score(name) is not None:
        change = statistics.paired(run.column(name), against.column(name), measure)
    if measure is None:
        return Cell(None, None)
    return Cell(measure, change, published(run.result, measure), run.digests[name], run.official.get(name))


def _over_seeds(
    comparisons: Sequence[Comparison],
    scored: Mapping[int, Sequence[ScoredRun]],
    names: ArmNames,
    statistics: Statistics,
) -> SeedsComparison | None:
    """The comparison over the seeds of one scale; None without a baseline and an arm that share two."""
    measures = tuple(dict.fromkeys(name for c in comparisons for name in c.measures))
    runs: dict[str, dict[int, ScoredRun]] = {}
    for seed, of_seed in scored.items():
        for run in of_seed:
            runs.setdefault(names.of_run[run.result.name], {})[seed] = run
    baselines = {names.of_run[c.baseline.name] for c in comparisons if c.baseline}
    if len(baselines) != 1 or len(runs[base := baselines.pop()]) < 2:
        return None
    shared = {name: by_seed for name, by_seed in runs.items() if len(by_seed.keys() & runs[base].keys()) > 1}
    mixed = {name: lines for name, by_seed in shared.items() if (lines := _seed_differences(by_seed.values()))}
    kept = {name: by_seed for name, by_seed in shared.items() if name not in mixed}
    if len(shared) < 2:
        return None
    order = [base, *(name for name in kept if name != base)] if base in kept and len(kept) > 1 else []
    beside = {name: {seed: run for seed, run in kept[name].items() if seed in kept[base]} for name in order}
    left_out = {
        names.label(name): f"whose runs differ in their configuration ({lines})" for name, lines in mixed.items()
    }
    few = f"fewer than two seeds shared with {names.label(base)}"
    left_out |= {names.label(name): few for name in runs if name not in shared}
    lacking = {names.label(name): of_arm for name, of_arm in beside.items() if of_arm.keys() != kept[base].keys()}
    notes = [f"{label}: left out of the comparison over seeds, {why}" for label, why in left_out.items()]
    notes += [
        f"{label}: seeds {', '.join(map(str, own))} alone, with the baseline at these" for label, own in lacking.items()
    ]
    arms = [
        SeedsArm(
            name=name,
            seeds=tuple(beside[name]),
            cells={m: _seeds_cell(m, beside[name], {} if name == base else kept[base], statistics) for m in measures},
            **vars(replace(_conditions(comparisons, name, beside[name].keys(), names), is_baseline=name == base)),
        )
        for name in order
    ]
    return SeedsComparison(
        scale=comparisons[0].scale,
        seeds=tuple(sorted(runs[base])),
        measures=measures,
        arms=_corrected(arms, partial_measures([run for name in order for run in kept[name].values()])),
        left_out=tuple(notes),
    )


def _conditions(comparisons: Sequence[Comparison], name: str, seeds: Set[int], names: ArmNames) -> Conditions:
    """The conditions of an arm over these seeds; those that have the baseline, where there are any."""
    found = [(c, arm) for c in comparisons for arm in c.arms if c.seed in seeds and names.of_run[arm.name] == name]
    beside = {c.seed: arm for c, arm in found if c.baseline}
    return over_seeds(beside or {c.seed: arm for c, arm in found})


def _seed_differences(runs: Iterable[ScoredRun]) -> str:
    """What differs, beside name and seed, between runs that should differ by these alone; empty if nothing does."""
    first, *others = ({k: value for k, value in r.result.identity.items() if k not in ("name", "seed")} for r in runs)
    return "; ".join(dict.fromkeys(line for other in others for line in difference(first, other)[:3]))


def _seeds_cell(
    name: str, runs: Mapping[int, ScoredRun], against: Mapping[int, ScoredRun], statistics: Statistics
) -> SeedsCell:
    """Seeds at which the score of either side is withheld are not compared; the baseline itself is beside none."""
    scores = {seed: score for seed, run in runs.items() if (score := run.score(name)) is not None}
    both = sorted(seed for seed, run in against.items() if seed in scores and run.score(name) is not None)
    taken = [run.measures[name] for run in runs.values() if name in run.measures]
    official = [score for run in runs.values() if (score := run.official.get(name))]
    cell = SeedsCell(
        values=tuple(scores.values()),
        difference=None,
        measure=taken[0] if taken else None,
        published=published(next(iter(runs.values())).result, taken[0]) if taken else None,
        official=OfficialScore.over(official),
        digests=tuple(digest for run in runs.values() if (digest := run.digests.get(name))),
        scored=sum(measure.scored for measure in taken),
        total=sum(measure.total for measure in taken),
    )
    if not both:
        return cell
    columns = [{seed: side[seed].column(name) for seed in both} for side in (runs, against)]
    return replace(cell, difference=statistics.over_seeds(columns[0], columns[1], runs[both[0]].measures[name]))
