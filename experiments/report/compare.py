"""The records of a comparison: arms beside their baseline at one scale and seed, and over the seeds of a scale."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from evals.benchmark import ItemScores
from evals.statistics.equivalence import equivalence_margin
from evals.statistics.multiplicity import correct_family
from evals.statistics.paired import Difference, paired_difference
from evals.statistics.seeds import SeedsDifference, difference_over_seeds
from experiments.report.published import Published, published, source
from experiments.store.fingerprint import difference
from experiments.store.runs import Result, confounds
from reer.errors import InputError

AFTER_RENDERING = ("student", "train", "seed", "scale", "benchmark", "judge")
Measured = Mapping[str, Any]  # as evals.benchmark.Measure is written


@dataclass(frozen=True)
class Cell:
    """One measure of one arm and its paired difference from the baseline: None for the baseline itself, and where
    either side's score is withheld. `published` is the paper's value where it has one for this very arm."""

    measure: Measured | None
    difference: Difference | None
    published: Published | None = None


@dataclass(frozen=True)
class Arm:
    """One row of the comparison: what was changed, what came with it, what it scored."""

    result: Result
    is_baseline: bool
    changed: tuple[str, ...]
    confounds: Mapping[str, Any]
    cells: Mapping[str, Cell]
    idle: bool


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


@dataclass(frozen=True)
class SeedsComparison:
    """Arms of one scale that were run with several seeds, as their baseline was, which comes first. `left_out` says
    which are not here because their seeds are no repetitions of one configuration."""

    scale: str
    seeds: tuple[int, ...]
    measures: tuple[str, ...]
    arms: tuple[SeedsArm, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Arms of one scale and seed, the baseline first. The last seed's holds what there is to say over all seeds."""

    scale: str
    seed: int
    measures: tuple[str, ...]
    arms: tuple[Arm, ...]
    cautions: tuple[str, ...]
    over_seeds: SeedsComparison | None = None

    def counted(self) -> list[str]:
        """The confounds that any arm has counted."""
        labels = dict.fromkeys(label for arm in self.arms for label in arm.confounds)
        return [label for label in labels if any(arm.confounds.get(label) is not None for arm in self.arms)]


Row = TypeVar("Row", Arm, SeedsArm)


def compare(results: Sequence[Result]) -> list[Comparison]:
    """One comparison for each scale and seed among the results. Raises InputError without any result."""
    if not results:
        raise InputError("nothing to compare: no run has finished here; start one with `reer run`")
    scales: dict[str, dict[int, list[Result]]] = {}
    for result in results:
        scales.setdefault(result.scale, {}).setdefault(result.seed, []).append(result)
    found: list[Comparison] = []
    for scale, seeds in scales.items():
        of_scale = [_comparison(scale, seed, group) for seed, group in seeds.items()]
        found += [*of_scale[:-1], replace(of_scale[-1], over_seeds=_over_seeds(of_scale))]
    return found


def _comparison(scale: str, seed: int, results: Sequence[Result]) -> Comparison:
    common = set.intersection(*(set(r.name.split("+")[1:]) for r in results))  # what all arms are crossed with
    baseline = next((r for r in results if r.name == "+".join([r.baseline, *sorted(common)])), None)
    ordered = sorted(results, key=lambda r: (r is not baseline,))
    names = tuple(dict.fromkeys(name for r in ordered for name in r.measures()))
    arms = _corrected([_arm(r, baseline, names) for r in ordered], names)
    cautions = [r.caution for r in ordered if r.caution]
    cautions += [source() for arm in arms for cell in arm.cells.values() if cell.published]
    return Comparison(scale, seed, names, arms, tuple(dict.fromkeys(cautions)))


def _corrected(arms: Sequence[Row], names: Sequence[str]) -> tuple[Row, ...]:
    """The arms with each measure's p's corrected for how many arms it is read of."""
    rows: list[dict[str, Any]] = [dict(arm.cells) for arm in arms]
    for name in names:
        told = [(row, d) for row in rows if (d := row[name].difference) is not None]
        for (row, _), d in zip(told, correct_family([d for _, d in told]), strict=True):
            row[name] = replace(row[name], difference=d)
    return tuple(replace(arm, cells=row) for arm, row in zip(arms, rows, strict=True))


def _arm(result: Result, baseline: Result | None, names: Sequence[str]) -> Arm:
    is_baseline = result is baseline
    changed: list[str] = []
    if baseline is not None and not is_baseline:
        changed = [d for d in difference(dict(baseline.identity), dict(result.identity)) if not d.startswith("name:")]
    against = baseline if baseline is not None and not is_baseline else None
    tables = [item_table(run) if run else {} for run in (result, against)]
    cells = {name: _cell(name, result, against, tables) for name in names}
    return Arm(
        result, is_baseline, tuple(changed), confounds(result), cells, against is not None and idle(result, against)
    )


