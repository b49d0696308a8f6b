"""The stages of training: the mixture, its tokens, another arm's size, and the fine-tuning."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.store.stages import Artifact, Metrics, Workspace, stage
from reer.curation.mixture import mix as mix_samples
from reer.curation.transforms import Curated
from reer.errors import InputError
from reer.files import write_rows
from reer.text import join_segments
from reer.training.chat_format import ChatFormat, Rendered
from reer.training.chat_format import render as render_samples
from reer.training.launch import fine_tune
from reer.training.matching import Match, matched, trained
from reer.training.recipe import Job, Recipe, steps_of
from reer.types import Message, Sample, count_reasons


@stage(version=2)
def mix(
    ws: Workspace,
    *,
    seed: int,
    synthetic_rows: int,
    public_rows: int,
    without_thinking: Sequence[str],
    **parts: Artifact,
) -> Metrics:
    """The training mixture, by stated sizes."""
    samples = {
        name: part.rows(Sample) if name == "public" else [_sample(row) for row in part.rows(Curated)]
        for name, part in parts.items()
    }
    sizes = {"synthetic": synthetic_rows, "public": public_rows}
    rows = mix_samples(samples, sizes, seed, without_thinking)
    write_rows(ws.folder / "rows.jsonl", rows)
    return {
        "rows": len(rows),
        "by_source": dict(Counter("public" if r.category == "reasoning" else "synthetic" for r in rows)),
        "with_thinking": sum(bool(row.thinking) and not row.without_thinking for row in rows),
    }


def _sample(row: Curated) -> Sample:
    turns = (Message("user", row.pair.query), Message("assistant", row.pair.solution))
    return Sample(
        row.pair.id, turns, row.pair.source, row.pair.category, join_segments(row.segments), row.pair.solution
    )


@stage(version=2)
def render(ws: Workspace, *, mixed: Artifact, student: Any, chat_format: ChatFormat, max_length: int) -> Metrics:
    """Samples as tokens with labels; fails if a token were lost."""
    from transformers import AutoTokenizer

    out = render_samples(mixed.rows(Sample), AutoTokenizer.from_pretrained(student.fetch()), chat_format, max_length)
    if not out.rows:
        raise InputError(f"nothing to train on: all rows were dropped ({count_reasons(out.dropped)})")
    write_rows(ws.folder / "rows.jsonl", out.rows)
    write_rows(ws.folder / "drops.jsonl", out.dropped)
    lengths = sorted(len(row.input_ids) for row in out.rows)
    return {
        "rows": len(out.rows),
        "dropped": count_reasons(out.dropped),
        "trained_tokens": out.trained_tokens,
        "masked_tokens": out.masked_tokens,
        "truncated_rows": out.truncated_rows,
        "longest_row_tokens": lengths[-1],
        "median_row_tokens": lengths[len(lengths) // 2],
        "row_tokens": histogram(lengths),
    }


@stage(version=1)
def match(ws: Workspace, *, rendered: Artifact, target: Artifact, match: Match, global_batch: int) -> Metrics:
    """The rows of this arm, left out or repeated until they match another arm's."""
    have, wanted = rendered.rows(Rendered), target.rows(Rendered)
    rows = matched(have, wanted, match, global_batch)
    write_rows(ws.folder / "rows.jsonl", rows)
    times = Counter(row.id for row in rows)
    return {
        "rows": len(rows),
        "rows_before": len(have),
        "rows_of_target": len(wanted),
        "left_out_rows": sum(row.id not in times for row in have),
        "repeats_of_a_row": max(times.values()),
        "trained_tokens": sum(map(trained, rows)),
        "trained_tokens_of_target": sum(map(trained, wanted)),
        "masked_tokens": sum(len(row.labels) - trained(row) for row in rows),
        "longest_row_tokens": max(len(row.labels) for row in rows),
    }


def histogram(lengths: Sequence[int]) -> dict[str, int]:
    """How many rows are up to each power of two long, from the shortest power that holds a row."""
    found = Counter(1 << max(0, length - 1).bit_length() for length in lengths)
    return {f"<= {bound}": found[bound] for bound in sorted(found)}


@stage(version=2)
def train(ws: Workspace, *, rendered: Artifact, student: Any, recipe: Recipe, seed: int) -> Metrics:
    """Fine-tune the student; resumes from the newest complete checkpoint."""
    rows = rendered.rows(Rendered)
    total = steps_of(len(rows), recipe)

    def on_log(row: Mapping[str, float]) -> None:
        ws.curve(row)
        ws.progress(f"optimizer steps ({row['tokens_per_second']:.3g} tokens/s)", int(row["step"]), total)

    parallelism = ws.runtime.parallelism
    job = Job(str(student.fetch()), str(rendered.path / "rows.jsonl"), recipe, seed, parallelism, str(ws.folder))
    out = fine_tune(job, on_log)
    write_rows(ws.folder / "curve.jsonl", out.curve)
    losses = [row["loss"] for row in out.curve]
    return {
        "rows": len(rows),
        "steps": out.steps,
        "resumed_from_step": out.resumed_from,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "mean_loss_last_quarter": statistics.fmean(losses[-max(1, len(losses) // 4) :]),
        "trained_tokens": int(recipe.epochs * sum(label >= 0 for row in rows for label in row.labels)),
        "tokens_per_second": statistics.median(row["tokens_per_second"] for row in out.curve),
        "memory_gib": max(row["memory_gib"] for row in out.curve),
        "processes": parallelism.processes,
    }
