"""The prompts of the benchmarks with every arm's answer and verdict, ordered by the difference from the baseline."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from evals.benchmark import Item, Response, Verdict
from experiments.metrics import evaluation
from experiments.report.claims.evidence import items_in
from experiments.report.page import charts
from experiments.report.page.charts import ROW, TEXT, Row
from experiments.report.page.study import Study
from experiments.store.metrics import counts
from experiments.store.records import RECORD, verified
from experiments.store.runs import Result

if TYPE_CHECKING:
    import altair as alt

log = logging.getLogger(__name__)
CHARACTERS = 1_500_000  # of all answers on the page; each gets an equal part of it
SHORTEST = 300  # characters that a text keeps at least
TEXTS = 3  # of an answer: its thinking, itself, the verdict
OPENING = 90  # characters of a prompt in the list


@dataclass(frozen=True, kw_only=True)
class AnswerView:
    """One arm's answer at one seed. `number` is that of the arm's colour; the texts may be cut, and then say so."""

    arm: str
    number: int
    seed: int
    score: str
    change: str
    notes: str
    thinking: str
    answer: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class ItemView:
    """One prompt. `place` is that in the benchmark; `changes` are the differences from the baseline by arm, over the
    seeds, None where one of the two is unscored."""

    id: str
    place: int
    prompt: str
    opening: str
    category: str
    baseline: str
    changes: tuple[float | None, ...]
    answers: tuple[AnswerView, ...]


@dataclass(frozen=True, kw_only=True)
class BrowserView:
    """All prompts of one benchmark, those first on which the arms fall behind the baseline most. `measure` is the one
    whose differences are shown, `seeds` those whose answers are; `missing` says why prompts have no text."""

    label: str
    measure: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    items: tuple[ItemView, ...]
    missing: str
    plot: Markup | None


Scores = Mapping[str, float | None]  # item -> score


@dataclass(frozen=True)
class Answered:
    """One run's answers to one benchmark, by item. `scores` are those of the first measure."""

    arm: str
    seed: int
    responses: Mapping[str, Response]
    verdicts: Mapping[str, tuple[Verdict, ...]]
    scores: Scores
    measure: str


@dataclass(frozen=True)
class Space:
    """How many characters a text may have, and the seeds whose answers are shown."""

    characters: int
    seeds: tuple[int, ...]


def browsers(study: Study) -> list[BrowserView]:
    """One browser for each judged benchmark that any run answered."""
    answered = {label: _answered(study, label) for label in study.labels_of(evaluation.GENERATE)}
    space = space_for(sum(len(run.responses) for runs in answered.values() for run in runs), study.seeds)
    return [_browser(study, label, runs, space) for label, runs in answered.items() if runs]


