"""The comparisons of one scale as one study: its arms, the runs of each arm by seed, and the effects over the seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evals.benchmark import Measure
from evals.statistics.paired import Difference
from experiments.config.choices import conf_folders
from experiments.contracts.conditions import Conditions
from experiments.report.claims.evidence import Evidence
from experiments.report.claims.expressions import read_claims
from experiments.report.claims.verdicts import ClaimVerdict, judge_claims
from experiments.report.compare import Arm, Cell, Comparison, SeedsCell, SeedsComparison
from experiments.store.metrics import StageMetrics
from experiments.store.runs import Result
from experiments.store.step import StageKey

HEADLINES = 8  # measures that get a plot; the table shows all


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One measure of one arm, over its seeds where the seeds were compared, else at its first seed. `published` is the
    paper's difference of this arm from the paper's baseline, in the unit of the measure."""

    arm: str
    measure: str
    seeds: tuple[int, ...]
    cell: Cell | SeedsCell
    published: float | None

    @property
    def score(self) -> float | None:
        return self.cell.value

    @property
    def difference(self) -> Difference | None:
        return self.cell.difference


@dataclass(frozen=True)
class Shared:
    """One stage result, the arms that have it, and a run that does."""

    arms: tuple[str, ...]
    result: Result

    @property
    def label(self) -> str:
        """`full`, `full and 1 other arm`."""
        others = len(self.arms) - 1
        return self.arms[0] + (f" and {others} other arm{'s' if others > 1 else ''}" if others else "")


@dataclass(frozen=True)
class Study:
    """All comparisons of one scale and crossing, in the order of their seeds."""

    comparisons: tuple[Comparison, ...]

    @property
    def scale(self) -> str:
        return self.comparisons[0].setting

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(comparison.seed for comparison in self.comparisons)

    @property
    def over_seeds(self) -> SeedsComparison | None:
        """The comparison over the seeds; None where there is none, or where no arm is left in it."""
        found = self.comparisons[-1].over_seeds
        return found if found and found.arms else None

    @property
    def arms(self) -> tuple[str, ...]:
        """The labels of all arms, the baseline first."""
        return tuple(dict.fromkeys(arm.label for comparison in self.comparisons for arm in comparison.arms))

    @property
    def baseline(self) -> str | None:
        labels = (arm.label for comparison in self.comparisons for arm in comparison.arms if arm.is_baseline)
        return next(labels, None)

    @property
    def measures(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for comparison in self.comparisons for name in comparison.measures))

    @property
    def headlines(self) -> tuple[str, ...]:
        """The measures that are plotted: those with a published value first, at most `HEADLINES`."""
        published = {e.measure for name in self.measures for e in self.effects(name) if e.published is not None}
        return tuple(sorted(self.measures, key=lambda name: name not in published)[:HEADLINES])

    @property
    def cautions(self) -> tuple[str, ...]:
        """What limits the meaning of the comparisons."""
        if self.over_seeds:
            return self.over_seeds.cautions
        return tuple(dict.fromkeys(line for comparison in self.comparisons for line in comparison.cautions))

    def runs(self) -> Iterator[tuple[int, Arm]]:
        """Every run as its seed and its arm, the arms in order."""
        for name in self.arms:
            for comparison in self.comparisons:
                yield from ((comparison.seed, arm) for arm in comparison.arms if arm.label == name)

    def first(self, name: str) -> Arm:
        """An arm at the first seed that has it."""
        return next(arm for _, arm in self.runs() if arm.label == name)

    def conditions(self, name: str) -> Conditions:
        """The conditions of an arm over its seeds where these were compared, else at its first seed."""
        over = self.over_seeds.arms if self.over_seeds else ()
        return next((arm for arm in over if arm.label == name), self.first(name))

    def effects(self, measure: str) -> list[Effect]:
        """One effect of each arm, the baseline first."""
        return [self._effect(name, measure) for name in self.arms]

    def _effect(self, name: str, measure: str) -> Effect:
        runs = [(seed, arm) for seed, arm in self.runs() if arm.label == name]
        seed, arm = runs[0]
        over = self._over_seeds(name, measure)
        cell = over or arm.cells.get(measure, Cell(None, None))
        seeds = tuple(seed for seed, _ in runs) if over else (seed,)
        return Effect(arm=name, measure=measure, seeds=seeds, cell=cell, published=self._published(name, cell, measure))

    def _over_seeds(self, name: str, measure: str) -> SeedsCell | None:
        arms = self.over_seeds.arms if self.over_seeds else ()
        return next((arm.cells[measure] for arm in arms if arm.label == name and measure in arm.cells), None)

    def _published(self, name: str, cell: Cell | SeedsCell, measure: str) -> float | None:
        of_baseline = self.first(self.baseline).cells.get(measure) if self.baseline else None
        if cell.published is None or of_baseline is None or of_baseline.published is None or name == self.baseline:
            return None
        return cell.published.value - of_baseline.published.value

    def distinct(self, stage: StageKey[StageMetrics], label: str = "") -> list[Shared]:
        """Every result of a stage once, with the arms that have it, in the order of the arms."""
        arms: dict[str, dict[str, Result]] = {}
        for _, arm in self.runs():
            step = arm.result.steps.get(stage.named(label))
            if step is not None:
                arms.setdefault(step.fingerprint, {}).setdefault(arm.label, arm.result)
        return [Shared(tuple(by_arm), next(iter(by_arm.values()))) for by_arm in arms.values()]

    def labels_of(self, stage: StageKey[StageMetrics]) -> tuple[str, ...]:
        """The labels of a stage in any run."""
        return tuple(dict.fromkeys(label for _, arm in self.runs() for label in arm.result.labels_of(stage)))


def studies(comparisons: Sequence[Comparison]) -> list[Study]:
    """One study for each scale and crossing."""
    scales: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        scales.setdefault(comparison.setting, []).append(comparison)
    return [Study(tuple(of_scale)) for of_scale in scales.values()]


def claims_of(study: Study) -> tuple[ClaimVerdict, ...]:
    """The verdicts on the claims; none where nothing was compared."""
    if study.baseline is None or len(study.arms) < 2:
        return ()
    return judge_claims(read_claims(conf_folders()), Evidence(study.comparisons))


def is_better(measure: Measure | None, change: float) -> bool | None:
    """Whether a change of a measure is an improvement; None for no change, and where the range is unknown."""
    if measure is None or measure.worst is None or measure.best is None or change == 0:
        return None
    return (change > 0) == (measure.best > measure.worst)
