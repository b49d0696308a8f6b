"""The stages of synthesis: drafts, the search over them, what is kept of it, and its late switches."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from experiments.experiment import GeneratorRole, ScorerRole
from experiments.store.stages import Artifact, Metrics, Workspace, stage
from experiments.workers.models import replayed
from experiments.workers.ray_cluster import search_on_ray
from experiments.workers.search_job import Results, SearchJob
from reer.curation.filters import Filters
from reer.curation.filters import measures as trajectory_measures
from reer.curation.source_thinking import trajectories_from_source
from reer.curation.transforms import Categories, Reflection, TrajectoryLength
from reer.curation.transforms import curate as curate_rows
from reer.files import write_json, write_rows
from reer.prompts import Prompts, Triggers
from reer.search.draft import Drafter, DraftRules
from reer.search.driver import Failure
from reer.search.methods import SearchMethod
from reer.taxonomy import Taxonomy
from reer.types import AnyThinking, Drop, Pair, Refinement, Trajectory, count_reasons


@stage(version=1)
def draft(
    ws: Workspace,
    *,
    pairs: Artifact,
    generator: GeneratorRole,
    prompts: Prompts,
    triggers: Triggers,
    rules: DraftRules,
    max_tokens: int,
) -> Metrics:
    """z(0) for every pair."""
    sampling = generator.sampling(max_tokens, stop=("</think>",))
    todo, kept, dropped = pairs.rows(Pair), [], []
    with replayed(ws, generator.model) as session:
        drafter = Drafter(session, prompts.with_triggers(triggers), sampling, rules, generator.seed)
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
        "rows": len(kept),
        "dropped": count_reasons(dropped),
        "tokens": sum(row.tokens for row in kept),
        **calls,
        "mean_segments": statistics.fmean(segments) if segments else 0.0,
    }


@stage(version=2)
def refine(
    ws: Workspace,
    *,
    pairs: Artifact,
    drafts: Artifact,
    generator: GeneratorRole,
    scorer: ScorerRole,
    search: SearchMethod,
    prompts: Prompts,
    triggers: Triggers,
    rules: DraftRules,
    draft_tokens: int,
    edit_tokens: int,
) -> Metrics:
    """The search over every draft; `reer.search.methods` decides, models answer."""
    by_id = {pair.id: pair for pair in pairs.rows(Pair)}
    job = SearchJob(
        generator=generator,
        scorer=scorer,
        search=search,
        prompts=prompts.with_triggers(triggers),
        rules=rules,
        draft_tokens=draft_tokens,
        edit_tokens=edit_tokens,
        runtime=ws.runtime,
        replay=ws.replay.resolve(),
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
    return {"rows": len(refinements), "dropped": count_reasons(drops), **measured}


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
def source_thinking(ws: Workspace, *, pairs: Artifact) -> Metrics:
    """The thinking that came with the pairs, in the place of what a search would have found."""
    came = json.loads((pairs.path / "thinking.json").read_text(encoding="utf-8"))
    kept, dropped = trajectories_from_source(pairs.rows(Pair), came)
    write_rows(ws.folder / "rows.jsonl", kept)
    write_rows(ws.folder / "drops.jsonl", dropped)
    segments = [len(row.segments) for row in kept]
    return {
        "rows": len(kept),
        "dropped": count_reasons(dropped),
        "mean_segments": statistics.fmean(segments) if kept else 0.0,
    }


@stage(version=1)
def filter(ws: Workspace, *, pairs: Artifact, thinking: Artifact, filters: Filters) -> Metrics:
    """The paper's filters; what is dropped is listed with its reason."""
    by_id = {pair.id: pair for pair in pairs.rows(Pair)}
    rows = thinking.rows(AnyThinking)
    reasons = {row.pair_id: filters.drop_reason(by_id[row.pair_id], row) for row in rows}
    kept = [row for row in rows if reasons[row.pair_id] is None]
    drops = [Drop(pair_id, reason) for pair_id, reason in reasons.items() if reason]
    measured = [trajectory_measures(by_id[row.pair_id], row) for row in rows]
    write_rows(ws.folder / "rows.jsonl", kept)
    write_rows(ws.folder / "drops.jsonl", drops)
    write_rows(ws.folder / "measures.jsonl", measured)
    leaks = [row.leak for row in measured]
    return {
        "rows": len(kept),
        "dropped": count_reasons(drops),
        "mean_leak": statistics.fmean(leaks) if leaks else 0.0,
        "max_leak": max(leaks, default=0.0),
    }


@stage(version=1)
def curate(
    ws: Workspace,
    *,
    pairs: Artifact,
    filtered: Artifact,
    reflection: Reflection,
    trajectory: TrajectoryLength,
    categories: Categories,
    taxonomy: Taxonomy,
) -> Metrics:
    """Reflection, length and categories; the promises of the three parts are checked on the outcome."""
    by_id = {pair.id: pair for pair in pairs.rows(Pair)}
    rows = [(by_id[row.pair_id], row) for row in filtered.rows(AnyThinking)]
    out = curate_rows(rows, reflection, trajectory, categories, taxonomy.is_literature_arts)
    for promise in (*reflection.promises(), *trajectory.promises(), *categories.promises()):
        if promise.value(out.measured) > promise.at_most:
            raise RuntimeError(
                f"an ablation did not bite: {promise.metric} is {promise.value(out.measured)}, promised at most "
                f"{promise.at_most}; look at {ws.folder}"
            )
    write_rows(ws.folder / "rows.jsonl", out.kept)
    write_rows(ws.folder / "drops.jsonl", out.dropped)
    return {"dropped": count_reasons(out.dropped), **asdict(out.measured)}
