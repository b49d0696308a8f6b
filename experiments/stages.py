"""The stages: each reads its inputs' rows, calls the library, writes rows, and returns metrics computed from them."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from experiments.cluster import search_on_ray
from experiments.experiment import GeneratorRole, ScorerRole
from experiments.files import write_json, write_rows
from experiments.store import Artifact, Metrics, Workspace, stage
from experiments.synthesis import Results, SearchJob
from reer.chat import ChatFormat, Rendered
from reer.chat import render as render_samples
from reer.curate import Categories, Curated, Reflection, TrajectoryLength
from reer.curate import curate as curate_rows
from reer.draft import Drafter, DraftRules
from reer.filters import Filters
from reer.filters import measures as trajectory_measures
from reer.launch import fine_tune
from reer.mixture import mix as mix_samples
from reer.models.replay import ReplayedGenerator, journal_for
from reer.pairs import Selection, complete, select
from reer.prompts import Prompts, Triggers
from reer.search import Failure, SearchMethod
from reer.sft import Job, Recipe, steps_of
from reer.sources.rows import Problems
from reer.taxonomy import Taxonomy
from reer.text import join_segments
from reer.types import Drop, InputError, Message, Pair, Refinement, Sample, Trajectory


def counts(drops: Sequence[Drop]) -> dict[str, int]:
    """How many were dropped, by reason."""
    return dict(Counter(drop.reason for drop in drops).most_common())


@contextmanager
def replayed(ws: Workspace, chat: Any) -> Iterator[ReplayedGenerator]:
    """A model opened to generate, its answers remembered."""
    with chat.open(ws.runtime.device) as session:
        yield ReplayedGenerator(session, journal_for(ws.replay, session.name))


@stage(version=1)
def pairs(
    ws: Workspace, *, source: Any, taxonomy: Taxonomy, prompts: Prompts, classifier: Any, pairs: int | None,
    min_words: int, max_words: int,
) -> Metrics:  # fmt: skip
    """Raw rows → Pairs. Everything that can be wrong with the input is found before a model is loaded."""
    problems = Problems(source.on_bad_row)
    raw = select(source.rows(problems), Selection(pairs, min_words, max_words), source.min_votes, problems)
    with ExitStack() as opened:
        done = complete(raw, taxonomy, prompts, lambda: opened.enter_context(replayed(ws, classifier)))
    write_rows(ws.folder / "rows.jsonl", done.pairs)
    write_rows(ws.folder / "drops.jsonl", problems.drops)
    filled = asdict(done)
    del filled["pairs"]
    return {
        "rows": len(done.pairs), "dropped": counts(problems.drops), **filled,
        "categories": dict(Counter(pair.category for pair in done.pairs).most_common()),
        "literature_arts": sum(taxonomy.is_literature_arts(pair.category) for pair in done.pairs),
        "languages": dict(Counter(pair.language for pair in done.pairs)),
    }  # fmt: skip


@stage(version=1)
def draft(
    ws: Workspace, *, pairs: Artifact, generator: GeneratorRole, prompts: Prompts, triggers: Triggers,
    rules: DraftRules, max_tokens: int,
) -> Metrics:  # fmt: skip
    """z(0) for every pair."""
    sampling = generator.sampling(max_tokens, stop=("</think>",))
    todo, kept, dropped = pairs.rows(Pair), [], []
    with replayed(ws, generator.chat) as session:
        drafter = Drafter(session, prompts, triggers, sampling, rules, generator.seed)
        for start in range(0, len(todo), ws.runtime.width):
            part = todo[start : start + ws.runtime.width]
            more, lost = drafter.first_drafts(part)
            kept, dropped = kept + more, dropped + lost
            ws.progress("drafts", start + len(part), len(todo))
        calls = {"calls": session.journal.misses, "calls_replayed": session.journal.hits}
    write_rows(ws.folder / "rows.jsonl", kept)
    write_rows(ws.folder / "drops.jsonl", dropped)
    segments = [len(row.segments) for row in kept]
    return {
        "rows": len(kept), "dropped": counts(dropped), "tokens": sum(row.tokens for row in kept), **calls,
        "mean_segments": statistics.fmean(segments) if segments else 0.0,
    }  # fmt: skip


@stage(version=2)
def refine(
    ws: Workspace, *, pairs: Artifact, drafts: Artifact, generator: GeneratorRole, scorer: ScorerRole,
    search: SearchMethod, prompts: Prompts, triggers: Triggers, rules: DraftRules, draft_tokens: int, edit_tokens: int,
) -> Metrics:  # fmt: skip
    """The search over every draft; `reer.search` decides, models answer."""
    by_id = {pair.id: pair for pair in pairs.rows(Pair)}
    job = SearchJob(
        generator, scorer, search, prompts, triggers, rules, draft_tokens, edit_tokens, ws.runtime, ws.replay.resolve()
    )
    todo = {d.pair_id: d.segments for d in drafts.rows(Trajectory)}
    drops = [Drop(pair_id, "solution_single_segment") for pair_id in todo if not job.can_score(by_id[pair_id])]
    for drop in drops:
        del todo[drop.id]
    results, calls, noise = _searched(ws, job, by_id, todo)
    refinements = [r for r in results.values() if isinstance(r, Refinement)]
    drops += [Drop(pair_id, r.reason) for pair_id, r in results.items() if isinstance(r, Failure)]
    write_rows(ws.folder / "rows.jsonl", refinements)
    write_rows(ws.folder / "drops.jsonl", drops)
    measured = {"calls": calls, "score_noise": noise, **search_metrics(refinements)}
    return {"rows": len(refinements), "dropped": counts(drops), **measured}


def _searched(
    ws: Workspace, job: SearchJob, pairs: Mapping[str, Pair], drafts: Mapping[str, tuple[str, ...]]
) -> tuple[Results, int, float]:
    """The searches, here or on a cluster; how many calls they made; the scorer's noise."""
    seen, began = Counter[str](), time.monotonic()

    def done(result: Refinement | Failure) -> None:
        edits = result.trace() if isinstance(result, Refinement) else ()
        written = result.tokens if isinstance(result, Refinement) else 0
        seen.update(pairs=1, edits=len(edits), accepted=sum(e.chosen is not None for e in edits), tokens=written)
        said = f"{seen['accepted']} of {seen['edits']} edits accepted"
        rate = seen["tokens"] / (time.monotonic() - began)
        ws.progress(f"searches ({said}, {rate:.0f} tokens/s written)", seen["pairs"], len(drafts))

    once = partial(_once, ws.folder / "noise.json")
    if ws.runtime.cluster:
        return search_on_ray(job, ws.runtime.cluster, pairs, drafts, once, done)
    with job.open() as models:
        noise = once(lambda: models.noise(pairs, drafts))
        return models.run(pairs, drafts, noise, done), models.calls, noise


