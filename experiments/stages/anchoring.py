"""The stage that measures how far the thinking leans on the solutions; see `evals.anchoring`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from evals.anchoring import WordWeights, lexical_recall, surprisal_gap, surprisal_removed
from evals.similarity import NO_EMBEDDING, TextEmbedding, cosine, mean_of_others
from experiments.experiment import GeneratorRole, ScorerRole
from experiments.metrics.anchoring import (
    ANCHORING,
    AnchoringMetrics,
    CategoryAnchoring,
    MeaningAnchoring,
    SurprisalAnchoring,
)
from experiments.store.step import Artifact, stage
from experiments.store.workspace import Workspace
from reer.curation.filters import leak
from reer.curation.transforms import Curated
from reer.files import write_rows
from reer.models.protocols import Nats, Passage, Prompt, Request, in_order
from reer.models.replay import ReplayedScorer, journal_for
from reer.prompts import BoundPrompts, Prompts, Triggers
from reer.search.draft import thinking_of
from reer.text import join_segments
from reer.types import Pair, content_id, item_seed

PREFILL = "<think>\n"


@stage(ANCHORING, version=1)
def anchoring(
    ws: Workspace,
    *,
    trained_on: Artifact,
    generator: GeneratorRole,
    scorer: ScorerRole,
    prompts: Prompts,
    triggers: Triggers,
    samples: int,
    blind_tokens: int,
    embedding: TextEmbedding = NO_EMBEDDING,
) -> AnchoringMetrics:
    """How far the thinking that is trained on leans on the solutions, without a judge. The scorer of the search, if it
    has likelihoods, scores `samples` rows, and the generator writes their blind thinkings, of at most `blind_tokens`
    tokens, under the prompt of inference."""
    rows, bound = trained_on.rows(Curated), prompts.with_triggers(triggers)
    sampled = sorted(rows, key=lambda row: content_id("anchoring", row.pair.id))[:samples]
    chosen = sampled if scorer.has_likelihoods else []
    scorable = [row for row in chosen if scorer.score.passage(row.pair, ("",), bound) is not None]
    scored, blind = list[SurprisalAnchoring](), list[str]()
    if scorable:
        blind = _blind_thinkings(ws, [row.pair for row in scorable], generator, bound, blind_tokens)
        scored = _scored(ws, list(zip(scorable, blind, strict=True)), scorer, bound)
    write_rows(ws.folder / "rows.jsonl", scored)
    by_pair = {row.pair.id: text for row, text in zip(scorable, blind, strict=True)}
    near = _in_meaning(ws, sampled, by_pair, embedding)
    write_rows(ws.folder / "meaning.jsonl", near)
    categories = sorted({row.pair.category for row in rows})
    weights = WordWeights.of([row.pair.solution for row in rows])
    overall = _in_words(rows, weights)
    return AnchoringMetrics(
        rows=len(rows),
        lexical_recall=overall.lexical_recall,
        leak=overall.leak if rows else None,
        scored=len(scored),
        unscorable=len(chosen) - len(scorable),
        removed=_mean(row.removed for row in scored),
        removed_blind=_mean(row.removed_blind for row in scored),
        removed_by_solution=_mean(row.removed_by_solution for row in scored),
        gap=_mean(row.gap for row in scored),
        gap_blind=_mean(row.gap_blind for row in scored),
        by_category={name: _in_words([r for r in rows if r.pair.category == name], weights) for name in categories},
        similarity=_mean(row.similarity for row in near),
        similarity_others=_mean(row.similarity_others for row in near),
        similarity_blind=_mean(row.similarity_blind for row in near),
    )


def _in_meaning(
    ws: Workspace, rows: Sequence[Curated], blind: Mapping[str, str], embedding: TextEmbedding
) -> list[MeaningAnchoring]:
    """How near thinkings and solutions are in meaning; nothing without an embedding. `blind` are thinkings by pair."""
    with embedding.open(ws.runtime.device) as embedder:
        if embedder is None:
            return []
        own = [embedder.vector(join_segments(row.segments)) for row in rows]
        solutions = [embedder.vector(row.pair.solution) for row in rows]
        unseen = [embedder.vector(blind[row.pair.id]) if row.pair.id in blind else () for row in rows]
    return [
        MeaningAnchoring(
            pair_id=row.pair.id,
            similarity=cosine(own[at], solutions[at]),
            similarity_others=mean_of_others(own, solutions, at),
            similarity_blind=cosine(unseen[at], solutions[at]),
        )
        for at, row in enumerate(rows)
    ]


def _in_words(rows: Sequence[Curated], weights: WordWeights) -> CategoryAnchoring:
    """What the words of the thinking have in common with those of the solutions."""
    texts = [(join_segments(row.segments), row.pair) for row in rows]
    return CategoryAnchoring(
        rows=len(rows),
        lexical_recall=_mean(lexical_recall(text, pair.query, pair.solution, weights) for text, pair in texts),
        leak=_mean(leak(text, pair) for text, pair in texts) or 0.0,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _blind_thinkings(
    ws: Workspace, pairs: Sequence[Pair], generator: GeneratorRole, prompts: BoundPrompts, max_tokens: int
) -> list[str]:
    """A thinking for each pair by a model that does not see the solution."""
    sampling = generator.sampling(max_tokens, stop=("</think>",))
    requests = [
        Request(_unseen(pair, prompts), sampling, item_seed(generator.seed, pair.id, "blind"), pair.id)
        for pair in pairs
    ]
    with ws.replayed(generator.model) as session:
        replies = in_order(session.generate(requests), len(requests))
    return [thinking_of(reply).strip() for reply in replies]


def _unseen(pair: Pair, prompts: BoundPrompts) -> Prompt:
    """The beginning of a thinking by a reader of the query alone."""
    return prompts.for_language(pair.language).inference(pair, PREFILL, with_instruction=True)


def _seen(pair: Pair, prompts: BoundPrompts) -> Prompt:
    """The beginning of a thinking by a reader who has the solution, too: that of a draft."""
    return prompts.for_language(pair.language).draft(pair, "")


def _scored(
    ws: Workspace, rows: Sequence[tuple[Curated, str]], scorer: ScorerRole, prompts: BoundPrompts
) -> list[SurprisalAnchoring]:
    """The measures of rows, each with a blind thinking."""
    passages = [passage for row, blind in rows for passage in _passages(row, blind, scorer, prompts)]
    todo = [passage for passage in passages if passage is not None]
    device = replace(ws.runtime.device, name=ws.runtime.scorer_device)
    with scorer.model.open(device) as session:
        replayed = ReplayedScorer(session, journal_for(ws.replay, session.name))
        nats = iter(in_order(replayed.score(todo), len(todo)))
    found = [None if passage is None else next(nats) for passage in passages]
    size = len(passages) // len(rows)
    return [_of_pair(row.pair.id, found[at * size : (at + 1) * size]) for at, (row, _) in enumerate(rows)]


def _passages(row: Curated, blind: str, scorer: ScorerRole, prompts: BoundPrompts) -> list[Passage | None]:
    """The solution after no thinking, the row's, the blind one and itself; then the row's and the blind thinking, each
    without the solution and beside it. None for a blind thinking that is empty."""
    pair, own = row.pair, join_segments(row.segments)
    thinkings = [("",), row.segments, (blind,), (pair.solution,)]
    contexts = (_unseen(pair, prompts), _seen(pair, prompts))
    return [
        *(scorer.score.passage(pair, thinking, prompts) for thinking in thinkings),
        *(Passage(context, text, pair.id) if text else None for text in (own, blind) for context in contexts),
    ]


def _of_pair(pair_id: str, nats: Sequence[Nats | None]) -> SurprisalAnchoring:
    without, own, blind, solution, unseen, seen, blind_unseen, blind_seen = nats
    return SurprisalAnchoring(
        pair_id=pair_id,
        removed=surprisal_removed(without, own) if without and own else None,
        removed_blind=surprisal_removed(without, blind) if without and blind else None,
        removed_by_solution=surprisal_removed(without, solution) if without and solution else None,
        gap=surprisal_gap(unseen, seen) if unseen and seen else None,
        gap_blind=surprisal_gap(blind_unseen, blind_seen) if blind_unseen and blind_seen else None,
    )
