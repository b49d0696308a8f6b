"""Arms side by side: the comparison table, what differs from the baseline, and a self-contained HTML page.

Model text is hostile: everything is escaped, and the page forbids scripts and outside resources.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evals.benchmark import ItemScores, Response, Verdict
from evals.statistics import Difference, holm, paired_difference
from experiments.curves import Line, line_chart
from experiments.files import read_rows
from experiments.identity import difference
from experiments.record import Result, confounds
from reer.text import join_segments
from reer.types import InputError, Pair, Refinement

TEMPLATE = Path(__file__).parent / "report.html.j2"
AFTER_RENDERING = ("student", "train", "seed", "scale", "benchmark", "judge")
EXAMPLES = 3


@dataclass(frozen=True)
class Cell:
    """One measure of one arm and its paired difference from the baseline: None for the baseline itself, and where
    either side's score is withheld."""

    measure: Mapping[str, Any] | None
    difference: Difference | None


@dataclass(frozen=True)
class Arm:
    """One row of the comparison: what was changed, what came with it, what it scored."""

    result: Result
    is_baseline: bool
    changed: tuple[str, ...]
    confounds: Mapping[str, Any]
    cells: Mapping[str, Cell]
    idle: bool


@dataclass(frozen=True)
class Comparison:
    """Arms of one scale and seed, the baseline first."""

    scale: str
    seed: int
    measures: tuple[str, ...]
    arms: tuple[Arm, ...]
    cautions: tuple[str, ...]


def compare(results: Sequence[Result]) -> list[Comparison]:
    """One comparison for each scale and seed among the results. Raises InputError without any result."""
    if not results:
        raise InputError("nothing to compare: no run has finished here; start one with `reer run`")
    groups: dict[tuple[str, int], list[Result]] = {}
    for result in results:
        groups.setdefault((result.scale, result.seed), []).append(result)
    return [_comparison(scale, seed, group) for (scale, seed), group in groups.items()]


def _comparison(scale: str, seed: int, results: Sequence[Result]) -> Comparison:
    common = set.intersection(*(set(r.name.split("+")[1:]) for r in results))  # what all arms are crossed with
    baseline = next((r for r in results if r.name == "+".join([r.baseline, *sorted(common)])), None)
    ordered = sorted(results, key=lambda r: (r is not baseline,))
    names = tuple(dict.fromkeys(name for r in ordered for name in r.measures()))
    arms = _corrected([_arm(r, baseline, names) for r in ordered], names)
    return Comparison(scale, seed, names, arms, tuple(dict.fromkeys(r.caution for r in ordered if r.caution)))


def _corrected(arms: Sequence[Arm], names: Sequence[str]) -> tuple[Arm, ...]:
    """The arms with each measure's p corrected for how many arms it is read of."""
    cells = [dict(arm.cells) for arm in arms]
    for name in names:
        told = [(row, d) for row in cells if (d := row[name].difference) is not None and d.p is not None]
        for (row, found), p in zip(told, holm([d.p or 0.0 for _, d in told]), strict=True):
            row[name] = replace(row[name], difference=replace(found, p_holm=p))
    return tuple(replace(arm, cells=row) for arm, row in zip(arms, cells, strict=True))


def _arm(result: Result, baseline: Result | None, names: Sequence[str]) -> Arm:
    is_baseline = result is baseline
    changed: list[str] = []
    if baseline is not None and not is_baseline:
        changed = [d for d in difference(dict(baseline.identity), dict(result.identity)) if not d.startswith("name:")]
    against = baseline if baseline is not None and not is_baseline else None
    mine, theirs = (item_table(run) if run else {} for run in (result, against))
    cells = {}
    for name in names:
        measures = [run.measures().get(name) if run else None for run in (result, against)]
        shown = all(measure is not None and measure["value"] is not None for measure in measures)
        change = paired_difference(mine.get(name, {}), theirs.get(name, {})) if shown else None
        cells[name] = Cell(measures[0], change)
    return Arm(
        result, is_baseline, tuple(changed), confounds(result), cells, against is not None and idle(result, against)
    )


def idle(result: Result, baseline: Result) -> bool:
    """True if an arm that changes what is trained on ended up training on the baseline's very tokens."""
    later = any(result.identity.get(part) != baseline.identity.get(part) for part in AFTER_RENDERING)
    return not later and training_data(result) == training_data(baseline)


def training_data(result: Result) -> str | None:
    """sha256 of the rows a run trained on: an ablation that left them as they were did not bite."""
    folder = result.folder("match") or result.folder("render")
    return hashlib.sha256((folder / "rows.jsonl").read_bytes()).hexdigest() if folder else None


def item_table(result: Result) -> ItemScores:
    """measure name → item → score, over all benchmarks of a run."""
    table: ItemScores = {}
    for name, step in result.steps.items():
        if "measures" in step["metrics"]:
            scores = json.loads((Path(step["path"]) / "scores.json").read_text(encoding="utf-8"))
            prefix = step["metrics"]["measures"][0]["name"].split("/")[0] if step["metrics"]["measures"] else name
            table |= {f"{prefix}/{metric}": column for metric, column in scores.items()}
    return table


def difference_text(d: Difference | None) -> str:
    """`+0.40 [-0.10, +0.90] p=0.12 (0.36) n=14 ≥0.7`: in brackets Holm's, at the end what could have been detected."""
    if d is None:
        return ""
    if d.low is None or d.detectable is None:
        return f"{d.mean:+.3g} n={d.items}"
    family = "" if d.p_holm is None else f" ({d.p_holm:.2g})"
    return f"{d.mean:+.3g} [{d.low:+.3g}, {d.high:+.3g}] p={d.p:.2g}{family} n={d.items} ≥{d.detectable:.2g}"


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
            "comparison": c, "chart": Markup(loss_chart(c)), "examples": examples(c.arms[0].result),
            "refinements": refinements(c.arms[0].result), "answers": answers_side_by_side(c),
            "categories": c.arms[0].result.metrics("pairs").get("categories", {}),
        }
        for c in comparisons
    ]  # fmt: skip
    page = environment.get_template(TEMPLATE.name).render(views=views, difference_text=difference_text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path
