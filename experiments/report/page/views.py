"""Everything the HTML page shows, as plain records: the template only lays them out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.benchmark import Measure, Response, Verdict
from evals.statistics.paired import Difference
from experiments.report import formatting
from experiments.report.compare import Arm, Cell, Comparison, SeedsComparison
from experiments.report.page.charts import Line, line_chart
from experiments.report.tables import ProbeTable, TableView, confound_table, probe_tables
from experiments.stages import data, evaluation, synthesis, training
from experiments.stages.evaluation import bounds_text
from experiments.store.metrics import counts
from experiments.store.records import verified
from experiments.store.runs import Result
from reer.text import join_segments
from reer.types import Pair, Refinement

EXAMPLES = 3
SEARCHES = 40  # rows of the table of searches
BAR_PIXELS, LONGEST_BAR_PIXELS = 18, 420


@dataclass(frozen=True, kw_only=True)
class ScoreView:
    """One cell of a score table. `finding` is also the CSS class of `finding_text`."""

    score: str
    coverage: str
    published: str = ""
    difference: str = ""
    finding: str = ""
    finding_text: str = ""


@dataclass(frozen=True)
class ArmView:
    """One row of a score table."""

    name: str
    is_baseline: bool
    cells: tuple[ScoreView, ...]


@dataclass(frozen=True)
class SeedsView:
    """The comparison over seeds."""

    seeds: str
    left_out: tuple[str, ...]
    arms: tuple[ArmView, ...]


@dataclass(frozen=True)
class ChangeView:
    """What an arm changed against the baseline."""

    name: str
    changed: tuple[str, ...]
    no_op: bool


@dataclass(frozen=True, kw_only=True)
class SearchView:
    """One search: the scores of its draft and its result."""

    pair_id: str
    draft_score: float
    score: float
    segments: int
    edits: int
    accepted: int
    stopped: str


@dataclass(frozen=True)
class CategoryView:
    """A category, the number of its pairs, and the width of its bar."""

    name: str
    count: int
    pixels: int


@dataclass(frozen=True, kw_only=True)
class ExampleView:
    """One pair's thinking before and after the search."""

    query: str
    solution: str
    source: str
    draft_score: float
    score: float
    before: str
    after: str


@dataclass(frozen=True)
class AnswerView:
    """The answer of one arm, with what is known of it as a heading."""

    heading: str
    text: str


@dataclass(frozen=True)
class AnswersView:
    """One item of a benchmark and the answer of each arm."""

    item_id: str
    answers: tuple[AnswerView, ...]


@dataclass(frozen=True, kw_only=True)
class ComparisonView:
    """One section of the page: the arms of one scale and seed. `chart` is SVG."""

    scale: str
    seed: int
    cautions: tuple[str, ...]
    measures: tuple[str, ...]
    arms: tuple[ArmView, ...]
    over_seeds: SeedsView | None
    changes: tuple[ChangeView, ...]
    confounds: TableView
    probes: tuple[ProbeTable, ...]
    rendered: TableView
    chart: str
    searched_arm: str
    searches: tuple[SearchView, ...]
    categories: tuple[CategoryView, ...]
    examples: tuple[ExampleView, ...]
    answers: tuple[AnswersView, ...]


def view_of(comparison: Comparison) -> ComparisonView:
    """The section of one comparison. Searches, categories and examples are those of the first arm."""
    first, arms, measures = comparison.arms[0], comparison.arms, comparison.measures
    rows = refinements(first.result)
    return ComparisonView(
        scale=comparison.scale,
        seed=comparison.seed,
        cautions=comparison.cautions,
        measures=measures,
        arms=tuple(ArmView(a.name, a.is_baseline, tuple(_score(a.cells[m]) for m in measures)) for a in arms),
        over_seeds=_over_seeds(comparison.over_seeds) if comparison.over_seeds else None,
        changes=tuple(ChangeView(a.name, a.changed, a.no_op) for a in arms if not a.is_baseline),
        confounds=confound_table(comparison),
        probes=tuple(probe_tables(comparison)),
        rendered=_rendered(arms),
        chart=loss_chart(comparison),
        searched_arm=first.name,
        searches=tuple(_search(row) for row in rows[:SEARCHES]),
        categories=_categories(first.result),
        examples=_examples(first.result, rows),
        answers=answers_side_by_side(comparison),
    )


def _score(cell: Cell) -> ScoreView:
    score, coverage = _score_texts(cell.measure)
    return ScoreView(
        score=score,
        coverage=coverage,
        published=formatting.published_text(cell.published),
        **_difference_texts(cell.difference),
    )


def _score_texts(measure: Measure | None) -> tuple[str, str]:
    """The score, empty where there is none, and how much of the benchmark it covers."""
    if measure is None:
        return "", "not run"
    cover = f"{measure.scored}/{measure.total}{bounds_text(measure)}"
    if measure.value is not None:
        return f"{measure.value:.4g}", cover
    if measure.mean_of_scored is not None:
        return "", f"withheld: {measure.mean_of_scored:.4g} of {cover} scored"
    return "", f"unscored 0/{measure.total}"


