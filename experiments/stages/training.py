"""The stages of training: the mixture, its tokens, matching to another arm's size, and the fine-tuning."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from experiments.metrics.training import (
    MATCH,
    MIX,
    RENDER,
    TRAIN,
    MatchMetrics,
    MixMetrics,
    RenderMetrics,
    TrainMetrics,
)
from experiments.store.metrics import counts
from experiments.store.step import Artifact, stage
from experiments.store.workspace import Workspace
from reer.curation.markers import Markers
from reer.curation.mixture import mix as mix_samples
from reer.curation.transforms import Curated
from reer.errors import InputError
from reer.files import write_rows
from reer.models.local.checkpoints import Checkpoint
from reer.models.local.tokens import load_tokenizer
from reer.models.shared import release
from reer.text import join_segments
from reer.training.chat_format import ChatFormat, Rendered, Rendering
from reer.training.chat_format import render as render_samples
from reer.training.launch import fine_tune
from reer.training.matching import Match, matched, trained_tokens
from reer.training.recipe import Job, Recipe, steps_of
from reer.types import Message, Sample, count_reasons


@stage(MIX, version=4)
def mix(
    ws: Workspace,
    *,
    synthetic: Artifact | None = None,
    public: Artifact | None = None,
    seed: int,
    synthetic_rows: int,
    public_rows: int,
    without_thinking: Sequence[str],
    markers: Markers,
    strip_public: bool,
) -> MixMetrics:
    """The training mixture, by stated sizes. `strip_public` cuts the reflection markers of the public rows."""
    samples: dict[str, list[Sample]] = {}
    if synthetic is not None:
        samples["synthetic"] = [_sample(row) for row in synthetic.rows(Curated)]
    if public is not None:
        rows = public.rows(Sample)
        samples["public"] = [replace(r, thinking=markers.cut(r.thinking)) for r in rows] if strip_public else rows
    sizes = {"synthetic": synthetic_rows, "public": public_rows}
    rows = mix_samples(samples, sizes, seed, without_thinking)
    write_rows(ws.folder / "rows.jsonl", rows)
    found = Counter[str]()
    for row in rows:
        found[_part(row)] += markers.count(row.thinking)
    return MixMetrics(
        rows=len(rows),
        by_source=dict(Counter(map(_part, rows))),
        reflection_markers=dict(found),
        categories=dict(Counter(row.category for row in rows)),
        with_thinking=sum(bool(row.thinking) and not row.without_thinking for row in rows),
        short={part: sizes[part] - len(have) for part, have in samples.items() if len(have) < sizes[part]},
    )


def _part(sample: Sample) -> str:
    """The part of the mixture that a row belongs to."""
    return "public" if sample.category == "reasoning" else "synthetic"


def _sample(row: Curated) -> Sample:
    turns = (*row.pair.context, Message("user", row.pair.query), Message("assistant", row.pair.solution))
    thinking = join_segments(row.segments)
    return Sample(
        id=row.pair.id,
        messages=turns,
        source=row.pair.source,
        category=row.pair.category,
        thinking=thinking,
        answer=row.pair.solution,
    )


@stage(RENDER, version=2)
def render(
    ws: Workspace, *, mixed: Artifact[MixMetrics], student: Checkpoint, chat_format: ChatFormat, max_length: int
) -> RenderMetrics:
    """Samples as tokens with labels; fails if the template would lose a token, or a part of the mixture all its
    rows."""
    samples = mixed.rows(Sample)
    out = render_samples(samples, load_tokenizer(student.fetch()), chat_format, max_length)
    _refuse_emptied_part(samples, out)
    write_rows(ws.folder / "rows.jsonl", out.rows)
    write_rows(ws.folder / "drops.jsonl", out.dropped)
    lengths = sorted(len(row.input_ids) for row in out.rows)
    return RenderMetrics(
        rows=len(out.rows),
        dropped=count_reasons(out.dropped),
        trained_tokens=out.trained_tokens,
        masked_tokens=out.masked_tokens,
        truncated_rows=out.truncated_rows,
        longest_row_tokens=lengths[-1],
        median_row_tokens=lengths[len(lengths) // 2],
        row_tokens=histogram(lengths),
    )


def _refuse_emptied_part(samples: Sequence[Sample], out: Rendering) -> None:
    """Raise InputError for a part of the mixture of which no row is left: the arm would train on another mixture than
    it is named after."""
    parts, kept = {sample.id: _part(sample) for sample in samples}, {row.id for row in out.rows}
    for part in dict.fromkeys(parts.values()):
        members = {sample_id for sample_id, of in parts.items() if of == part}
        if not members & kept:
            reasons = count_reasons([drop for drop in out.dropped if drop.id in members])
            raise InputError(
                f"none of the {len(members)} rows of the mixture's {part} part can be trained on ({counts(reasons)}); "
                "overlong rows want a larger scale.train_tokens, others another source or student; to train without "
                "this part, choose another data="
            )


def histogram(lengths: Sequence[int]) -> dict[str, int]:
    """Rows by the smallest power of two that is at least their length, ascending: `<= 1024` -> 4."""
    bounds = Counter(1 << max(0, length - 1).bit_length() for length in lengths)
    return {f"<= {bound}": bounds[bound] for bound in sorted(bounds)}


@stage(MATCH, version=1)
def match(
    ws: Workspace,
    *,
    rendered: Artifact[RenderMetrics],
    target: Artifact[RenderMetrics],
    match: Match,
    global_batch: int,
) -> MatchMetrics:
    """The rows of this arm, left out or repeated until they match the target arm's."""
    have, wanted = rendered.rows(Rendered), target.rows(Rendered)
    rows = matched(have, wanted, match, global_batch)
    write_rows(ws.folder / "rows.jsonl", rows)
    times = Counter(row.id for row in rows)
    return MatchMetrics(
        rows=len(rows),
        rows_before=len(have),
        rows_of_target=len(wanted),
        left_out_rows=sum(row.id not in times for row in have),
        repeats_of_a_row=max(times.values()),
        trained_tokens=sum(map(trained_tokens, rows)),
        trained_tokens_of_target=sum(map(trained_tokens, wanted)),
        masked_tokens=sum(len(row.labels) - trained_tokens(row) for row in rows),
        longest_row_tokens=max(len(row.labels) for row in rows),
    )


