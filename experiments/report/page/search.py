"""The searches of a study: how the score fell, where it fell, and the thinking before and after."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from markupsafe import Markup

from experiments.metrics import data, synthesis
from experiments.report.page import charts
from experiments.report.page.charts import ACCENT, GRID, SOFT, Row
from experiments.report.page.study import Shared, Study
from experiments.store.metrics import counts
from reer.types import Edit, Pair, Refinement

if TYPE_CHECKING:
    import altair as alt

PAIRS = 40  # searches in the plot of scores before and after
PAIR_HEIGHT = 11  # pixels
UNIT = "score, lower is better"


@dataclass(frozen=True)
class Search:
    """One search result and the arms that share it."""

    shared: Shared
    rows: tuple[Refinement, ...]

    @property
    def edited(self) -> bool:
        return any(row.trace() for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class SearchRow:
    """One search in figures."""

    arms: str
    pairs: int
    draft: str
    refined: str
    improved: str
    accepted: str
    stopped: str
    lost: str


@dataclass(frozen=True)
class SegmentView:
    """A segment before and after the search; one of them is empty where there are fewer segments."""

    before: str
    after: str
    changed: bool


@dataclass(frozen=True, kw_only=True)
class ExampleView:
    """One pair's thinking before and after the search. `rule` says why this pair is shown."""

    rule: str
    query: str
    solution: str
    source: str
    draft_score: float
    score: float
    segments: tuple[SegmentView, ...]


@dataclass(frozen=True)
class SearchesView:
    plots: tuple[Markup, ...]
    rows: tuple[SearchRow, ...]
    examples: tuple[ExampleView, ...]
    examples_of: str


def searches_view(study: Study, colours: Mapping[str, str]) -> SearchesView:
    """Plots, figures and examples of the searches of one study."""
    found = [Search(s, tuple(s.result.rows(synthesis.REFINE, Refinement))) for s in study.distinct(synthesis.REFINE)]
    searches = [search for search in found if search.rows]
    edited = [search for search in searches if search.edited]
    plots = [*_curves(edited, colours), *map(_before_after, edited)]
    return SearchesView(
        plots=tuple(plots),
        rows=tuple(row for search in searches if (row := _in_figures(search)) is not None),
        examples=_examples(edited[0]) if edited else (),
        examples_of=edited[0].shared.label if edited else "",
    )


def _in_figures(search: Search) -> SearchRow | None:
    m = search.shared.result.metrics_of(synthesis.REFINE)
    if m is None or m.score_draft is None or m.score_refined is None:
        return None
    return SearchRow(
        arms=", ".join(search.shared.arms),
        pairs=m.rows,
        draft=f"{m.score_draft:.4f}",
        refined=f"{m.score_refined:.4f}",
        improved=f"{m.improved_rows}/{m.rows}",
        accepted=f"{m.edits_accepted}/{m.edits}",
        stopped=counts(m.stopped),
        lost=f"{sum(m.candidates_lost.values())}/{m.candidates}",
    )


def _curves(searches: Sequence[Search], colours: Mapping[str, str]) -> list[Markup]:
    if not searches:
        return []
    scores = [row for search in searches for row in _line_rows(search, mean_score_by_edit)]
    gains = [row for search in searches for row in _line_rows(search, _mean_gain_by_segment)]
    falls = [f"{curve[0][1]:.3f} → {curve[-1][1]:.3f}" for s in searches if (curve := mean_score_by_edit(s))]
    first = _mean_gain_by_segment(searches[0])
    best = max(first, key=lambda point: point[1]) if first else (0.0, 0.0)
    return [
        charts.figure(
            line_chart(scores, colours, "edit", UNIT),
            "Score during the search",
            f"Mean over pairs after each edit: {', '.join(falls)}.",
        ),
        charts.figure(
            line_chart(gains, colours, "segment of the thinking", "score lowered by"),
            "Gain by segment",
            f"Mean gain of the edit of each segment; the largest is at segment {best[0]:.0f} ({best[1]:.3f}).",
        ),
    ]


Curve = Sequence[tuple[float, float]]


def _line_rows(search: Search, curve: Callable[[Search], Curve]) -> list[Row]:
    return [{"arm": search.shared.arms[0], "line": search.shared.label, "x": x, "y": y} for x, y in curve(search)]


