"""The stages of data: raw rows become pairs; public rows become samples."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

from experiments.metrics.data import PAIRS, PUBLIC, PairsMetrics, PublicMetrics
from experiments.store.step import stage
from experiments.store.workspace import Workspace
from reer.data.pairs import Selection, Source, complete, selected
from reer.data.public import PublicRows
from reer.data.rows import Problems
from reer.files import write_json, write_rows
from reer.models.protocols import Model
from reer.prompts import PromptChoice
from reer.taxonomy import Taxonomy
from reer.types import count_reasons


@stage(PAIRS, version=3)
def pairs(
    ws: Workspace,
    *,
    source: Source,
    taxonomy: Taxonomy,
    prompts: PromptChoice,
    classifier: Model,
    selection: Selection,
) -> PairsMetrics:
    """Raw rows → Pairs. All errors of the input are found before a model is loaded."""
    problems = Problems(source.on_bad_row)
    raw = selected(source, selection, problems)
    with ExitStack() as opened:
        done = complete(raw, taxonomy, prompts, lambda: opened.enter_context(ws.replayed(classifier)))
    write_rows(ws.folder / "rows.jsonl", done.pairs)
    write_rows(ws.folder / "drops.jsonl", problems.drops)
    write_json(ws.folder / "thinking.json", done.thinking)
    return PairsMetrics(
        rows=len(done.pairs),
        dropped=count_reasons(problems.drops),
        queries_reversed=done.queries_reversed,
        queries_by_template=done.queries_by_template,
        categories_by_model=done.categories_by_model,
        categories_by_rule=done.categories_by_rule,
        categories=dict(Counter(pair.category for pair in done.pairs).most_common()),
        literature_arts=sum(taxonomy.is_literature_arts(pair.category) for pair in done.pairs),
        languages=dict(Counter(pair.language for pair in done.pairs)),
        came_with_thinking=len(done.thinking),
        composed=len(problems.composed),
        by_source=dict(Counter(pair.source for pair in done.pairs)),
    )


@stage(PUBLIC, version=1)
def public(ws: Workspace, *, source: PublicRows) -> PublicMetrics:
    """Public reasoning rows as samples."""
    problems = Problems(source.on_bad_row, key="public")
    rows = list(source.samples(problems))
    write_rows(ws.folder / "rows.jsonl", rows)
    write_rows(ws.folder / "drops.jsonl", problems.drops)
    return PublicMetrics(
        rows=len(rows),
        dropped=count_reasons(problems.drops),
        composed=len(problems.composed),
        found=dict(problems.strata.most_common()),
    )
