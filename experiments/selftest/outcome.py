"""What the harness found in a world, beside what is true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from evals.statistics.paired import Difference, Finding
from experiments.metrics import evaluation
from experiments.report.compare import Arm
from experiments.selftest.arms import BASELINE, BOTH, FAILING, MEASURED, Kind
from experiments.selftest.run import BENCHMARK, MEASURE, WorldRun

NAMED = {
    Kind.DEAD: "the switch changed nothing",
    Kind.LEAKING: "also changed reflection",
    Kind.MISLABELLED: "refine.edits = 0 (measured",
}
"""The kinds whose contract must say what is wrong, and what it must say."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A difference that was estimated, beside the true one. `without_effect`: nothing makes the two students differ,
    not even the chance of their trainings, or over seeds that alone."""

    arm: str
    over_seeds: bool
    without_effect: bool
    truth: float
    mean: float
    low: float
    high: float
    p: float
    margin: float | None
    finding: Finding | None

    @property
    def detected(self) -> bool:
        """Whether it was found different, with the true sign."""
        return self.finding == "different" and self.mean * self.truth > 0

    @property
    def wrongly_equal(self) -> bool:
        """Whether it was found equivalent although it is beyond the margin."""
        return self.finding == "equivalent" and self.margin is not None and abs(self.truth) > self.margin


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """A sealed arm: what was found, in words, what is true (None where the truth is no difference), and whether that is
    right (see `experiments.selftest.arms`)."""

    kind: Kind
    arm: str
    truth: float | None
    found: str
    right: bool


@dataclass(frozen=True, kw_only=True)
class WorldOutcome:
    """The outcome of a world. `drift_named`: for each arm whose judge did not drift, whether it is said to have."""

    seed: int
    sealed: tuple[Sealed, ...]
    compared: tuple[Compared, ...]
    drift_named: tuple[bool, ...]


def outcome_of(run: WorldRun) -> WorldOutcome:
    """What was found in a world that was run."""
    arms = {arm.name: arm for arm in run.comparisons[0].arms if not arm.is_baseline}
    compared = tuple(_compared(run))
    at_first = {found.arm: found for found in compared[: len(MEASURED)]}
    kinds = run.world.kinds
    return WorldOutcome(
        seed=run.world.seed,
        sealed=tuple(_sealed(name, kind, arms.get(name), at_first, run) for name, kind in kinds.items()),
        compared=compared,
        drift_named=tuple(_drift_named(arm) for arm in arms.values() if kinds.get(arm.name) is not Kind.DRIFTS),
    )


def _compared(run: WorldRun) -> Iterator[Compared]:
    """The differences whose truth is known: seed by seed in the order of the arms, then over all seeds."""
    for comparison in run.comparisons:
        differences = {arm.name: arm.cells[MEASURE].difference for arm in comparison.arms}
        qualities = {name: run.weights[name, comparison.seed].quality for name in (BASELINE, *MEASURED)}
        yield from _beside_truth(run, differences, qualities, over_seeds=False)
    over = run.comparisons[-1].over_seeds
    if over is not None:
        differences = {arm.name: arm.cells[MEASURE].difference for arm in over.arms}
        yield from _beside_truth(run, differences, run.qualities, over_seeds=True)


def _beside_truth(
    run: WorldRun, differences: Mapping[str, Difference | None], qualities: Mapping[str, float], over_seeds: bool
) -> Iterator[Compared]:
    grades = {name: run.world.expected_grade(quality, over_seeds) for name, quality in qualities.items()}
    for name in MEASURED:
        difference = differences[name]
        if difference is None or difference.low is None or difference.high is None or difference.p is None:
            raise RuntimeError(f"world {run.world.seed}: the difference of {name} has no interval")
        yield Compared(
            arm=name,
            over_seeds=over_seeds,
            without_effect=abs(qualities[name] - qualities[BASELINE]) < 1e-9,
            truth=grades[name] - grades[BASELINE],
            mean=difference.mean,
            low=difference.low,
            high=difference.high,
            p=difference.p,
            margin=difference.margin,
            finding=difference.finding,
        )


def _sealed(name: str, kind: Kind, arm: Arm | None, compared: Mapping[str, Compared], run: WorldRun) -> Sealed:
    if kind in NAMED:
        named = "; ".join(arm.contract.broken) if arm else run.refused.get(name, "")
        return Sealed(kind=kind, arm=name, truth=None, found=named or "nothing", right=NAMED[kind] in named)
    if arm is None:
        return Sealed(kind=kind, arm=name, truth=None, found=f"refused: {run.refused[name]}", right=False)
    if kind is Kind.DRIFTS:
        named = "; ".join(arm.contract.moved)
        return Sealed(kind=kind, arm=name, truth=None, found=named or "nothing", right=_drift_named(arm))
    if kind is Kind.FAILS:
        return _failing(arm)
    found, both = compared[name], compared[BOTH]
    right = _right(kind, found, both)
    text = f"{found.finding} {found.mean:+.2f}"
    return Sealed(
        kind=kind,
        arm=name,
        truth=found.truth,
        found=f"{text}; both {both.finding} {both.mean:+.2f}" if kind is Kind.REDUNDANT else text,
        right=right,
    )


def _right(kind: Kind, found: Compared, both: Compared) -> bool:
    """Whether the finding of an arm whose true difference is known is right; `both` is that of two redundant parts."""
    if kind is Kind.NONE:
        return found.finding != "different"
    if kind is Kind.REDUNDANT:
        return found.finding != "different" and both.detected
    if kind is Kind.SMALL:
        return not found.wrongly_equal and (found.finding != "different" or found.detected)
    return found.detected


def _failing(arm: Arm) -> Sealed:
    """The arm on which the judge fails more often."""
    graded = arm.result.metrics_of(evaluation.GRADE, BENCHMARK)
    measure = arm.cells[MEASURE].measure
    unscored = sum(graded.unscored.values()) if graded else 0
    withheld = measure is not None and measure.value is None and arm.cells[MEASURE].difference is None
    found = f"{unscored} verdicts without a grade, score {'withheld' if withheld else 'given'}"
    return Sealed(kind=Kind.FAILS, arm=FAILING, truth=None, found=found, right=unscored > 0 and withheld)


def _drift_named(arm: Arm) -> bool:
    return any("anchors" in line for line in arm.contract.moved)