def mean_score_by_edit(search: Search) -> Curve:
    """The mean score after each edit; a search that has ended keeps its last score."""
    scores = [[row.draft_score, *(edit.score for edit in _edits(row))] for row in search.rows]
    longest = max(map(len, scores))
    return [(edit, statistics.fmean(s[min(edit, len(s) - 1)] for s in scores)) for edit in range(longest)]


def _edits(row: Refinement) -> Sequence[Edit]:
    return row.edits or next((run.edits for run in row.runs if run.score == row.score), ())


def _mean_gain_by_segment(search: Search) -> Curve:
    metrics = search.shared.result.metrics_of(synthesis.REFINE)
    gains = metrics.mean_gain_by_segment if metrics else {}
    return [(int(index) + 1, gain) for index, gain in gains.items()]


def line_chart(rows: Sequence[Row], colours: Mapping[str, str], x: str, y: str) -> alt.Chart:
    """Lines by arm over whole numbers. Rows have `arm`, `line`, `x` and `y`."""
    import altair as alt

    return (
        alt.Chart(charts.data(rows))
        .mark_line(point=alt.OverlayMarkDef(size=22))
        .encode(
            x=alt.X("x:Q", title=x, axis=charts.whole_axis(rows), scale=alt.Scale(nice=False)),
            y=alt.Y("y:Q", title=y, scale=alt.Scale(zero=False)),
            color=charts.arm_colour(colours),
            detail="line:N",
        )
        .properties(height=190)
    )


def _before_after(search: Search) -> Markup:
    by_draft = sorted(search.rows, key=lambda row: row.draft_score)
    step = max(1, -(-len(by_draft) // PAIRS))
    shown = by_draft[::step]
    rows = [{"pair": i, "draft": row.draft_score, "refined": row.score} for i, row in enumerate(shown)]
    better = sum(row.score < row.draft_score for row in search.rows)
    sample = f", of which {len(shown)} at even distances are shown" if len(shown) < len(by_draft) else ""
    finding = f"{better} of {len(search.rows)} pairs improved{sample}. Hollow: draft; filled: after the search."
    return charts.figure(before_after(rows), f"Scores before and after ({search.shared.label})", finding)


def before_after(rows: Sequence[Row]) -> alt.LayerChart:
    """One line for each pair from the score of its draft to that of its result."""
    import altair as alt

    base = alt.Chart(charts.data(rows)).encode(y=alt.Y("pair:O", axis=None))
    x = alt.X("draft:Q", title=UNIT, scale=alt.Scale(zero=False))
    lines = base.mark_rule(color=GRID.light, strokeWidth=2).encode(x=x, x2="refined:Q")
    drafts = base.mark_point(filled=False, stroke=SOFT.light, size=28, strokeWidth=1.3).encode(x=x)
    refined = base.mark_point(color=ACCENT.light, size=34).encode(x="refined:Q")
    return charts.layered([lines, drafts, refined], height=alt.Step(PAIR_HEIGHT))


def _examples(search: Search) -> tuple[ExampleView, ...]:
    pairs = {pair.id: pair for pair in search.shared.result.rows(data.PAIRS, Pair)}
    known = [row for row in search.rows if row.pair_id in pairs]
    return tuple(_example(rule, pairs[row.pair_id], row) for rule, row in example_rows(known))


def example_rows(rows: Sequence[Refinement]) -> list[tuple[str, Refinement]]:
    """The searches with the best, the median and the worst gain; of fewer than three, each once."""
    by_gain = sorted(rows, key=lambda row: row.score - row.draft_score)
    places = {0: "best gain", len(rows) // 2: "median gain", len(rows) - 1: "worst gain"} if rows else {}
    return [(places[place], by_gain[place]) for place in sorted(places)]


def _example(rule: str, pair: Pair, row: Refinement) -> ExampleView:
    segments = zip_longest(row.draft, row.segments, fillvalue="")
    return ExampleView(
        rule=rule,
        query=pair.query,
        solution=pair.solution,
        source=pair.source,
        draft_score=row.draft_score,
        score=row.score,
        segments=tuple(SegmentView(before.strip(), after.strip(), before != after) for before, after in segments),
    )
