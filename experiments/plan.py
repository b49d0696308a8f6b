"""What a command would run and cost, arm by arm: what the store holds, what arms share, what is left to pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from experiments.experiment import Experiment
from experiments.pipeline import pipeline
from experiments.planning.alternatives import Alternative, alternatives
from experiments.planning.costs import Costs, Estimate, StageCost, UsedRate, total, used_rates
from experiments.planning.detection import NOTHING_WANTED, Detection, Wanted, detections
from experiments.store.runs import all_results
from experiments.store.step import StepName
from experiments.store.store import Store
from experiments.sweeps.designs import Arm
from reer.search.cost import CostAssumptions, TemplateTokens

T = TypeVar("T")
Status = Literal["cached", "started", "to run"]


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage of one arm. `shared_with` is the arm before it that computes the same result."""

    name: str
    fingerprint: str
    status: Status
    shared_with: str | None
    estimate: Estimate

    @property
    def cost(self) -> StageCost | None:
        return self.estimate.cost

    @property
    def is_own_work(self) -> bool:
        """True if this arm has to compute the stage: it is not cached, and no arm before computes it."""
        return self.status != "cached" and self.shared_with is None


@dataclass(frozen=True)
class ArmPlan:
    """One arm with all its stages, and the factors of the design that it lacks."""

    arm: str
    stages: tuple[StagePlan, ...]
    lacks: tuple[str, ...] = ()

    @property
    def has_unknown_costs(self) -> bool:
        """True if a stage cannot be estimated, so that every sum is a lower bound."""
        return any(stage.estimate.missing for stage in self.stages)

    def from_scratch(self) -> StageCost:
        """What the arm would cost with an empty store and no other arm."""
        return total([stage.cost for stage in self.stages if stage.cost])

    def remaining(self) -> StageCost:
        """What the arm adds to what the store holds and the arms before it compute."""
        return total([stage.cost for stage in self.stages if stage.cost and stage.is_own_work])


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All arms of a command, and the assumptions behind the numbers."""

    arms: tuple[ArmPlan, ...]
    assumptions: tuple[CostAssumptions, ...]
    templates: tuple[TemplateTokens, ...]
    """Lengths of the composed prompts."""
    rates: Mapping[str, UsedRate]
    """By model: the rate it is planned with."""
    alternatives: tuple[Alternative, ...]
    """What other engines would take for the first arm."""
    detections: tuple[Detection, ...]
    """By measure: what a comparison with the first arm could show."""
    factors: tuple[str, ...] = ()
    """Those of the design."""

    @property
    def has_unknown_costs(self) -> bool:
        return any(arm.has_unknown_costs for arm in self.arms)

    def distinct(self) -> dict[str, StagePlan]:
        """Every stage once, by fingerprint."""
        stages: dict[str, StagePlan] = {}
        for arm in self.arms:
            for stage in arm.stages:
                stages.setdefault(stage.fingerprint, stage)
        return stages

    def total(self) -> StageCost:
        """What all arms would cost with an empty store, shared stages once."""
        return total([stage.cost for stage in self.distinct().values() if stage.cost])

    def remaining(self) -> StageCost:
        """What is left to pay, given what the store holds."""
        return total([arm.remaining() for arm in self.arms])


def make_plan(
    experiments: Sequence[Experiment],
    design: Sequence[Arm] = (),
    factors: Sequence[str] = (),
    wanted: Wanted = NOTHING_WANTED,
) -> Plan:
    """The plan of all jobs of a command: where they are the arms of a design, `design` has one for each. `wanted` are
    differences that the plan says how to detect."""
    owners: dict[str, str] = {}
    costs = [Costs.of(exp) for exp in experiments]
    arms = [
        ArmPlan(label, _stages(cost, label, owners), arm.lacks)
        for cost, label, arm in zip(costs, _labels(experiments), design or [Arm()] * len(experiments), strict=True)
    ]
    return Plan(
        arms=tuple(arms),
        assumptions=_distinct([exp.estimate for exp in experiments]),
        templates=_distinct([cost.templates for cost in costs]),
        rates=used_rates(costs),
        alternatives=tuple(alternatives(costs[0])),
        detections=detections(
            costs[0], len({exp.seed for exp in experiments}), all_results(experiments[0].runtime.runs), wanted
        ),
        factors=tuple(factors),
    )


def _distinct(records: Sequence[T]) -> tuple[T, ...]:
    return tuple(record for at, record in enumerate(records) if record not in records[:at])


def _stages(costs: Costs, label: str, owners: dict[str, str]) -> tuple[StagePlan, ...]:
    """The stages of one arm; `owners` is the arm that computes each result first, and is added to."""
    runtime = costs.exp.runtime
    store, steps = Store(root=runtime.store, runtime=runtime), pipeline(costs.exp)
    estimates = costs.stages(store, steps)
    stages: list[StagePlan] = []
    for name, step in steps.items():
        owner = owners.setdefault(step.fingerprint, label)
        stages.append(
            StagePlan(
                name=str(name),
                fingerprint=step.fingerprint,
                status=store.status(step),
                shared_with=None if owner == label else owner,
                estimate=estimates.get(name, Estimate()),
            )
        )
    return tuple(stages)


def stage_costs(exp: Experiment) -> dict[StepName, StageCost]:
    """What each stage with an estimate would cost by itself. Raises InputError for what the pipeline refuses."""
    estimates = Costs.of(exp).stages(Store(root=exp.runtime.store, runtime=exp.runtime), pipeline(exp))
    return {name: estimate.cost for name, estimate in estimates.items() if estimate.cost is not None}


def _labels(experiments: Sequence[Experiment]) -> list[str]:
    """Arm names, with the scale and seed where the command has several."""
    scales, seeds = {exp.scale.name for exp in experiments}, {exp.seed for exp in experiments}
    return [
        exp.name + (f"/{exp.scale.name}" if len(scales) > 1 else "") + (f" s{exp.seed}" if len(seeds) > 1 else "")
        for exp in experiments
    ]