def space_for(answers: int, seeds: Sequence[int]) -> Space:
    """The space of each text where this many answers share the page. If not even short ones would fit, the answers of
    the first seed alone are shown."""
    if answers * TEXTS * SHORTEST > CHARACTERS and len(seeds) > 1:
        return space_for(answers // len(seeds), seeds[:1])
    return Space(max(SHORTEST, CHARACTERS // (TEXTS * max(answers, 1))), tuple(seeds))


def _answered(study: Study, label: str) -> list[Answered]:
    runs = [_answers(arm.label, seed, arm.result, label) for seed, arm in study.runs()]
    return [run for run in runs if run is not None]


def _answers(arm: str, seed: int, result: Result, label: str) -> Answered | None:
    folder = result.folder_of(evaluation.GENERATE, label)
    if folder is None or not (folder / RECORD).is_file():
        return None
    verdicts: dict[str, tuple[Verdict, ...]] = {}
    for verdict in result.rows(evaluation.GRADE, Verdict, label):
        verdicts[verdict.item_id] = (*verdicts.get(verdict.item_id, ()), verdict)
    responses = {response.item_id: response for response in result.rows(evaluation.GENERATE, Response, label)}
    graded = result.folder_of(evaluation.GRADE, label)
    table = json.loads(verified(graded, "scores.json").read_text(encoding="utf-8")) if graded else {}
    measures, scores = first_scores(table)
    return Answered(arm, seed, responses, verdicts, scores, ", ".join(measures))


def first_scores(table: Mapping[str, Scores]) -> tuple[list[str], Scores]:
    """Each item's score by the first measure that has the item, and the measures that were used."""
    scores: dict[str, float | None] = {}
    used: list[str] = []
    for measure, column in table.items():
        new = {item: score for item, score in column.items() if item not in scores}
        used += [measure] if new else []
        scores |= new
    return used, scores


def _browser(study: Study, label: str, runs: Sequence[Answered], space: Space) -> BrowserView:
    items, missing = items_in(study.first(study.arms[0]).result, label)
    ids = dict.fromkeys(item_id for run in runs for item_id in run.responses)
    baseline = [run for run in runs if run.arm == study.baseline]
    views = [
        _item(item_id, place, items.get(item_id), study, runs, baseline, space) for place, item_id in enumerate(ids)
    ]
    return BrowserView(
        label=label,
        measure=runs[0].measure,
        arms=study.arms,
        seeds=space.seeds,
        items=tuple(sorted(views, key=_order)),
        missing=missing,
        plot=_plot(study, views, f"{label}/{runs[0].measure}"),
    )


def _order(view: ItemView) -> float:
    known = [change for change in view.changes if change is not None]
    return statistics.fmean(known) if known else 0.0


def _item(
    item_id: str,
    place: int,
    item: Item | None,
    study: Study,
    runs: Sequence[Answered],
    baseline: Sequence[Answered],
    space: Space,
) -> ItemView:
    prompt = item.prompt if item else ""
    compared = [[run for run in runs if run.arm == name] for name in study.arms]
    return ItemView(
        id=item_id,
        place=place,
        prompt=prompt,
        opening=_cut(" ".join(prompt.split()), OPENING, "…"),
        category=item.category if item else "",
        baseline=_number(_mean(baseline, item_id)),
        changes=tuple(change_of(of_arm, baseline, item_id) for of_arm in compared),
        answers=tuple(
            answer_view(run, study.arms.index(run.arm), run.responses[item_id], baseline, space.characters)
            for run in runs
            if item_id in run.responses and run.seed in space.seeds
        ),
    )


def _mean(runs: Sequence[Answered], item_id: str) -> float | None:
    """The mean score of an item over runs; None where one of them has none."""
    scores = [run.scores.get(item_id) for run in runs]
    known = [score for score in scores if score is not None]
    return statistics.fmean(known) if known and len(known) == len(scores) else None


def change_of(runs: Sequence[Answered], baseline: Sequence[Answered], item_id: str) -> float | None:
    shared = {run.seed for run in runs} & {run.seed for run in baseline}
    here, there = ([run for run in side if run.seed in shared] for side in (runs, baseline))
    one, other = _mean(here, item_id), _mean(there, item_id)
    return None if one is None or other is None else one - other


def answer_view(run: Answered, number: int, response: Response, baseline: Sequence[Answered], limit: int) -> AnswerView:
    against = [other for other in baseline if other.seed == run.seed and other is not run]
    change = change_of([run], against, response.item_id)
    notes = [f"{response.tokens} tokens", *(["cut by the limit"] if response.truncated else [])]
    notes += [] if response.closed else ["thinking not closed"]
    return AnswerView(
        arm=run.arm,
        number=number,
        seed=run.seed,
        score=_number(run.scores.get(response.item_id)),
        change="" if change is None else f"{change:+.3g}",
        notes=" · ".join(notes),
        thinking=shown(response.thinking or "", limit),
        answer=shown(response.answer, limit),
        verdict=" · ".join(_verdict(verdict, limit) for verdict in run.verdicts.get(response.item_id, ())),
    )


def _verdict(verdict: Verdict, limit: int) -> str:
    found = f"no verdict, {verdict.why}" if verdict.scores is None else counts(verdict.scores)
    return ": ".join(filter(None, [found, shown(verdict.reply, limit)]))


def _number(score: float | None) -> str:
    return "unscored" if score is None else f"{score:.3g}"


def shown(text: str, limit: int) -> str:
    return _cut(text.strip(), limit, f" … [{len(text.strip()) - limit:,} more characters]")


def _cut(text: str, limit: int, mark: str) -> str:
    return text if len(text) <= limit else text[:limit] + mark


def _plot(study: Study, views: Sequence[ItemView], measure: str) -> Markup | None:
    rows: list[Row] = [
        {"arm": name, "change": change}
        for view in views
        for name, change in zip(study.arms, view.changes, strict=True)
        if change is not None and name != study.baseline
    ]
    if not any(row["change"] for row in rows):
        return None
    better = sum(float(row["change"] or 0) > 0 for row in rows)
    worse = sum(float(row["change"] or 0) < 0 for row in rows)
    finding = (
        f"One mark for each prompt: {better} above the baseline, {worse} below, {len(rows) - better - worse} equal."
    )
    return charts.figure(changes_chart(rows), f"{measure} by prompt", finding)


def changes_chart(rows: Sequence[Row]) -> alt.LayerChart:
    """The difference of every prompt, stacked where several are equal."""
    import altair as alt

    zero = alt.Chart(charts.data([{"zero": 0}])).mark_rule(color=TEXT.light).encode(x="zero:Q")
    room = alt.Scale(padding=10)  # pixels, so that no mark reaches the names of the arms
    marks = (
        alt.Chart(charts.data(rows))
        .mark_circle(opacity=0.45, color=charts.ACCENT.light)
        .encode(
            x=alt.X("change:Q", title="difference from the baseline", axis=charts.change_axis(), scale=room),
            y=charts.in_order(rows, "arm"),
            size=alt.Size("count():Q", legend=None, scale=alt.Scale(range=[30, 260])),
        )
    )
    return charts.layered([zero, marks], height=alt.Step(ROW))
