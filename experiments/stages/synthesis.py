"""The stages of synthesis: drafts, the search over them, filters, and late changes to what is kept."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from experiments.experiment import GeneratorRole, ScorerRole
from experiments.metrics.synthesis import (
    CURATE,
    DRAFT,
    FILTER,
    REFINE,
    SOURCE_THINKING,
    CurateMetrics,
    DraftMetrics,
    FilterMetrics,
    RefineMetrics,
    SourceThinkingMetrics,
)
from experiments.store.metrics import counts, read_metrics
from experiments.store.step import Ahead, Artifact, WorkAhead, stage
from experiments.store.workspace import Workspace
from experiments.workers.early_searches import EarlySearches, FirstDraft, early_searches
from experiments.workers.ray_cluster import search_on_ray
from experiments.workers.search_job import Results, SearchJob, measured_once
from reer.curation.filters import Filters
from reer.curation.filters import measures as trajectory_measures
from reer.curation.source_thinking import trajectories_from_source
from reer.curation.transforms import Categories, Reflection, TrajectoryLength
from reer.curation.transforms import curate as curate_rows
from reer.errors import InputError
from reer.files import plain, write_rows
from reer.prompts import PromptChoice, Triggers
from reer.search.draft import Drafter, DraftRules
from reer.search.driver import Failure
from reer.search.methods import SearchMethod
from reer.search.rewrite import RewriteRules
from reer.taxonomy import Taxonomy
from reer.types import AnyThinking, Drop, Pair, Refinement, Start, Trajectory, count_reasons


@stage(DRAFT, version=2)
def draft(
    ws: Workspace,
    *,
    pairs: Artifact,
    generator: GeneratorRole,
    prompts: PromptChoice,
    triggers: Triggers,
    rules: DraftRules,
    max_tokens: int,
) -> DraftMetrics:
    """z(0) for every pair."""
    sampling = generator.sampling(max_tokens, stop=("</think>",))
    todo, done, began = pairs.rows(Pair), Counter[str](), time.monotonic()

    def on_draft(pair_id: str, start: Start) -> None:
        ws.finished(FirstDraft(pair_id, start))
        done.update(drafts=1, kept=not start.lost, tokens=start.tokens)
        ws.progress("drafts", done["drafts"], len(todo))
        rate = done["tokens"] / (time.monotonic() - began)
        ws.curve({"done": done["drafts"], "kept_share": done["kept"] / done["drafts"], "tokens_per_second": rate})

    with ws.replayed(generator.model) as session:
        drafter = Drafter(
            generator=session,
            prompts=prompts.with_triggers(triggers),
            sampling=sampling,
            rules=rules,
            seed=generator.seed,
        )
        kept, dropped = drafter.first_drafts(todo, ws.runtime.width, on_draft)
        calls, replayed = session.journal.misses, session.journal.hits
    write_rows(ws.folder / "rows.jsonl", kept)
    write_rows(ws.folder / "drops.jsonl", dropped)
    return DraftMetrics(
        rows=len(kept),
        dropped=count_reasons(dropped),
        tokens=sum(row.tokens for row in kept),
        calls=calls,
        calls_replayed=replayed,
        mean_segments=_mean_segments(kept),
    )


def _mean_segments(rows: Sequence[AnyThinking]) -> float:
    return statistics.fmean(len(row.segments) for row in rows) if rows else 0.0


def begin_searches(ws: Workspace, *, pairs: Artifact, **values: Any) -> WorkAhead | None:
    """Begins searches while the last drafts are written, where this run's servers write them and others score."""
    job = _search_job(ws, **values)
    return _searching_early(ws, job, pairs.rows(Pair)) if job.scores_elsewhere and not ws.runtime.cluster else None


@contextmanager
def _searching_early(
    ws: Workspace, job: SearchJob, pairs: Sequence[Pair]
) -> Generator[Callable[[Sequence[FirstDraft]], None]]:
    early: EarlySearches | None = None
    try:
        with early_searches(job, pairs) as early:
            yield early.add
    finally:
        if early is not None:
            ws.early_calls.append(early.models.calls)


