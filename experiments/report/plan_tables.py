"""`reer plan` in the terminal: arms by stages, then what each stage costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from experiments.plan import Plan, StageCost, StagePlan
from experiments.report import console as show

ARMS_IN_A_TABLE = 3  # fit 80 columns
STATUS = {"cached": "cached", "started": "resume", "to run": "will run"}


def show_plan(plan: Plan) -> None:
    """Tables of an 80-column terminal: status of every stage in every arm, costs by arm and stage, totals."""
    _statuses(plan)
    _costs(plan)
    _totals(plan)
    for note in dict.fromkeys(f"{stage.name}: {stage.note}" for arm in plan.arms for stage in arm.stages if stage.note):
        show.line(f"no estimate for {note}; sums marked ≥ leave it out")
    for name, (items, effect) in plan.detectable.items():
        show.line(
            f"{name}: {items} items show a difference between two arms from {effect:.2f} standard deviations of the "
            "paired differences on (80 % power)"
        )
    for assumed in plan.assumptions:
        show.line("assumptions, changed on the command line:")
        for item in fields(assumed):
            show.line(f"  estimate.{item.name}={getattr(assumed, item.name):g}")


def _statuses(plan: Plan) -> None:
    names = list(dict.fromkeys(stage.name for arm in plan.arms for stage in arm.stages))
    for start in range(0, len(plan.arms), ARMS_IN_A_TABLE):
        arms = plan.arms[start : start + ARMS_IN_A_TABLE]
        by_arm = [{stage.name: _status(stage) for stage in arm.stages} for arm in arms]
        rows = [(name, *(stages.get(name, "–") for stages in by_arm)) for name in names]
        show.table("stages", ("stage", *(arm.arm for arm in arms)), rows)
    stages = plan.distinct().values()
    cached = sum(stage.status == "cached" for stage in stages)
    executions = sum(len(arm.stages) for arm in plan.arms)
    show.line(
        f"{executions} stages, {len(stages)} of them distinct: {cached} in the store, {len(stages) - cached} to compute"
    )


def _status(stage: StagePlan) -> str:
    if stage.status != "cached" and stage.shared_with is not None:
        return f"with {stage.shared_with}"
    return STATUS[stage.status]


def _costs(plan: Plan) -> None:
    for arm in plan.arms:
        rows = [(stage.name, _status(stage), *_numbers(stage.cost)) for stage in arm.stages if stage.cost]
        least = arm.has_unknown_costs
        rows += [
            ("this arm, empty store", "", *_numbers(arm.from_scratch(), least)),
            ("this arm, remaining", "", *_numbers(arm.remaining(), least)),
        ]
        show.table(f"{arm.arm}: cost", ("stage", "status", "calls", "tokens", "device-h", "USD"), rows)


def _totals(plan: Plan) -> None:
    if len(plan.arms) == 1:
        return
    rows: list[Sequence[str]] = [(arm.arm, *_numbers(arm.remaining(), arm.has_unknown_costs)) for arm in plan.arms]
    least = plan.has_unknown_costs
    rows += [
        ("all arms, remaining", *_numbers(plan.remaining(), least)),
        ("all arms, empty store", *_numbers(plan.total(), least)),
    ]
    show.table("remaining cost by arm", ("arm", "calls", "tokens", "device-h", "USD"), rows)


def _numbers(cost: StageCost, at_least: bool = False) -> tuple[str, str, str, str]:
    """Calls, tokens, device-hours and USD; `at_least` marks a sum that leaves out a stage without an estimate."""
    mark = "≥ " if at_least else ""
    numbers = (f"{cost.calls:,}", _millions(cost.tokens), f"{cost.device_hours:.3g}", f"{cost.usd:.3g}")
    return (mark + numbers[0], mark + numbers[1], mark + numbers[2], mark + numbers[3])


def _millions(tokens: int) -> str:
    return f"{tokens:,}" if tokens < 100_000 else f"{tokens / 1e6:,.1f} M"
