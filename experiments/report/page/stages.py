"""The stages of a study: how they depend on one another, which results arms share, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from experiments.report.page import charts
from experiments.report.page.charts import ACCENT, GRID, PALE, SOFT, TEXT, Row
from experiments.report.page.origin import records_of
from experiments.report.page.study import Study
from experiments.stages import evaluation
from experiments.store.metrics import ABSENT
from experiments.store.records import Record

if TYPE_CHECKING:
    import altair as alt

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LAYER = 38  # pixels of a layer of the graph
BAR = 19  # pixels of a stage in the chart of seconds


@dataclass(frozen=True, kw_only=True)
class StageUse:
    """One step in all runs: its results, the runs that asked for it, its inputs, and what it took.

    results: fingerprint by run
    seconds: of every result once
    saved:   seconds that runs did not spend because another run had the result
    """

    name: str
    results: Mapping[str, str]
    inputs: tuple[str, ...]
    seconds: float
    saved: float

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
    seconds: str


@dataclass(frozen=True)
class StagesView:
    """`saved` is what sharing spared, in words."""

    arms: tuple[str, ...]
    rows: tuple[StageView, ...]
    plots: tuple[Markup, ...]
    saved: str
    usd: str


def stages_view(study: Study) -> StagesView:
    """Graph, sharing, time and money of one study."""
    uses = stage_uses(study)
    plots = [charts.figure(graph(uses), "What depends on what, and what is shared", _graph_finding(uses))]
    timed = [use for use in uses if use.seconds]
    if timed:
        plots.append(charts.figure(seconds_chart(timed), "Seconds by stage", _saved_text(uses)))
    return StagesView(
        arms=study.arms,
        rows=tuple(_row(use, study) for use in uses),
        plots=tuple(plots),
        saved=_saved_text(uses),
        usd=_money(study),
    )


def stage_uses(study: Study) -> list[StageUse]:
    """The steps of all runs, in the order of the pipeline."""
    records: dict[str, dict[str, Record]] = {arm.result.run_name: records_of(arm.result) for _, arm in study.runs()}
    results: dict[str, dict[str, str]] = {}
    for _, arm in study.runs():
        for name, step in arm.result.steps.items():
            results.setdefault(str(name), {})[arm.result.run_name] = step.fingerprint
    return [_use(name, of_run, records) for name, of_run in _in_order(results, study)]


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
        seconds=f"{use.seconds:.1f}" if use.seconds else "",
    )


def _money(study: Study) -> str:
    graded = [g for label in study.labels_of(evaluation.grade) for g in study.distinct(evaluation.grade, label)]
    metrics = [m for g in graded for m in g.result.all_metrics_of(evaluation.grade).values()]
    usd, judgements = sum(m.judge_usd for m in metrics), sum(m.judgements for m in metrics)
    return f"{judgements} judgements for {usd:.2f} USD" if usd else f"{judgements} judgements, none of them paid for"


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
    return f"The runs asked for {asked} steps, and {executed} were executed; filled: shared by several runs."


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
    inputs = {use.name: use.inputs for use in uses}
    before = {name: _ancestors(name, inputs) for name in inputs}
    after = {name: sum(name in found for found in before.values()) for name in inputs}
    layers: dict[str, int] = {}
    for name, reads in inputs.items():  # in the order of the pipeline: inputs come before
        layers[name] = max((layers[other] + 1 for other in reads), default=0)
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

    nodes = nodes_of(uses)
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
    shared = alt.Color("shared:N", legend=None, scale=alt.Scale(domain=[True, False], range=[ACCENT.light, GRID.light]))
    marks = dots.mark_point(size=90, filled=True, stroke=ACCENT.light, strokeWidth=1.4).encode(fill=shared)
    names = dots.mark_text(align="left", dx=10, dy=-4, fontSize=11, color=TEXT.light).encode(text="name:N")
    notes = dots.mark_text(align="left", dx=10, dy=8, fontSize=9.5, color=SOFT.light).encode(text="note:N")
    height = LAYER * (max(node.layer for node in nodes.values()) + 1)
    return alt.layer(lines, marks, names, notes).properties(height=height)


def _node_row(node: Node) -> Row:
    use = node.use
    note = f"{use.distinct} for {len(use.results)} run{'s' if len(use.results) > 1 else ''}"
    shared = use.distinct < len(use.results)
    return {"x": node.lane, "y": node.layer, "name": use.name, "note": note, "shared": shared}


def seconds_chart(uses: Sequence[StageUse]) -> alt.LayerChart:
    """Seconds spent (dark) and seconds that sharing saved (pale) by stage."""
    import altair as alt

    rows: list[Row] = []
    for use in uses:
        text = duration(use.seconds)
        rows += [
            {
                "stage": use.name,
                "from": 0.0,
                "to": use.seconds,
                "kind": "spent",
                "text": text,
                "end": use.seconds + use.saved,
            }
        ]
        rows += [
            {
                "stage": use.name,
                "from": use.seconds,
                "to": use.seconds + use.saved,
                "kind": "saved",
                "text": "",
                "end": 0.0,
            }
        ]
    base = alt.Chart(charts.data(rows)).encode(y=alt.Y("stage:N", sort=None, title=None))
    colour = alt.Color(
        "kind:N", legend=None, scale=alt.Scale(domain=["spent", "saved"], range=[ACCENT.light, PALE.light])
    )
    bars = base.mark_bar(height=BAR - 8).encode(
        x=alt.X("from:Q", title="seconds; pale: saved by sharing"), x2="to:Q", color=colour
    )
    texts = base.mark_text(align="left", dx=4, fontSize=10, color=TEXT.light).encode(x="end:Q", text="text:N")
    return alt.layer(bars, texts).properties(height=alt.Step(BAR))