def _search_job(
    ws: Workspace,
    *,
    generator: GeneratorRole,
    scorer: ScorerRole,
    search: SearchMethod,
    prompts: PromptChoice,
    triggers: Triggers,
    rules: DraftRules,
    rewrites: RewriteRules,
    draft_tokens: int,
    edit_tokens: int,
) -> SearchJob:
    return SearchJob(
        generator=generator,
        scorer=scorer,
        search=search,
        prompts=prompts.with_triggers(triggers),
        rules=rules,
        rewrites=rewrites,
        draft_tokens=draft_tokens,
        edit_tokens=edit_tokens,
        runtime=ws.runtime,
        replay=ws.replay.resolve(),
    )


@stage(REFINE, version=3, ahead=Ahead("drafts", begin_searches, between_rows=True))
def refine(
    ws: Workspace,
    *,
    pairs: Artifact,
    drafts: Artifact[DraftMetrics],
    generator: GeneratorRole,
    scorer: ScorerRole,
    search: SearchMethod,
    prompts: PromptChoice,
    triggers: Triggers,
    rules: DraftRules,
    rewrites: RewriteRules,
    draft_tokens: int,
    edit_tokens: int,
) -> RefineMetrics:
    """The search over every draft; `reer.search.methods` decides, models answer."""
    by_id = {pair.id: pair for pair in pairs.rows(Pair)}
    first = drafts.rows(Trajectory)
    job = _search_job(
        ws,
        generator=generator,
        scorer=scorer,
        search=search,
        prompts=prompts,
        triggers=triggers,
        rules=rules,
        rewrites=rewrites,
        draft_tokens=draft_tokens,
        edit_tokens=edit_tokens,
    )
    job = replace(job, raw_drafts={d.pair_id: d.raw for d in first} if scorer.score.raw_draft else {})
    todo = {d.pair_id: d.segments for d in first}
    drops = [Drop(pair_id, "solution_single_segment") for pair_id in todo if not job.can_score(by_id[pair_id])]
    for drop in drops:
        del todo[drop.id]
    results, calls, noise = _searched(ws, job, by_id, todo)
    calls += sum(ws.early_calls)
    refinements = [r for r in results.values() if isinstance(r, Refinement)]
    drops += [Drop(pair_id, r.reason) for pair_id, r in results.items() if isinstance(r, Failure)]
    write_rows(ws.folder / "rows.jsonl", refinements)
    write_rows(ws.folder / "drops.jsonl", drops)
    return search_metrics(refinements, drops, calls=calls, noise=noise)


def _searched(
    ws: Workspace, job: SearchJob, pairs: Mapping[str, Pair], drafts: Mapping[str, tuple[str, ...]]
) -> tuple[Results, int, float]:
    """The searches, here or on a cluster; how many model calls they made; the scorer's noise."""
    done, began = Counter[str](), time.monotonic()
    scores: dict[str, list[float]] = {"score_before": [], "score_after": []}

    def on_done(result: Refinement | Failure) -> None:
        edits = result.trace() if isinstance(result, Refinement) else ()
        tokens = result.tokens if isinstance(result, Refinement) else 0
        done.update(pairs=1, edits=len(edits), accepted=sum(e.chosen is not None for e in edits), tokens=tokens)
        rate = done["tokens"] / (time.monotonic() - began)
        accepted = f"{done['accepted']} of {done['edits']} edits accepted"
        ws.progress(f"searches ({accepted}, {rate:.0f} generated tokens/s)", done["pairs"], len(drafts))
        if isinstance(result, Refinement):
            scores["score_before"].append(result.draft_score)
            scores["score_after"].append(result.score)
        means = {name: statistics.fmean(values) for name, values in scores.items() if values}
        share = done["accepted"] / max(1, done["edits"])
        ws.curve({"done": done["pairs"], "accepted_share": share, "tokens_per_second": rate, **means})

    once = partial(measured_once, ws.folder / "noise.json")
    if ws.runtime.cluster:
        return search_on_ray(job, ws.runtime.cluster, pairs, drafts, once, on_done)
    with job.open(ws.progress.batch) as models:
        noise = once(lambda: models.noise(pairs, drafts))
        return models.run(pairs, drafts, noise, on_done), models.calls, noise


