"""The stages of a study: how they depend on one another, which results arms share, and what they cost."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from markupsafe import Markup

from experiments.metrics import evaluation
from experiments.plan import stage_costs
from experiments.planning.costs import StageCost, total
from experiments.report.page import charts
from experiments.report.page.charts import ACCENT, GRID, PALE, SOFT, TEXT, Row
from experiments.report.page.origin import records_of
from experiments.report.page.study import Study
from experiments.store.fingerprint import Json
from experiments.store.metrics import ABSENT
from experiments.store.records import Record
from experiments.store.runs import Result, read_plan
from experiments.store.step import StepName
from reer.errors import InputError

if TYPE_CHECKING:
    import altair as alt

log = logging.getLogger(__name__)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LAYER = 38  # pixels of a layer of the graph
BAR = 19  # pixels of a stage in the chart of seconds


@dataclass(frozen=True, kw_only=True)
class StageUse:
    """One step in all runs: its results, the runs that asked for it, its inputs, and what it took.

    results: fingerprint by run
    seconds: of every result once
    saved:   seconds that runs did not spend because another run had the result
    planned: what the plan expected of every result once; None where it has no estimate
    """

    name: str
    results: Mapping[str, str]
    inputs: tuple[str, ...]
    seconds: float
    saved: float
    planned: StageCost | None = None

    @property
    def distinct(self) -> int:
        return len(set(self.results.values()))


@dataclass(frozen=True)
class StageView:
    """A row of the table: the letter of each arm's result at its first seed, equal letters for equal results."""

    name: str
    reads: str
    letters: tuple[str, ...]
    executed: str
    planned: str
    seconds: str


@dataclass(frozen=True)
class StagesView:
    """`saved` is what sharing spared, `money` what judges and plan cost, in words."""

    arms: tuple[str, ...]
    rows: tuple[StageView, ...]
    plots: tuple[Markup, ...]
    saved: str
    money: str


def stages_view(study: Study) -> StagesView:
    """Graph, sharing, time and money of one study."""
    uses = stage_uses(study, planned_costs(study))
    plots = [charts.figure(graph(uses), "What depends on what, and what is shared", _graph_finding(uses))]
    timed = [use for use in uses if use.seconds]
    if timed:
        plots.append(charts.figure(seconds_chart(timed), "Seconds by stage", _saved_text(uses)))
    return StagesView(
        arms=study.arms,
        rows=tuple(_row(use, study) for use in uses),
        plots=tuple(plots),
        saved=_saved_text(uses),
        money=_money(study, uses),
    )


def planned_costs(study: Study) -> dict[str, StageCost]:
    """What the frozen plan of each arm expects of its results, by fingerprint; nothing of a plan that is missing or of
    another version."""
    found: dict[str, StageCost] = {}
    for name in study.arms:
        costs = _costs_of(study.first(name).result)
        runs = [arm.result for _, arm in study.runs() if arm.label == name]
        found |= {
            run.steps[step].fingerprint: cost for run in runs for step, cost in costs.items() if step in run.steps
        }
    return found


def _costs_of(result: Result) -> Mapping[StepName, StageCost]:
    from experiments.config.parts import experiment_from

    if result.folder is None or not (result.folder / "plan.json").is_file():
        return {}
    try:
        return stage_costs(experiment_from(_plan_of(result)))
    except InputError as error:
        log.warning("the planned cost of %s is left out: %s", result.run_name, error)
        return {}


def _plan_of(result: Result) -> Mapping[str, Json]:
    """The frozen plan of a run, with the root where the run is now."""
    assert result.folder is not None, "only runs with a folder have a plan"
    plan = read_plan(result.folder / "plan.json")
    return {**plan, "runtime": {**cast("Mapping[str, Json]", plan["runtime"]), "root": str(result.root)}}


def stage_uses(study: Study, planned: Mapping[str, StageCost]) -> list[StageUse]:
    """The steps of all runs, in the order of the pipeline. `planned` is by fingerprint."""
    records: dict[str, dict[str, Record]] = {arm.result.run_name: records_of(arm.result) for _, arm in study.runs()}
    results: dict[str, dict[str, str]] = {}
    for _, arm in study.runs():
        for name, step in arm.result.steps.items():
            results.setdefault(str(name), {})[arm.result.run_name] = step.fingerprint
    uses = [_use(name, of_run, records) for name, of_run in _in_order(results, study)]
    costs = [[cost for result in set(use.results.values()) if (cost := planned.get(result))] for use in uses]
    return [replace(use, planned=total(cost)) if cost else use for use, cost in zip(uses, costs, strict=True)]