def _once(path: Path, measure: Callable[[], float]) -> float:
    """What was measured once for a stage, whatever interrupted it since."""
    if not path.exists():
        write_json(path, {"score_noise": measure()})
    return json.loads(path.read_text(encoding="utf-8"))["score_noise"]


def search_metrics(rows: Sequence[Refinement]) -> Metrics:
    """Scores before and after, how often an edit was accepted, why candidates were lost, why searches ended."""
    if not rows:
        return {"score_draft": None, "score_refined": None}
    edits = [edit for row in rows for edit in row.trace()]
    candidates = [candidate for edit in edits for candidate in edit.candidates]
    return {
        "score_draft": statistics.fmean(row.draft_score for row in rows),
        "score_refined": statistics.fmean(row.score for row in rows),
        "improved_rows": sum(row.score < row.draft_score for row in rows),
        "edits": len(edits),
        "edits_accepted": sum(edit.chosen is not None for edit in edits),
        "candidates": len(candidates),
        "candidates_lost": dict(Counter(c.lost for c in candidates if c.lost).most_common()),
        "stopped": dict(Counter(row.stopped for row in rows)),
        "starts_lost": dict(Counter(reason for row in rows for reason in row.lost_starts).most_common()),
        "generated_tokens": sum(row.tokens for row in rows),
        "mean_segments": statistics.fmean(len(row.segments) for row in rows),
        "mean_gain_by_segment": mean_gains(rows),
    }


def mean_gains(rows: Sequence[Refinement]) -> dict[str, float]:
    """How much the edit of each segment lowered the score, on average over the searches that came to it."""
    gains: dict[int, list[float]] = {}
    for run in (run for row in rows for run in (row, *row.runs)):
        before = [run.draft_score, *(edit.score for edit in run.edits)]
        for edit, score in zip(run.edits, before, strict=False):
            gains.setdefault(edit.index, []).append(score - edit.score)
    return {str(index): statistics.fmean(found) for index, found in sorted(gains.items())}


