"""What a sweep measured of the arms that claims name: scores by item, their differences, and the groups of items."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from evals.benchmark import Item, JudgedBenchmark, Measure
from evals.benchmarks.kinds import JUDGED_BENCHMARKS
from evals.statistics.heterogeneity import Heterogeneity, heterogeneity
from evals.statistics.paired import Difference, Scores
from experiments.contracts.check import contract_in
from experiments.metrics import evaluation, synthesis
from experiments.report.claims.expressions import BASELINE, SEARCH_SCORE, Spread
from experiments.report.claims.expressions import Comparison as Compared
from experiments.report.compare import Arm, Comparison
from experiments.report.measures import ScoredRun
from experiments.report.statistics import Statistics
from experiments.store.records import read_record
from experiments.store.runs import Result, read_plan
from reer.errors import InputError
from reer.parts import build, kinds_of
from reer.types import Refinement

log = logging.getLogger(__name__)
LENGTHS = (500, 2000, 4000)  # words: the bounds of the bins of LongBench-Write


@dataclass(frozen=True)
class ArmRuns:
    """An arm with its run at each seed."""

    arms: Mapping[int, Arm]
    runs: Mapping[int, ScoredRun]

    @property
    def first(self) -> Arm:
        return next(iter(self.arms.values()))

    def column(self, seed: int, measure: str) -> Scores:
        """item -> score. Seeds of training share the search, whose items are pairs."""
        run = self.runs[seed]
        if measure != SEARCH_SCORE:
            return run.column(measure) if run.score(measure) is not None else {}
        rows = run.result.rows(synthesis.REFINE, Refinement) if run.result.folder_of(synthesis.REFINE) else []
        return {row.pair_id: row.score for row in rows}


class Evidence:
    """The arms of one scale, by every name under which a claim may ask for them."""

    def __init__(self, comparisons: Sequence[Comparison]) -> None:
        self.comparisons = comparisons
        folder = comparisons[0].arms[0].result.folder
        self.statistics = Statistics(folder.parents[2] / "statistics.json" if folder else None)
        self._runs: dict[str, ArmRuns] = {}

    @property
    def measures(self) -> tuple[str, ...]:
        """Every measure that was taken."""
        return (*dict.fromkeys(name for c in self.comparisons for name in c.measures), SEARCH_SCORE)

    @cached_property
    def _names(self) -> dict[str, str]:
        """What claims call an arm -> its label. What an arm is follows from its choices, whatever it is called."""
        arms = [arm for comparison in self.comparisons for arm in comparison.arms]
        names = {name: arm.label for arm in arms for name in (*arm.aliases, arm.name)}
        for arm in arms:
            made = contract_in(arm.result).of
            if len(made) == 1:
                names.setdefault(made[0], arm.label)
            if arm.is_baseline:
                names[BASELINE] = arm.label
        return names

    def arm(self, name: str) -> ArmRuns | None:
        """The runs of an arm; None where it has no result."""
        if name not in self._names:
            return None
        if name not in self._runs:
            own = self._names[name]
            arms = {c.seed: arm for c in self.comparisons for arm in c.arms if arm.label == own}
            self._runs[name] = ArmRuns(arms, {seed: ScoredRun.read(arm.result) for seed, arm in arms.items()})
        return self._runs[name]

    def measure(self, name: str) -> Measure | None:
        """A measure as some arm took it, for its range."""
        cells = (arm.cells.get(name) for c in self.comparisons for arm in c.arms)
        return next((cell.measure for cell in cells if cell and cell.measure), None)

    def difference(self, asked: Compared) -> Difference | None:
        """Arm minus the other over the items of both, and over the seeds where they share two; None where either was
        not run or not scored."""
        columns = self._columns(asked.arm, asked.than, asked.measure)
        measure = self.measure(asked.measure)
        if len(columns) > 1 and asked.measure != SEARCH_SCORE:
            here, there = ({seed: pair[side] for seed, pair in columns.items()} for side in (0, 1))
            return self.statistics.over_seeds(here, there, measure)
        return next((self.statistics.paired(one, other, measure) for one, other in columns.values()), None)

    def seconds_per_item(self, asked: Compared) -> float | None:
        """What one item of a benchmark took both arms to answer and to grade; None for what is no benchmark."""
        label, total, runs = asked.measure.partition("/")[0], 0.0, (self.arm(asked.arm), self.arm(asked.than))
        for run in runs:
            result = run.first.result if run else None
            answers = result.metrics_of(evaluation.GENERATE, label) if result else None
            if result is None or answers is None:
                return None
            steps = (result.steps[stage.named(label)] for stage in (evaluation.GENERATE, evaluation.GRADE))
            total += sum(read_record(step.path).seconds for step in steps) / max(1, answers.rows)
        return total

    def heterogeneity(self, asked: Spread) -> Heterogeneity | None:
        """The difference by group of items, averaged over the seeds that both arms have. Between measures, each is
        taken as a share of its range."""
        differences: dict[str, float] = {}
        groups: dict[str, str] = {}
        for name in asked.measures:
            measure, columns = self.measure(name), self._columns(asked.arm, asked.than, name)
            if measure is None or measure.worst is None or measure.best is None or not columns:
                continue
            scale = abs(measure.best - measure.worst)
            for item, value in _item_means(list(columns.values())).items():
                differences[f"{name} {item}"] = value / scale
                group = name if asked.by == "measure" else self._group(measure.benchmark, item, asked.by)
                groups |= {f"{name} {item}": group} if group else {}
        return heterogeneity(differences, groups)

    def _columns(self, arm: str, than: str, measure: str) -> dict[int, tuple[Scores, Scores]]:
        """The scores of both arms at each seed at which both have some."""
        one, other = self.arm(arm), self.arm(than)
        if one is None or other is None:
            return {}
        shared = sorted(one.runs.keys() & other.runs.keys())
        pairs = {seed: (one.column(seed, measure), other.column(seed, measure)) for seed in shared}
        return {seed: pair for seed, pair in pairs.items() if all(pair)}

    def _group(self, benchmark: str, item_id: str, by: str) -> str | None:
        item = self._items.get(benchmark, {}).get(item_id)
        if item is None:
            return None
        return item.category if by == "category" else None if item.length is None else length_bin(item.length)

    @cached_property
    def _items(self) -> dict[str, dict[str, Item]]:
        result = self.comparisons[0].arms[0].result
        return {label: items_in(result, label)[0] for label in {name.partition("/")[0] for name in self.measures}}


def length_bin(words: int) -> str:
    """The bin of a requested length: `< 500 words`, `500 to 1999 words`, `>= 4000 words`."""
    if words < LENGTHS[0]:
        return f"< {LENGTHS[0]} words"
    below = next((bound for bound in LENGTHS if words < bound), None)
    lower = max(bound for bound in LENGTHS if bound <= words)
    return f">= {lower} words" if below is None else f"{lower} to {below - 1} words"


def items_in(result: Result, label: str) -> tuple[dict[str, Item], str]:
    """The items of a benchmark by id, from the frozen plan of a run; none, and the reason, where its files are not
    here."""
    if result.folder is None or not (result.folder / "plan.json").is_file():
        return {}, "the plan of these runs is not here"
    parts = cast("Mapping[str, Mapping[str, object]]", read_plan(result.folder / "plan.json").get("benchmark", {}))
    if label not in parts:
        return {}, f"the plan of these runs has no benchmark {label}"
    try:
        kinds = kinds_of(list(JUDGED_BENCHMARKS.values()))
        benchmark = build(parts[label], kinds, f"benchmark.{label}", JudgedBenchmark)
        return {item.id: item for item in benchmark.items()}, ""
    except InputError as error:
        log.warning("the prompts of %s are left out: %s", label, error)
        return {}, str(error)


def _item_means(columns: Sequence[tuple[Scores, Scores]]) -> dict[str, float]:
    """item -> its difference, averaged over the seeds at which both arms have a score."""
    found: dict[str, list[float]] = {}
    for here, there in columns:
        for item, score in here.items():
            other = there.get(item)
            if score is not None and other is not None:
                found.setdefault(item, []).append(score - other)
    return {item: sum(values) / len(values) for item, values in found.items()}
