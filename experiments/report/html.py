"""Arms side by side as a self-contained HTML page.

Model text is hostile: everything is escaped, and the page forbids scripts and outside resources.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.benchmark import Response, Verdict
from experiments.report import wording
from experiments.report.charts import Line, line_chart
from experiments.report.compare import Comparison
from experiments.report.tables import health_tables
from experiments.store.runs import Result
from reer.files import read_rows
from reer.text import join_segments
from reer.types import Pair, Refinement

TEMPLATE = Path(__file__).parent / "report.html.j2"
EXAMPLES = 3


@dataclass(frozen=True)
class Example:
    """One pair's thinking before and after the search."""

    pair: Pair
    refinement: Refinement
    before: str
    after: str


def examples(result: Result) -> list[Example]:
    """The pairs whose score the search improved most."""
    refined, pairs = result.folder("refine"), result.folder("pairs")
    if refined is None or pairs is None:
        return []
    by_id = {pair.id: pair for pair in read_rows(pairs / "rows.jsonl", Pair)}
    rows = read_rows(refined / "rows.jsonl", Refinement)
    best = sorted(rows, key=lambda row: row.score - row.draft_score)[:EXAMPLES]
    return [Example(by_id[r.pair_id], r, join_segments(r.draft), join_segments(r.segments)) for r in best]


def refinements(result: Result) -> list[Refinement]:
    """All searches of a run."""
    folder = result.folder("refine")
    return read_rows(folder / "rows.jsonl", Refinement) if folder else []


@dataclass(frozen=True)
class Answers:
    """One prompt and what each arm answered to it."""

    item_id: str
    answers: tuple[tuple[str, Response, Verdict | None], ...]


def answers_side_by_side(comparison: Comparison) -> list[Answers]:
    """The first items of the first judged benchmark, every arm's response beside its verdict."""
    table: dict[str, list[tuple[str, Response, Verdict | None]]] = {}
    for arm in comparison.arms:
        step = next((name for name in arm.result.steps if name.startswith("generate:")), None)
        if step is None:
            continue
        graded = arm.result.folder(step.replace("generate:", "grade:"))
        verdicts = {v.item_id: v for v in read_rows(graded / "rows.jsonl", Verdict)} if graded else {}
        responses = read_rows(Path(arm.result.steps[step]["path"]) / "rows.jsonl", Response)
        for response in responses[:EXAMPLES]:
            table.setdefault(response.item_id, []).append((arm.result.name, response, verdicts.get(response.item_id)))
    return [Answers(item_id, tuple(rows)) for item_id, rows in table.items()]


def loss_chart(comparison: Comparison) -> str:
    """Training loss of every arm over optimizer steps, as SVG."""
    lines = []
    for arm in comparison.arms:
        folder = arm.result.folder("train")
        if folder is not None:
            rows = [json.loads(row) for row in (folder / "curve.jsonl").read_text(encoding="utf-8").split("\n") if row]
            lines.append(Line(arm.result.name, tuple((row["step"], row["loss"]) for row in rows)))
    return line_chart(lines, "optimizer step", "loss, nats/token")


def report_name(results: Sequence[Result]) -> str:
    """The file name of these runs' page."""
    return "report.html" if len(results) > 1 else f"report-{results[0].run_name.replace('/', '-')}.html"


def write_html(comparisons: Sequence[Comparison], path: Path) -> Path:
    """The page for these comparisons; returns its path."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    loader = FileSystemLoader(TEMPLATE.parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    views = [
        {
            "comparison": c,
            "chart": Markup(loss_chart(c)),
            "examples": examples(c.arms[0].result),
            "refinements": refinements(c.arms[0].result),
            "answers": answers_side_by_side(c),
            "categories": c.arms[0].result.metrics("pairs").get("categories", {}),
            "health": health_tables(c),
        }
        for c in comparisons
    ]
    page = environment.get_template(TEMPLATE.name).render(views=views, wording=wording)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path
