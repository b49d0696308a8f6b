"""The stages of data: raw rows become pairs; public rows become samples."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from experiments.store.stages import Metrics, Workspace, stage
from experiments.workers.models import replayed
from reer.data.pairs import Selection, complete, select
from reer.data.rows import Problems
from reer.files import write_json, write_rows
from reer.prompts import Prompts
from reer.taxonomy import Taxonomy
from reer.types import count_reasons


@stage(version=2)
def pairs(
    ws: Workspace,
    *,
    source: Any,
    taxonomy: Taxonomy,
    prompts: Prompts,
    classifier: Any,
    pairs: int | None,
    min_words: int,
    max_words: int,
) -> Metrics:
    """Raw rows → Pairs. Everything that can be wrong with the input is found before a model is loaded."""
    problems = Problems(source.on_bad_row)
    raw = select(source.rows(problems), Selection(pairs, min_words, max_words), source.min_votes, problems)
    with ExitStack() as opened:
        done = complete(raw, taxonomy, prompts, lambda: opened.enter_context(replayed(ws, classifier)))
    write_rows(ws.folder / "rows.jsonl", done.pairs)
    write_rows(ws.folder / "drops.jsonl", problems.drops)
    write_json(ws.folder / "thinking.json", done.thinking)
    filled = asdict(done)
    del filled["pairs"], filled["thinking"]
    return {
        "rows": len(done.pairs),
        "dropped": count_reasons(problems.drops),
        **filled,
        "categories": dict(Counter(pair.category for pair in done.pairs).most_common()),
        "literature_arts": sum(taxonomy.is_literature_arts(pair.category) for pair in done.pairs),
        "languages": dict(Counter(pair.language for pair in done.pairs)),
        "came_with_thinking": len(done.thinking),
    }


@stage(version=1)
def public(ws: Workspace, *, source: Any) -> Metrics:
    """Public reasoning rows as samples."""
    problems = Problems(source.on_bad_row)
    rows = list(source.samples(problems))
    write_rows(ws.folder / "rows.jsonl", rows)
    write_rows(ws.folder / "drops.jsonl", problems.drops)
    return {"rows": len(rows), "dropped": count_reasons(problems.drops)}
