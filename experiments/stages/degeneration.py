"""The stage that compares how a model is asked with how it was trained."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.metrics.degeneration import TEMPLATE, TemplateMetrics
from experiments.store.step import Artifact, stage
from experiments.store.workspace import Workspace
from reer.files import write_rows
from reer.models.local.tokens import Tokens, load_tokenizer
from reer.models.protocols import Prompt
from reer.training.chat_format import MASKED, Rendered
from reer.types import Sample

ROWS = 64  # a template is the same for all rows


@dataclass(frozen=True)
class ComparedRow:
    """A training row beside the saved model; see `TemplateMetrics`."""

    id: str
    asked_otherwise: bool
    without_end: bool


@stage(TEMPLATE, version=1)
def template(ws: Workspace, *, trained: Artifact, mixed: Artifact, rendered: Artifact) -> TemplateMetrics:
    """Whether the trained model is asked in the template of its training rows, and was taught a token that ends its
    answers. Where either fails, a model may repeat itself without end (REER_DeepWriter, issue 2)."""
    folder = trained.file("model")
    tokenizer = load_tokenizer(folder)
    tokens, ends = Tokens(tokenizer), end_tokens(folder, tokenizer)
    prompts = {row.id: Prompt(row.messages[:-1]) for row in mixed.rows(Sample)}
    rows = [_compared(row, tokens.context_ids(prompts[row.id]), ends) for row in rendered.rows(Rendered)[:ROWS]]
    write_rows(ws.folder / "rows.jsonl", rows)
    return TemplateMetrics(
        rows=len(rows),
        asked_otherwise=sum(row.asked_otherwise for row in rows),
        without_end=sum(row.without_end for row in rows),
    )


def _compared(row: Rendered, asked: Sequence[int], ends: Collection[int]) -> ComparedRow:
    trained = [token for token, label in zip(row.input_ids, row.labels, strict=True) if label == MASKED]
    return ComparedRow(row.id, asked_otherwise=trained != asked, without_end=row.labels[-1] not in ends)


def end_tokens(folder: Path, tokenizer: Any) -> set[int]:
    """The tokens that end an answer of a saved model."""
    stated = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    return {tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated])} - {None}