def _in_order(results: Mapping[str, Mapping[str, str]], study: Study) -> Iterator[tuple[str, Mapping[str, str]]]:
    longest = max((arm.result.steps for _, arm in study.runs()), key=len)
    names = dict.fromkeys([*map(str, longest), *results])
    yield from ((name, results[name]) for name in names)


def _use(name: str, results: Mapping[str, str], records: Mapping[str, Mapping[str, Record]]) -> StageUse:
    found = {run: record for run in results if (record := records[run].get(name))}
    seconds = {results[run]: record.seconds for run, record in found.items()}
    spent = sum(record.seconds for record in found.values())
    steps = {record.fingerprint: step for of_run in records.values() for step, record in of_run.items()}
    inputs = dict.fromkeys(
        steps[build.fingerprint]
        for record in found.values()
        for build in record.inputs.values()
        if build.fingerprint in steps
    )
    distinct = sum(seconds.values())
    return StageUse(name=name, results=results, inputs=tuple(inputs), seconds=distinct, saved=spent - distinct)


def _row(use: StageUse, study: Study) -> StageView:
    results = [use.results.get(study.first(arm).result.run_name) for arm in study.arms]
    letters = {result: LETTERS[i % len(LETTERS)] for i, result in enumerate(dict.fromkeys(filter(None, results)))}
    return StageView(
        name=use.name,
        reads=", ".join(use.inputs),
        letters=tuple(letters[result] if result else ABSENT for result in results),
        executed=f"{use.distinct} for {len(use.results)}",
        planned=duration(use.planned.device_hours * 3600) if use.planned else "",
        seconds=f"{use.seconds:.1f}" if use.seconds else "",
    )


def _money(study: Study, uses: Sequence[StageUse]) -> str:
    """The judgements and what they cost; what the plan expected of all stages."""
    graded = [
        metrics
        for label in study.labels_of(evaluation.GRADE)
        for shared in study.distinct(evaluation.GRADE, label)
        if (metrics := shared.result.metrics_of(evaluation.GRADE, label))
    ]
    usd, judgements = sum(m.judge_usd for m in graded), sum(m.judgements for m in graded)
    paid = f"{judgements} judgements for {usd:.2f} USD" if usd else f"{judgements} judgements, none of them paid for"
    plan = total([use.planned for use in uses if use.planned])
    expected = f"{duration(plan.device_hours * 3600)} of device time" + (f", {plan.usd:.2f} USD" if plan.usd else "")
    return f"{paid}. Planned: {expected}" if plan.calls else paid