def search_metrics(rows: Sequence[Refinement], drops: Sequence[Drop], *, calls: int, noise: float) -> RefineMetrics:
    """The metrics of these searches."""
    edits = [edit for row in rows for edit in row.trace()]
    candidates = [candidate for edit in edits for candidate in edit.candidates]
    return RefineMetrics(
        rows=len(rows),
        dropped=count_reasons(drops),
        calls=calls,
        score_noise=noise,
        score_draft=statistics.fmean(row.draft_score for row in rows) if rows else None,
        score_refined=statistics.fmean(row.score for row in rows) if rows else None,
        improved_rows=sum(row.score < row.draft_score for row in rows),
        edits=len(edits),
        edits_accepted=sum(edit.chosen is not None for edit in edits),
        candidates=len(candidates),
        candidates_lost=dict(Counter(c.lost for c in candidates if c.lost).most_common()),
        stopped=dict(Counter(row.stopped for row in rows)),
        starts_lost=dict(Counter(reason for row in rows for reason in row.lost_starts).most_common()),
        generated_tokens=sum(row.tokens for row in rows),
        mean_segments=_mean_segments(rows),
        mean_gain_by_segment=mean_gains(rows),
    )


def mean_gains(rows: Sequence[Refinement]) -> dict[str, float]:
    """By how much the edit of each segment lowered the score, averaged over the searches that reached the segment."""
    gains: dict[int, list[float]] = {}
    for run in (run for row in rows for run in (row, *row.runs)):
        before = [run.draft_score, *(edit.score for edit in run.edits)]
        for edit, score in zip(run.edits, before, strict=False):
            gains.setdefault(edit.index, []).append(score - edit.score)
    return {str(index): statistics.fmean(values) for index, values in sorted(gains.items())}


@stage(SOURCE_THINKING, version=1)
def source_thinking(ws: Workspace, *, pairs: Artifact) -> SourceThinkingMetrics:
    """The thinking that came with the pairs, used in place of a search's result."""
    by_pair = json.loads(pairs.file("thinking.json").read_text(encoding="utf-8"))
    kept, dropped = trajectories_from_source(pairs.rows(Pair), by_pair)
    if not kept:
        raise InputError(
            f"the source holds no thinking that can be used ({counts(count_reasons(dropped))}): none of its solutions "
            "begins with <think>…</think>; name the field that holds it by source.fields.thinking=…, or leave out "
            "thinking=from_source to search for it"
        )
    write_rows(ws.folder / "rows.jsonl", kept)
    write_rows(ws.folder / "drops.jsonl", dropped)
    return SourceThinkingMetrics(rows=len(kept), dropped=count_reasons(dropped), mean_segments=_mean_segments(kept))


@stage(FILTER, version=2)
def filter_trajectories(
    ws: Workspace, *, pairs: Artifact, thinking: Artifact[RefineMetrics | SourceThinkingMetrics], filters: Filters
) -> FilterMetrics:
    """The paper's filters; what is dropped is listed with its reason."""
    by_id = {pair.id: pair for pair in pairs.rows(Pair)}
    rows = thinking.rows(AnyThinking)
    reasons = {row.pair_id: filters.drop_reason(by_id[row.pair_id], row) for row in rows}
    kept = [row for row in rows if reasons[row.pair_id] is None]
    drops = [Drop(pair_id, reason) for pair_id, reason in reasons.items() if reason]
    measures = [trajectory_measures(by_id[row.pair_id], row) for row in rows]
    write_rows(ws.folder / "rows.jsonl", kept)
    write_rows(ws.folder / "drops.jsonl", drops)
    write_rows(ws.folder / "measures.jsonl", measures)
    leaks = [row.leak for row in measures]
    return FilterMetrics(
        rows=len(kept),
        dropped=count_reasons(drops),
        mean_leak=statistics.fmean(leaks) if leaks else 0.0,
        max_leak=max(leaks, default=0.0),
    )


@stage(CURATE, version=2)
def curate(
    ws: Workspace,
    *,
    pairs: Artifact,
    filtered: Artifact[FilterMetrics],
    reflection: Reflection,
    trajectory: TrajectoryLength,
    categories: Categories,
    taxonomy: Taxonomy,
    filters: Filters,
) -> CurateMetrics:
    """Reflection, length and categories."""
    by_id = {pair.id: pair for pair in pairs.rows(Pair)}
    rows = [(by_id[row.pair_id], row) for row in filtered.rows(AnyThinking)]
    out = curate_rows(rows, reflection, trajectory, categories, taxonomy.is_literature_arts, filters.unfinished)
    write_rows(ws.folder / "rows.jsonl", out.kept)
    write_rows(ws.folder / "drops.jsonl", out.dropped)
    measured = {"dropped": count_reasons(out.dropped), **plain(out.measured)}
    return read_metrics(CurateMetrics, measured, "stage curate")
