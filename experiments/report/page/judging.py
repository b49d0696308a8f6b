"""How far the judge can be trusted, and what is wrong with the answers beside their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from experiments.metrics import evaluation, probes
from experiments.report.page import charts
from experiments.report.page.charts import ROW, SOFT, TEXT, WORSE, Row
from experiments.report.page.study import Study
from experiments.report.tables import ProbeTable, probe_tables
from experiments.store.metrics import counts

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True)
class UnscoredView:
    """Verdicts of one run that could not be read, by reason."""

    run: str
    benchmark: str
    scored: str
    reasons: str
    asked_again: int


@dataclass(frozen=True)
class ProbeView:
    """A probe: the numbers in which arms differ, those they share, and notes."""

    title: str
    arms: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    shared: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class JudgeView:
    """`all_scored` says it in a sentence where no verdict is unscored."""

    plots: tuple[Markup, ...]
    unscored: tuple[UnscoredView, ...]
    all_scored: str
    probes: tuple[ProbeView, ...]


def judge_view(study: Study) -> JudgeView:
    """Judge health and probes of one study; the probes are those of the first seed."""
    unscored = tuple(_unscored(study))
    return JudgeView(
        plots=tuple(plot for label in study.labels_of(probes.RELIABILITY) if (plot := _null_answers(study, label))),
        unscored=unscored,
        all_scored="" if unscored else _all_scored(study),
        probes=tuple(_probe(table) for table in probe_tables(study.comparisons[0])),
    )


def _probe(table: ProbeTable) -> ProbeView:
    rows, shared = table.compact()
    return ProbeView(
        table.title, table.arms, tuple((label, *cells) for label, cells in rows), tuple(shared), table.notes
    )


def _unscored(study: Study) -> list[UnscoredView]:
    rows: list[UnscoredView] = []
    for _, arm in study.runs():
        for label, metrics in arm.result.all_metrics_of(evaluation.GRADE).items():
            if metrics.unscored or metrics.asked_again:
                scored = ", ".join(f"{m.metric} {m.scored}/{m.total}" for m in metrics.measures)
                row = (arm.result.run_name, label, scored, counts(metrics.unscored), metrics.asked_again)
                rows.append(UnscoredView(*row))
    return rows


def _all_scored(study: Study) -> str:
    graded = [m for _, arm in study.runs() for m in arm.result.all_metrics_of(evaluation.GRADE).values()]
    judgements = sum(metrics.judgements for metrics in graded)
    return f"All {judgements} verdicts could be read at the first attempt." if judgements else ""


def _null_answers(study: Study, label: str) -> Markup | None:
    rows: list[Row] = []
    fooled: dict[str, bool] = {}
    for _, arm in study.runs():
        metrics = arm.result.metrics_of(probes.RELIABILITY, label)
        for kind, null in (metrics.null_answers if metrics else {}).items():
            fools = metrics is not None and kind in metrics.fooled_by
            fooled[kind] = fooled.get(kind, False) or fools
            if null.score is not None:
                rows.append({"kind": kind.replace("_", " "), "score": null.score, "fools": fools})
    if not rows:
        return None
    fooling = [kind.replace("_", " ") for kind, fools in fooled.items() if fools]
    finding = f"Fooled by: {', '.join(fooling)}." if fooling else "None scores as high as the answers."
    means = [e.score for e in study.effects(_first_measure(study, label)) if e.score is not None]
    chart = null_answers_chart(rows, [{"mean": mean} for mean in means])
    title = f"{label}: scores of answers without content"
    return charts.figure(chart, title, f"One mark for each run; lines: the arms’ mean scores. {finding}")


def _first_measure(study: Study, label: str) -> str:
    return next((name for name in study.measures if name.startswith(f"{label}/")), "")


def null_answers_chart(rows: Sequence[Row], means: Sequence[Mapping[str, float]]) -> alt.LayerChart:
    """Scores of null answers by kind; those that fool the judge are marked."""
    import altair as alt

    lines = alt.Chart(charts.data(means)).mark_rule(color=SOFT.light, strokeDash=[2, 3], opacity=0.7).encode(x="mean:Q")
    colour = alt.Color("fools:N", legend=None, scale=alt.Scale(domain=[True, False], range=[WORSE.light, TEXT.light]))
    marks = (
        alt.Chart(charts.data(rows))
        .mark_circle(size=60, opacity=0.5)
        .encode(
            x=alt.X("score:Q", title="mean score", scale=alt.Scale(zero=False, padding=10)),
            y=charts.in_order(rows, "kind"),
            color=colour,
        )
    )
    return charts.layered([lines, marks], height=alt.Step(ROW))