def duration(seconds: float) -> str:
    """`42 s`, `12 min`, `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _saved_text(uses: Sequence[StageUse]) -> str:
    spent, saved = sum(use.seconds for use in uses), sum(use.saved for use in uses)
    return f"{duration(spent)} in all; sharing saved {duration(saved)} more." if saved else f"{duration(spent)} in all."


def _graph_finding(uses: Sequence[StageUse]) -> str:
    executed, asked = sum(use.distinct for use in uses), sum(len(use.results) for use in uses)
    return (
        f"{executed} executions for the {asked} steps of all runs. Filled: shared; below the name: executed for asked."
    )


def by_stage(uses: Sequence[StageUse]) -> list[StageUse]:
    """The steps of each stage, such as those of all benchmarks, as one."""
    stages: dict[str, list[StageUse]] = {}
    for use in uses:
        stages.setdefault(_stage(use.name), []).append(use)
    return [
        StageUse(
            name=name,
            results={f"{run} {use.name}": result for use in of_stage for run, result in use.results.items()},
            inputs=tuple(
                dict.fromkeys(_stage(other) for use in of_stage for other in use.inputs if _stage(other) != name)
            ),
            seconds=sum(use.seconds for use in of_stage),
            saved=sum(use.saved for use in of_stage),
        )
        for name, of_stage in stages.items()
    ]


def _stage(step: str) -> str:
    return StepName.parse(step).stage


@dataclass(frozen=True)
class Node:
    """A step in the graph: `layer` counts downwards, `lane` to the right; `reads` are the inputs it is drawn below."""

    use: StageUse
    layer: int
    lane: int
    reads: tuple[str, ...]


def nodes_of(uses: Sequence[StageUse]) -> dict[str, Node]:
    """The places of all steps. A step is one layer below the last of its inputs, a step without inputs one layer above
    the first that reads it; the leftmost lane is the way to most steps."""
    names = {use.name for use in uses}
    inputs = {use.name: tuple(name for name in use.inputs if name in names) for use in uses}
    before = {name: _ancestors(name, inputs) for name in inputs}
    after = {name: sum(name in found for found in before.values()) for name in inputs}
    layers: dict[str, int] = {}
    for name, reads in inputs.items():  # in the order of the pipeline: inputs come before
        layers[name] = max((layers[other] + 1 for other in reads if other in layers), default=0)
    readers = {name: [layers[other] for other, reads in inputs.items() if name in reads] for name in inputs}
    layers |= {name: min(readers[name]) - 1 for name in inputs if readers[name] and not inputs[name]}
    nodes: dict[str, Node] = {}
    for use in sorted(uses, key=lambda use: -after[use.name]):
        direct = [name for name in use.inputs if not any(name in before[other] for other in use.inputs)]
        lane = sum(node.layer == layers[use.name] for node in nodes.values())
        nodes[use.name] = Node(use, layers[use.name], lane, tuple(direct))
    return nodes


def _ancestors(name: str, inputs: Mapping[str, Sequence[str]]) -> set[str]:
    """All steps that a step depends on."""
    return {found for other in inputs[name] for found in (other, *_ancestors(other, inputs))}


def graph(uses: Sequence[StageUse]) -> alt.LayerChart:
    """The steps from top to bottom, with lines from the steps they read; what follows from other lines is left out."""
    import altair as alt

    nodes = nodes_of(by_stage(uses))
    edges: list[Row] = [
        {"x": nodes[name].lane, "y": nodes[name].layer, "x2": node.lane, "y2": node.layer}
        for node in nodes.values()
        for name in node.reads
    ]
    rows = [_node_row(node) for node in nodes.values()]
    right = max(node.lane for node in nodes.values()) + 0.9
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.1, right], nice=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(reverse=True, nice=False, zero=False))
    base = alt.Chart(charts.data(edges))
    lines = base.mark_rule(color=PALE.light, strokeWidth=1.4).encode(x=x, y=y, x2="x2", y2="y2")
    dots = alt.Chart(charts.data(rows)).encode(x=x, y=y)
    shared = alt.Fill("shared:N", legend=None, scale=alt.Scale(domain=[True, False], range=[ACCENT.light, GRID.light]))
    marks = dots.mark_point(size=90, filled=True, stroke=ACCENT.light, strokeWidth=1.4).encode(fill=shared)
    names = dots.mark_text(align="left", dx=10, dy=-4, fontSize=11, color=TEXT.light).encode(text="name:N")
    notes = dots.mark_text(align="left", dx=10, dy=8, fontSize=9.5, color=SOFT.light).encode(text="note:N")
    height = LAYER * (max(node.layer for node in nodes.values()) + 1)
    return charts.layered([lines, marks, names, notes], height=height)


def _node_row(node: Node) -> Row:
    use = node.use
    note = f"{use.distinct} for {len(use.results)}" if len(use.results) > 1 else ""
    shared = use.distinct < len(use.results)
    return {"x": node.lane, "y": node.layer, "name": use.name, "note": note, "shared": shared}


def seconds_chart(uses: Sequence[StageUse]) -> alt.LayerChart:
    """Seconds spent and seconds that sharing saved by stage, with those that were planned as marks."""
    import altair as alt

    rows = [row for use in uses for row in _seconds_rows(use)]
    base = alt.Chart(charts.data(rows)).encode(y=charts.in_order(rows, "stage"))
    kinds = alt.Scale(domain=["spent", "saved"], range=[ACCENT.light, PALE.light])
    title = "seconds; pale: saved by sharing; mark: planned"
    bars = base.mark_bar(height=BAR - 8).encode(
        x=alt.X("from:Q", title=title), x2="to:Q", color=alt.Color("kind:N", legend=None, scale=kinds)
    )
    planned = base.mark_tick(color=TEXT.light, thickness=2, size=BAR - 4).encode(x="planned:Q")
    texts = base.mark_text(align="left", dx=5, fontSize=10, color=TEXT.light).encode(x="end:Q", text="text:N")
    return charts.layered([bars, planned, texts], height=alt.Step(BAR))


def _seconds_rows(use: StageUse) -> list[Row]:
    spent, end = use.seconds, use.seconds + use.saved
    planned = use.planned.device_hours * 3600 if use.planned else None
    label = {"stage": use.name, "planned": planned, "end": max(end, planned or 0.0)}
    return [
        {**label, "kind": "spent", "from": 0.0, "to": spent, "text": duration(spent)},
        {**label, "kind": "saved", "from": spent, "to": end, "text": ""},
    ]
