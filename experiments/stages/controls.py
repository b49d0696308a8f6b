"""The stages that ask what the thinking is worth: it is replaced before the training, or measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from experiments.metrics.controls import CONTROL, TOKENS_WITHIN, ControlMetrics
from experiments.store.step import Artifact, stage
from experiments.store.workspace import Workspace
from reer.curation.controls import Controlled, ThinkingControl, true_pairs
from reer.curation.markers import Markers
from reer.curation.mixture import member_order
from reer.curation.transforms import Curated
from reer.files import write_rows
from reer.models.local.checkpoints import Checkpoint
from reer.models.local.tokens import load_tokenizer
from reer.text import join_segments, words


@stage(CONTROL, version=1)
def control(
    ws: Workspace,
    *,
    curated: Artifact,
    control: ThinkingControl,
    student: Checkpoint,
    markers: Markers,
    rows: int,
    seed: int,
) -> ControlMetrics:
    """The rows that the mixture will take, with their thinking replaced. `rows` and `seed` are the mixture's, so that
    thinkings are exchanged among rows that are trained on. Raises RuntimeError where the control has no effect or
    changes the amount of thinking."""
    before = sorted(curated.rows(Curated), key=lambda row: member_order(seed, row.pair.id))[:rows]
    tokenizer = load_tokenizer(student.fetch())

    def tokens(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    out = control.applied(before, tokens)
    write_rows(ws.folder / "rows.jsonl", out.rows)
    metrics = control_metrics(before, out, tokens, markers)
    if metrics.true_pairs > metrics.unchangeable:
        raise RuntimeError(f"a control had no effect: {metrics.headline()}, wanted none; look at {ws.folder}")
    if abs(metrics.tokens_after - metrics.tokens_before) > TOKENS_WITHIN * metrics.tokens_before:
        raise RuntimeError(
            f"a control changed the amount of thinking: {metrics.headline()}, wanted within {TOKENS_WITHIN:.0%}; look "
            f"at {ws.folder}"
        )
    return metrics


def control_metrics(
    before: list[Curated], out: Controlled, tokens: Callable[[str], int], markers: Markers
) -> ControlMetrics:
    """The measurements of replaced thinking beside the thinking before."""
    texts = [join_segments(row.segments) for row in out.rows]
    return ControlMetrics(
        rows=len(out.rows),
        true_pairs=true_pairs(before, out.rows),
        unchangeable=out.unchangeable,
        tokens_before=sum(tokens(join_segments(row.segments)) for row in before),
        tokens_after=sum(map(tokens, texts)),
        mean_words=statistics.fmean(len(words(text)) for text in texts) if texts else 0.0,
        reflection_markers=sum(map(markers.count, texts)),
        exceptions=out.exceptions,
    )
