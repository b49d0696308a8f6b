"""`reer plan` in the terminal: the design, what there is to do, and what it costs in total and at the margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from textwrap import wrap

from experiments.plan import ArmPlan, Plan, StagePlan
from experiments.planning.actual import PlannedActual
from experiments.planning.alternatives import Alternative
from experiments.planning.costs import StageCost, total
from experiments.planning.detection import Detection
from experiments.report import console as show

ARMS_IN_A_TABLE = 3  # fit 80 columns
STATUS = {"cached": "cached", "started": "resume", "to run": "to run"}
COSTS = ("calls", "tokens", "device-h", "hours", "USD")
NOTHING = StageCost()
SCALAR = (int, float, str)


def show_plan(plan: Plan, every_stage: bool = False) -> None:
    """Tables of an 80-column terminal. `every_stage` adds the stages of each arm where there are several."""
    if plan.factors:
        _design(plan)
    if len(plan.arms) == 1:
        _arm(plan.arms[0])
    else:
        _totals(plan)
        _stages(plan)
    if len(plan.arms) > 1 and every_stage:
        _statuses(plan)
        for arm in plan.arms:
            _arm(arm)
    _detections(plan)
    _notes(plan)


def _detections(plan: Plan) -> None:
    """What the design could show by measure, and what to buy for the differences that are wanted."""
    if not plan.detections:
        return
    rows = [
        (
            str(one.measure),
            str(one.design.items),
            str(one.design.seeds),
            f"{one.spread.sd:.3g}",
            f"{one.least:.3g}",
            "" if one.margin is None else f"{one.margin:.3g}",
            "assumed" if one.spread.items is None else "measured",
        )
        for one in plan.detections
    ]
    show.table(
        "what one comparison could detect", ("measure", "items", "seeds", "SD", "detects", "margin", "SD is"), rows
    )
    _paragraph(
        "detects: the smallest true difference that is found different with 80 % power, before Holm's correction; SD: "
        "of single paired differences; margin: within it, arms are equivalent"
    )
    sources = list(dict.fromkeys(one.spread.source for one in plan.detections))
    for source in sources:
        names = [str(one.measure) for one in plan.detections if one.spread.source == source]
        _paragraph(f"SD {source}" + (f": {', '.join(names)}" if len(sources) > 1 else ""))
    if plan.detections[0].design.seeds == 1:
        _paragraph("one seed shows differences between these trainings only, whatever is bought; seed=0,1,2 shows more")
    for one in plan.detections:
        if one.wanted is not None:
            _offers(one, one.wanted)


def _offers(one: Detection, wanted: float) -> None:
    """The ways to detect a wanted difference, the cheapest first."""
    if not one.offers:
        enough = (
            "is detected already" if one.least <= wanted else "needs more than one enlargement: items and seeds, say"
        )
        _paragraph(f"{one.measure}: a difference of {wanted:g} {enough}")
        return
    rows = [
        (offer.respect, str(offer.held), f"{offer.needed:,}", _amount(offer.hours), _amount(offer.usd), offer.how)
        for offer in one.offers
    ]
    show.table(f"to detect {wanted:g} in {one.measure}, one of", ("buy", "now", "needed", "hours", "USD", "how"), rows)


def plan_as_json(plan: Plan) -> None:
    """Everything that is planned, with the sums over all arms, as one JSON object."""
    sums = {"total": asdict(plan.total()), "remaining": asdict(plan.remaining())}
    show.data({**asdict(plan), **sums})


def _design(plan: Plan) -> None:
    """Arms by factors; an arm that is made of the same steps as one above it names that one."""
    first: dict[tuple[str, ...], str] = {}
    rows: list[Sequence[str]] = []
    for arm in plan.arms:
        same = first.setdefault(tuple(stage.fingerprint for stage in arm.stages), arm.arm)
        marks = ["–" if factor in arm.lacks else "+" for factor in plan.factors]
        rows.append((arm.arm, *marks, "" if same == arm.arm else show.folded(same, show.NAME_WIDTH)))
    show.table("design", ("arm", *plan.factors, "same as" if any(row[-1] for row in rows) else ""), rows)
    show.line("+ with the factor, – without it; the first arm is the baseline of the others")


def _stages(plan: Plan) -> None:
    """The stages that have a price: their different results over all arms, and what those that are missing cost."""
    distinct = list(plan.distinct().values())
    rows: list[Sequence[str]] = []
    for name in dict.fromkeys(stage.name for stage in distinct if stage.cost or stage.estimate.missing):
        here = [stage for stage in distinct if stage.name == name]
        missing = [stage for stage in here if stage.status != "cached"]
        cost = total([stage.cost for stage in missing if stage.cost])
        calls, _, *spent = _numbers(cost, any(stage.estimate.missing for stage in missing))
        rows.append((name, str(len(here)), str(len(missing)), calls, *spent))
    show.table("remaining cost by stage", ("stage", "results", "to run", "calls", *COSTS[2:]), rows)
    cached = sum(stage.status == "cached" for stage in distinct)
    executions = sum(len(arm.stages) for arm in plan.arms)
    show.line(
        f"{executions} stages, {len(distinct)} of them distinct: {cached} in the store, "
        f"{len(distinct) - cached} to compute"
    )


def _statuses(plan: Plan) -> None:
    names = list(dict.fromkeys(stage.name for arm in plan.arms for stage in arm.stages))
    for start in range(0, len(plan.arms), ARMS_IN_A_TABLE):
        arms = plan.arms[start : start + ARMS_IN_A_TABLE]
        by_arm = [{stage.name: _status(stage) for stage in arm.stages} for arm in arms]
        rows = [(name, *(stages.get(name, "–") for stages in by_arm)) for name in names]
        show.table("stages by arm", ("stage", *(arm.arm for arm in arms)), rows)


def _status(stage: StagePlan) -> str:
    if stage.status != "cached" and stage.shared_with is not None:
        return f"with {stage.shared_with}"
    return STATUS[stage.status]


def _arm(arm: ArmPlan) -> None:
    """The stages of one arm, with the cost of those that have an estimate."""
    rows = [
        (stage.name, _status(stage), *_numbers(stage.cost or NOTHING, bool(stage.estimate.missing)))
        for stage in arm.stages
    ]
    least = arm.has_unknown_costs
    rows += [
        ("in total, empty store", "", *_numbers(arm.from_scratch(), least)),
        ("remaining", "", *_numbers(arm.remaining(), least)),
    ]
    show.table(arm.arm, ("stage", "status", *COSTS), rows)


def _totals(plan: Plan) -> None:
    """What each arm costs alone, and what it adds to the store and to the arms above it."""
    alone: list[Sequence[str]] = []
    added: list[Sequence[str]] = []
    for arm in plan.arms:
        least, own = arm.has_unknown_costs, sum(stage.is_own_work for stage in arm.stages)
        alone.append((arm.arm, *_numbers(arm.from_scratch(), least)))
        added.append((arm.arm, str(own), *_numbers(arm.remaining(), least)))
    least, own = plan.has_unknown_costs, sum(stage.is_own_work for arm in plan.arms for stage in arm.stages)
    alone.append(("all arms, sharing", *_numbers(plan.total(), least)))
    added.append(("all arms, remaining", str(own), *_numbers(plan.remaining(), least)))
    show.table("total cost: each arm alone, with an empty store", ("arm", *COSTS), alone)
    show.table("marginal cost: what each arm adds to those above it", ("arm", "to run", *COSTS), added)


def _notes(plan: Plan) -> None:
    """What is missing, what the benchmarks can show, what would be cheaper, and all assumptions."""
    stages = [stage for arm in plan.arms for stage in arm.stages]
    for note in dict.fromkeys(f"{s.name}: {s.estimate.missing}" for s in stages if s.estimate.missing):
        _paragraph(f"not all is planned for {note}; sums marked ≥ leave it out")
    for remark in dict.fromkeys(f"{s.name}: {s.estimate.remark}" for s in stages if s.estimate.remark):
        _paragraph(remark)
    for alternative in plan.alternatives:
        _paragraph(alternative_text(alternative, plan.arms[0].arm))
    _assumptions(plan)


def _eight_bits(other: Alternative) -> str:
    gpus = f"{other.generator_devices} GPU{'s' if other.generator_devices > 1 else ''}"
    return f"engine={other.engine} generator.model.dtype=fp8, {gpus} a replica in runtime.placements.generator"


def alternative_text(other: Alternative, arm: str) -> str:
    """What another engine would change, in one sentence."""
    where = "in this process" if other.in_process else f"on {other.engine}"
    where += f" with the generator in FP8, which writes other texts ({_eight_bits(other)})" if other.eight_bit else ""
    replicas = f", {other.generators} generator and {other.scorers} scorer replicas" if not other.in_process else ""
    change = f"1/{other.ratio:.2g} of the time" if other.is_cheaper else f"{other.ratio:.2g} times as long"
    return (
        f"{arm} {where}{replicas}: {other.hours:.3g} h instead of {other.composed_hours:.3g} h without the "
        f"training, {change}"
    )


def _assumptions(plan: Plan) -> None:
    for assumed in plan.assumptions:
        values = ", ".join(
            f"{f.name}={value}" for f in fields(assumed) if isinstance(value := getattr(assumed, f.name), SCALAR)
        )
        _paragraph(f"assumptions (change one with estimate.NAME=VALUE): {values}")
    for templates in plan.templates:
        _paragraph(
            "prompts without what is filled in, from their characters: "
            + ", ".join(f"{item.name} {getattr(templates, item.name)}" for item in fields(templates))
            + " tokens"
        )
    for model, (rate, rows) in plan.rates.items():
        devices = f" on {rate.devices} devices" if rate.devices > 1 else ""
        at_once = f" with {rows} rows at once" if rows else ""
        _paragraph(
            f"{model}, {rate.engine} in {rate.precision}{devices}: reads {rate.reads_per_second:,.0f} and writes "
            f"{rate.writing(rows):,.0f} tokens/s{at_once}; {rate.source}"
        )


def show_planned_and_actual(run: str, rows: Sequence[PlannedActual]) -> None:
    """Seconds and tokens of each stage, planned and actual, and how many times as long it took."""
    cells = [
        (
            row.stage,
            f"{row.planned_seconds:,.0f}",
            f"{row.seconds:,.0f}",
            "replayed" if row.replayed else _amount(row.ratio or 0.0),
            _tokens(row.planned_tokens),
            "" if row.tokens is None else _tokens(row.tokens),
        )
        for row in rows
    ]
    planned, actual = sum(row.planned_seconds for row in rows), sum(row.seconds for row in rows)
    cells.append(("in total", f"{planned:,.0f}", f"{actual:,.0f}", "", "", ""))
    show.table(
        f"{run}: planned and actual",
        ("stage", "planned s", "actual s", "times", "planned tokens", "actual"),
        cells,
    )
    show.paragraph(
        "tokens are generated or trained on; stages without an estimate, or whose result is gone, are left out"
    )


def _paragraph(text: str) -> None:
    for line in wrap(text, show.console.width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False):
        show.line(line)


def _numbers(cost: StageCost, at_least: bool = False) -> tuple[str, str, str, str, str]:
    """Calls, tokens, device-hours, hours and USD; `at_least` marks a sum that leaves something out."""
    mark = "≥ " if at_least else ""
    if cost == NOTHING:
        return ("", "", mark.strip(), "", "")
    return (
        f"{cost.calls:,}",
        _tokens(cost.tokens),
        f"{mark}{_amount(cost.device_hours)}",
        _amount(cost.hours),
        _amount(cost.usd),
    )


def _tokens(count: int) -> str:
    """`950`, `89.1 k`, `102 M`, `1.77 B`."""
    for unit, name in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return str(count)


def _amount(value: float) -> str:
    """`1,157`, `5.79`, `<0.01`; nothing for zero."""
    if value < 0.01:
        return "<0.01" if value else ""
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