@stage(version=1)
def filter(ws: Workspace, *, pairs: Artifact, refined: Artifact, filters: Filters) -> Metrics:
    """The paper's filters; what is dropped is listed with its reason."""
    by_id = {pair.id: pair for pair in pairs.rows(Pair)}
    rows = refined.rows(Refinement)
    reasons = {row.pair_id: filters.drop_reason(by_id[row.pair_id], row) for row in rows}
    kept = [row for row in rows if reasons[row.pair_id] is None]
    drops = [Drop(pair_id, reason) for pair_id, reason in reasons.items() if reason]
    measured = [{"pair_id": row.pair_id, **trajectory_measures(by_id[row.pair_id], row)} for row in rows]
    write_rows(ws.folder / "rows.jsonl", kept)
    write_rows(ws.folder / "drops.jsonl", drops)
    write_rows(ws.folder / "measures.jsonl", measured)
    leaks = [row["leak"] for row in measured]
    return {
        "rows": len(kept), "dropped": counts(drops), "mean_leak": statistics.fmean(leaks) if leaks else 0.0,
        "max_leak": max(leaks, default=0.0),
    }  # fmt: skip


@stage(version=1)
def curate(
    ws: Workspace, *, pairs: Artifact, filtered: Artifact, reflection: Reflection, trajectory: TrajectoryLength,
    categories: Categories, taxonomy: Taxonomy,
) -> Metrics:  # fmt: skip
    """Reflection, length and categories; the promises of the three parts are checked on the outcome."""
    by_id = {pair.id: pair for pair in pairs.rows(Pair)}
    rows = [(by_id[row.pair_id], row) for row in filtered.rows(Refinement)]
    out = curate_rows(rows, reflection, trajectory, categories, taxonomy.is_literature_arts)
    for promise in (*reflection.promises(), *trajectory.promises(), *categories.promises()):
        if out.measured[promise.metric] > promise.at_most:
            raise RuntimeError(
                f"an ablation did not bite: {promise.metric} is {out.measured[promise.metric]}, promised at most "
                f"{promise.at_most}; look at {ws.folder}"
            )
    write_rows(ws.folder / "rows.jsonl", out.kept)
    write_rows(ws.folder / "drops.jsonl", out.dropped)
    return {"dropped": counts(out.dropped), **out.measured}


@stage(version=1)
def public(ws: Workspace, *, source: Any) -> Metrics:
    """Public reasoning rows as samples."""
    problems = Problems(source.on_bad_row)
    rows = list(source.samples(problems))
    write_rows(ws.folder / "rows.jsonl", rows)
    write_rows(ws.folder / "drops.jsonl", problems.drops)
    return {"rows": len(rows), "dropped": counts(problems.drops)}


@stage(version=2)
def mix(
    ws: Workspace, *, seed: int, synthetic_rows: int, public_rows: int, without_thinking: Sequence[str],
    **parts: Artifact,
) -> Metrics:  # fmt: skip
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
        "with_thinking": sum(bool(row.thinking) for row in rows),
    }


def _sample(row: Curated) -> Sample:
    turns = (Message("user", row.pair.query), Message("assistant", row.pair.solution))
    return Sample(
        row.pair.id, turns, row.pair.source, row.pair.category, join_segments(row.segments), row.pair.solution
    )


@stage(version=2)
def render(ws: Workspace, *, mixed: Artifact, student: Any, chat: ChatFormat, max_length: int) -> Metrics:
    """Samples as tokens with labels; fails if a token were lost."""
    from transformers import AutoTokenizer

    out = render_samples(mixed.rows(Sample), AutoTokenizer.from_pretrained(student.fetch()), chat, max_length)
    if not out.rows:
        raise InputError(f"nothing to train on: all rows were dropped ({counts(out.dropped)})")
    write_rows(ws.folder / "rows.jsonl", out.rows)
    write_rows(ws.folder / "drops.jsonl", out.dropped)
    lengths = sorted(len(row.input_ids) for row in out.rows)
    return {
        "rows": len(out.rows), "dropped": counts(out.dropped), "trained_tokens": out.trained_tokens,
        "masked_tokens": out.masked_tokens, "truncated_rows": out.truncated_rows, "longest_row_tokens": lengths[-1],
        "median_row_tokens": lengths[len(lengths) // 2], "row_tokens": histogram(lengths),
    }  # fmt: skip


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

    layout = ws.runtime.layout
    job = Job(str(student.fetch()), str(rendered.path / "rows.jsonl"), recipe, seed, layout, str(ws.folder))
    out = fine_tune(job, on_log)
    write_rows(ws.folder / "curve.jsonl", out.curve)
    losses = [row["loss"] for row in out.curve]
    return {
        "rows": len(rows), "steps": out.steps, "resumed_from_step": out.resumed_from, "first_loss": losses[0],
        "last_loss": losses[-1], "mean_loss_last_quarter": statistics.fmean(losses[-max(1, len(losses) // 4) :]),
        "trained_tokens": int(recipe.epochs * sum(label >= 0 for row in rows for label in row.labels)),
        "tokens_per_second": statistics.median(row["tokens_per_second"] for row in out.curve),
        "memory_gib": max(row["memory_gib"] for row in out.curve), "processes": layout.processes,
    }  # fmt: skip