def _difference_texts(difference: Difference | None) -> dict[str, str]:
    return {
        "difference": formatting.difference_text(difference),
        "finding": (difference.finding if difference else None) or "",
        "finding_text": formatting.finding_text(difference),
    }


def _over_seeds(comparison: SeedsComparison) -> SeedsView:
    arms: list[ArmView] = []
    for arm in comparison.arms:
        cells = [arm.cells[name] for name in comparison.measures]
        views = [
            ScoreView(score=formatting.seeds_text(c), coverage="", **_difference_texts(c.difference)) for c in cells
        ]
        arms.append(ArmView(arm.name, arm.is_baseline, tuple(views)))
    return SeedsView(", ".join(map(str, comparison.seeds)), comparison.left_out, tuple(arms))


def _rendered(arms: Sequence[Arm]) -> TableView:
    """The training rows of each arm as tokens."""
    rows: list[tuple[str, ...]] = []
    for arm in arms:
        m = arm.result.metrics_of(training.render)
        if m is not None:
            sizes = (m.rows, m.trained_tokens, m.masked_tokens, m.longest_row_tokens, m.truncated_rows)
            rows.append((arm.name, *map(str, sizes), counts(m.dropped), counts(m.row_tokens)))
    columns = ("arm", "rows", "trained tokens", "masked tokens", "longest row", "truncated rows", "dropped, by reason")
    return TableView((*columns, "rows by length in tokens"), tuple(rows))


def loss_chart(comparison: Comparison) -> str:
    """Training loss of every arm over optimizer steps, as SVG."""
    lines: list[Line] = []
    for arm in comparison.arms:
        folder = arm.result.folder_of(training.train)
        if folder is not None:
            curve = verified(folder, "curve.jsonl").read_text(encoding="utf-8")
            rows = [json.loads(row) for row in curve.split("\n") if row]
            lines.append(Line(arm.name, tuple((row["step"], row["loss"]) for row in rows)))
    return line_chart(lines, "optimizer step", "loss, nats/token")


def refinements(result: Result) -> list[Refinement]:
    """All searches of a run."""
    return result.rows(synthesis.refine, Refinement)


def _search(row: Refinement) -> SearchView:
    return SearchView(
        pair_id=row.pair_id,
        draft_score=row.draft_score,
        score=row.score,
        segments=len(row.segments),
        edits=len(row.trace()),
        accepted=sum(edit.chosen is not None for edit in row.trace()),
        stopped=row.stopped,
    )


def _categories(result: Result) -> tuple[CategoryView, ...]:
    metrics = result.metrics_of(data.pairs)
    by_name: Mapping[str, int] = metrics.categories if metrics else {}
    return tuple(CategoryView(k, n, min(n * BAR_PIXELS, LONGEST_BAR_PIXELS)) for k, n in by_name.items())


def _examples(result: Result, rows: Sequence[Refinement]) -> tuple[ExampleView, ...]:
    """The pairs whose score the search improved most."""
    pairs = {pair.id: pair for pair in result.rows(data.pairs, Pair)}
    if not pairs:
        return ()
    best = sorted(rows, key=lambda row: row.score - row.draft_score)[:EXAMPLES]
    return tuple(_example(pairs[row.pair_id], row) for row in best)


def _example(pair: Pair, row: Refinement) -> ExampleView:
    return ExampleView(
        query=pair.query,
        solution=pair.solution,
        source=pair.source,
        draft_score=row.draft_score,
        score=row.score,
        before=join_segments(row.draft),
        after=join_segments(row.segments),
    )


def answers_side_by_side(comparison: Comparison) -> tuple[AnswersView, ...]:
    """The first items of the first judged benchmark, every arm's response beside its verdict."""
    table: dict[str, list[AnswerView]] = {}
    for arm in comparison.arms:
        label = next(iter(arm.result.labels_of(evaluation.generate)), "")
        verdicts = {v.item_id: v for v in arm.result.rows(evaluation.grade, Verdict, label)}
        for response in arm.result.rows(evaluation.generate, Response, label)[:EXAMPLES]:
            heading = _answer_heading(arm.name, response, verdicts.get(response.item_id))
            table.setdefault(response.item_id, []).append(AnswerView(heading, response.text))
    return tuple(AnswersView(item_id, tuple(answers)) for item_id, answers in table.items())


def _answer_heading(arm: str, response: Response, verdict: Verdict | None) -> str:
    parts = [arm, f"{response.tokens} tokens"]
    parts += ["truncated"] if response.truncated else []
    parts += [] if response.closed else ["thinking unclosed"]
    if verdict is not None:
        parts.append(f"judged {counts(verdict.scores)}" if verdict.scores else f"unscored: {verdict.why}")
    return " · ".join(parts)