@stage(TRAIN, version=2, product="model")
def train(
    ws: Workspace,
    *,
    rendered: Artifact[RenderMetrics | MatchMetrics],
    student: Checkpoint,
    recipe: Recipe,
    seed: int,
) -> TrainMetrics:
    """Fine-tune the student; resumes from the newest complete checkpoint."""
    rows = rendered.rows(Rendered)
    total = steps_of(len(rows), recipe)

    def on_log(row: Mapping[str, float]) -> None:
        ws.curve(row)
        ws.progress(f"optimizer steps ({row['tokens_per_second']:.3g} tokens/s)", int(row["step"]), total)

    parallelism = ws.runtime.parallelism
    job = Job(
        student=str(student.fetch()),
        rows=str(rendered.file("rows.jsonl")),
        recipe=recipe,
        seed=seed,
        parallelism=parallelism,
        work=str(ws.folder),
    )
    release()  # models that no stage uses now, for their memory
    out = fine_tune(job, on_log)
    write_rows(ws.folder / "curve.jsonl", out.curve)
    losses = [row["loss"] for row in out.curve]
    return TrainMetrics(
        rows=len(rows),
        steps=out.steps,
        resumed_from_step=out.resumed_from,
        first_loss=losses[0],
        last_loss=losses[-1],
        mean_loss_last_quarter=statistics.fmean(losses[-max(1, len(losses) // 4) :]),
        trained_tokens=int(recipe.epochs * sum(label >= 0 for row in rows for label in row.labels)),
        tokens_per_second=statistics.median(row["tokens_per_second"] for row in out.curve),
        memory_gib=max(row["memory_gib"] for row in out.curve),
        processes=parallelism.processes,
    )