def _cell(name: str, result: Result, against: Result | None, tables: Sequence[ItemScores]) -> Cell:
    measures = [run.measures().get(name) if run else None for run in (result, against)]
    measure, shown = measures[0], all(_headline(m) is not None for m in measures)
    mine, theirs = (table.get(name, {}) for table in tables)
    change = paired_difference(mine, theirs, margin=_margin(measure)) if shown else None
    return Cell(measure, change, published(result, measure) if measure else None)


def _headline(measure: Measured | None) -> float | None:
    return measure["value"] if measure else None


def _margin(measure: Measured | None) -> float | None:
    """What counts as no difference in this measure; None where its record does not say its range."""
    return equivalence_margin(measure.get("worst"), measure.get("best")) if measure else None


def _over_seeds(found: Sequence[Comparison]) -> SeedsComparison | None:
    """The comparison over the seeds of one scale; None without a baseline and an arm that share two."""
    names = tuple(dict.fromkeys(name for c in found for name in c.measures))
    runs: dict[str, dict[int, Result]] = {}
    for arm, seed in ((arm, c.seed) for c in found for arm in c.arms):
        runs.setdefault(arm.result.name, {})[seed] = arm.result
    baselines = {c.arms[0].result.name for c in found if c.arms[0].is_baseline}
    if len(baselines) != 1 or len(runs[base := baselines.pop()]) < 2:
        return None
    shared = {name: by_seed for name, by_seed in runs.items() if len(by_seed.keys() & runs[base].keys()) > 1}
    mixed = {name: what for name, by_seed in shared.items() if (what := _not_one(by_seed.values()))}
    left_out = tuple(
        f"{name}: not compared over seeds, which are not of one configuration ({what})" for name, what in mixed.items()
    )
    kept = {name: by_seed for name, by_seed in shared.items() if name not in mixed}
    if len(shared) < 2:
        return None
    order = [base, *(name for name in kept if name != base)] if base in kept and len(kept) > 1 else []
    arms = _corrected([_seeds_arm(name, kept[name], name == base, kept[base], names) for name in order], names)
    return SeedsComparison(found[0].scale, tuple(sorted(runs[base])), names, arms, left_out)


def _not_one(results: Iterable[Result]) -> str:
    """What differs between runs that should differ by their seed alone; empty if nothing does."""
    first, *others = ({key: value for key, value in r.identity.items() if key != "seed"} for r in results)
    return "; ".join(dict.fromkeys(line for other in others for line in difference(first, other)[:3]))


def _seeds_arm(
    name: str, mine: Mapping[int, Result], is_baseline: bool, theirs: Mapping[int, Result], names: Sequence[str]
) -> SeedsArm:
    return SeedsArm(
        name, is_baseline, {measure: _seeds_cell(measure, mine, {} if is_baseline else theirs) for measure in names}
    )


def _seeds_cell(name: str, mine: Mapping[int, Result], theirs: Mapping[int, Result]) -> SeedsCell:
    """A seed at which either side's score is withheld is not among those compared."""
    shown = [
        {s: r for s, r in runs.items() if _headline(r.measures().get(name)) is not None} for runs in (mine, theirs)
    ]
    values = tuple(_headline(r.measures()[name]) or 0.0 for r in shown[0].values())
    both = sorted(shown[0].keys() & shown[1].keys())
    if not both:
        return SeedsCell(values, None)
    tables = [{seed: item_table(runs[seed]).get(name, {}) for seed in both} for runs in shown]
    margin = _margin(mine[both[0]].measures()[name])
    return SeedsCell(values, difference_over_seeds(tables[0], tables[1], margin=margin))


def idle(result: Result, baseline: Result) -> bool:
    """True if an arm that changes what is trained on ended up training on the baseline's very tokens."""
    later = any(result.identity.get(part) != baseline.identity.get(part) for part in AFTER_RENDERING)
    return not later and training_data(result) == training_data(baseline)


def training_data(result: Result) -> str | None:
    """sha256 of the rows a run trained on: an ablation that left them as they were did not bite."""
    folder = result.folder("match") or result.folder("render")
    return hashlib.sha256((folder / "rows.jsonl").read_bytes()).hexdigest() if folder else None


def item_table(result: Result) -> ItemScores:
    """measure name → item → score, over all benchmarks of a run."""
    table: ItemScores = {}
    for name, step in result.steps.items():
        if "measures" in step["metrics"]:
            scores = json.loads((Path(step["path"]) / "scores.json").read_text(encoding="utf-8"))
            prefix = step["metrics"]["measures"][0]["benchmark"] if step["metrics"]["measures"] else name
            table |= {f"{prefix}/{metric}": column for metric, column in scores.items()}
    return table
