"""What the arms were trained on, and how the training went."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from experiments.metrics import synthesis, training
from experiments.report.page import charts
from experiments.report.page.charts import ACCENT, PALE, ROW, SOFT, TEXT, Row
from experiments.report.page.study import Study
from experiments.store.metrics import counts
from experiments.store.records import verified
from experiments.store.runs import Result
from reer.curation.transforms import Curated
from reer.text import words

if TYPE_CHECKING:
    import altair as alt

CATEGORIES = 14  # the most frequent, the others together


@dataclass(frozen=True)
class RowsView:
    """The training rows of an arm as tokens."""

    arm: str
    mixture: str
    rows: int
    trained_tokens: int
    masked_tokens: int
    longest: int
    dropped: str


@dataclass(frozen=True)
class TrainingView:
    plots: tuple[Markup, ...]
    rows: tuple[RowsView, ...]

    @property
    def drops(self) -> bool:
        """Whether any arm lost rows."""
        return any(row.dropped for row in self.rows)


@dataclass(frozen=True)
class Trajectories:
    """The trajectories that one arm may train on: their lengths in words, and how many are of each category."""

    arm: str
    words: tuple[int, ...]
    categories: Mapping[str, int]


def training_view(study: Study, colours: Mapping[str, str]) -> TrainingView:
    """Plots and tables of the training rows and the trainings of one study."""
    found = trajectories(study)
    plots = [*_losses(study, colours), *_lengths(found), *_categories(found)]
    rows = [row for name in study.arms if (row := _rows(name, study.first(name).result)) is not None]
    return TrainingView(tuple(plots), tuple(rows))


def trajectories(study: Study) -> list[Trajectories]:
    """Those of every arm that has any; a result that arms share is read once."""
    by_arm: dict[str, Trajectories] = {}
    for shared in study.distinct(synthesis.CURATE):
        rows = shared.result.rows(synthesis.CURATE, Curated)
        lengths = tuple(len(words("".join(row.segments))) for row in rows)
        categories = Counter(row.pair.category for row in rows)
        by_arm |= {arm: Trajectories(arm, lengths, categories) for arm in shared.arms if rows}
    return [by_arm[name] for name in study.arms if name in by_arm]


def _rows(name: str, result: Result) -> RowsView | None:
    m, mixed = result.metrics_of(training.RENDER), result.metrics_of(training.MIX)
    if m is None:
        return None
    mixture = counts(mixed.by_source) if mixed else ""
    dropped = counts(m.dropped) if m.dropped else ""
    return RowsView(name, mixture, m.rows, m.trained_tokens, m.masked_tokens, m.longest_row_tokens, dropped)


def _losses(study: Study, colours: Mapping[str, str]) -> list[Markup]:
    rows: list[Row] = []
    for seed, arm in study.runs():
        line, curve = f"{arm.label} s{seed}", charts.thinned(_loss(arm.result))
        rows += [{"arm": arm.label, "line": line, "x": step, "y": loss} for step, loss in curve]
    if not rows:
        return []
    last = {
        name: m.mean_loss_last_quarter
        for name in study.arms
        if (m := study.first(name).result.metrics_of(training.TRAIN))
    }
    finding = f"One line for each training; {_span({name: f'{loss:.3f}' for name, loss in last.items()})} at the end."
    return [charts.figure(loss_chart(rows, colours), "Training loss", finding)]


def _loss(result: Result) -> list[tuple[float, float]]:
    folder = result.folder_of(training.TRAIN)
    if folder is None or not Path(folder).is_dir():
        return []
    curve = verified(folder, "curve.jsonl").read_text(encoding="utf-8")
    return [(row["step"], row["loss"]) for line in curve.split("\n") if line and (row := json.loads(line))]


def loss_chart(rows: Sequence[Row], colours: Mapping[str, str]) -> alt.Chart:
    """Loss over optimizer steps, one line for each arm and seed."""
    import altair as alt

    return (
        alt.Chart(charts.data(rows))
        .mark_line(strokeWidth=1.6)
        .encode(
            x=alt.X("x:Q", title="optimizer step", axis=charts.whole_axis(rows)),
            y=alt.Y("y:Q", title="loss, nats/token", scale=alt.Scale(zero=False)),
            color=charts.arm_colour(colours),
            detail="line:N",
        )
        .properties(height=190)
    )


def _lengths(found: Sequence[Trajectories]) -> list[Markup]:
    if not found:
        return []
    rows: list[Row] = [{"arm": arm.arm, **_spread(arm.words)} for arm in found]
    medians = {arm.arm: f"{statistics.median(arm.words):.0f}" for arm in found}
    finding = f"Median, middle half and range; medians: {_span(medians)} words."
    return [charts.figure(lengths_chart(rows), "Length of the thinking", finding)]


def _spread(values: Sequence[int]) -> Mapping[str, float]:
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"low": min(values), "q1": lower, "median": median, "q3": upper, "high": max(values)}


def _span(values: Mapping[str, str]) -> str:
    """`198 (short) to 249 (full)`; one value where all are equal."""
    if len(set(values.values())) < 2:
        return "".join(set(values.values()))
    low, high = (pick(values, key=lambda name: float(values[name])) for pick in (min, max))
    return f"{values[low]} ({low}) to {values[high]} ({high})"


def lengths_chart(rows: Sequence[Row]) -> alt.LayerChart:
    """For each arm the range of lengths, the middle half as a bar, and the median."""
    import altair as alt

    base = alt.Chart(charts.data(rows)).encode(y=charts.in_order(rows, "arm"))
    x = alt.X("low:Q", title="words of a trajectory", scale=alt.Scale(zero=False))
    whole = base.mark_rule(color=SOFT.light).encode(x=x, x2="high:Q")
    half = base.mark_bar(height=11, color=PALE.light).encode(x="q1:Q", x2="q3:Q")
    middle = base.mark_tick(color=ACCENT.light, thickness=3, size=16).encode(x="median:Q")
    return charts.layered([whole, half, middle], height=alt.Step(ROW))


def _categories(found: Sequence[Trajectories]) -> list[Markup]:
    total = Counter[str]()
    for arm in found:
        total.update(arm.categories)
    kept = [name for name, _ in total.most_common(CATEGORIES)]
    rows: list[Row] = []
    for arm in found:
        rest = sum(count for name, count in arm.categories.items() if name not in kept)
        rows += [_share(arm, name, arm.categories.get(name, 0)) for name in kept]
        rows += [_share(arm, "all others", rest)] if len(total) > len(kept) else []
    if not rows:
        return []
    missing = ", ".join(arm.arm for arm in found if len(arm.categories) < len(total))
    finding = f"Rows of each category{f'; some are missing in {missing}' if missing else ''}."
    return [charts.figure(categories_chart(rows), "Categories of the thinking", finding)]


def _share(arm: Trajectories, category: str, count: int) -> Row:
    return {"arm": arm.arm, "category": category.replace("_", " "), "count": count, "share": count / len(arm.words)}


def categories_chart(rows: Sequence[Row]) -> alt.LayerChart:
    """Rows by category and arm; an area grows with the category's share of its arm."""
    import altair as alt

    base = alt.Chart(charts.data(rows)).encode(
        x=alt.X("arm:N", sort=None, title=None, axis=alt.Axis(orient="top", labelAngle=-40, labelLimit=120)),
        y=alt.Y("category:N", sort=None, title=None, axis=alt.Axis(labelLimit=130)),
    )
    size = alt.Size("share:Q", legend=None, scale=alt.Scale(domain=[0, 0.5], range=[0, 900], clamp=True))
    areas = base.mark_point(shape="circle", color=PALE.light).encode(size=size)
    numbers = base.mark_text(fontSize=10.5, color=TEXT.light).encode(text="count:Q")
    return charts.layered([areas, numbers], height=alt.Step(22))
