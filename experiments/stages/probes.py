"""The stages that probe: how far answers, judge, data and model can be trusted beside the scores."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Any

from evals.benchmark import Response, Verdict
from evals.hygiene import clean_scores, summary
from evals.hygiene import hygiene as hygiene_of
from evals.judging.judge import Judge
from evals.judging.reliability import Judged, ReliabilityChecks, examine
from evals.lm_eval.harness import LmEval
from experiments.store.stages import Artifact, Metrics, Workspace, stage
from experiments.workers.models import judge_session, replayed, trained_model
from reer.data.pairs import Selection, benchmark_overlap, select
from reer.data.rows import Problems
from reer.files import plain, write_json, write_rows
from reer.models.local.model import DType
from reer.models.protocols import Nats, Passage, Prompt, Request, Sampling, in_order
from reer.models.replay import ReplayedScorer, journal_for
from reer.text import words
from reer.training.chat_format import ChatFormat, Rendered
from reer.training.matching import trained as trained_tokens
from reer.types import Drop, Message, Pair, RawPair, Sample, content_id, count_reasons, item_seed


@stage(version=1)
def overlap(ws: Workspace, *, pairs: Artifact, benchmarks: Mapping[str, Any]) -> Metrics:
    """Which pairs ask what a benchmark asks: reported, not dropped."""
    rows = pairs.rows(Pair)
    judged = {name: benchmark for name, benchmark in benchmarks.items() if not isinstance(benchmark, LmEval)}
    found = {name: benchmark_overlap(rows, [i.prompt for i in b.items()]) for name, b in judged.items()}
    write_json(ws.folder / "overlap.json", found)
    return {f"overlapping_pairs_{name}": len(ids) for name, ids in found.items()}


@stage(version=1)
def termination(
    ws: Workspace, *, trained: Artifact, mixed: Artifact, rendered: Artifact, samples: int, seed: int, precision: DType
) -> Metrics:
    """How often the trained model ends an answer by itself. It is asked what it was taught, the rows around the lower
    quartile of length, and may use twice the tokens that the longest of them took."""
    taught = sorted((trained_tokens(row), row.id) for row in rendered.rows(Rendered))
    start = max(0, len(taught) // 4 - samples // 2)
    chosen = taught[start : start + samples]
    prompts = {row.id: Prompt(row.messages[:-1]) for row in mixed.rows(Sample)}
    sampling = Sampling(0.7, 0.95, 2 * max(tokens for tokens, _ in chosen))
    asked = [Request(prompts[id], sampling, item_seed(seed, id, "stop")) for _, id in chosen]
    with replayed(ws, trained_model(trained, precision)) as session:
        replies = in_order(session.generate(asked), len(asked))
    rows = [{"id": id, "taught_tokens": n, **plain(r)} for (n, id), r in zip(chosen, replies, strict=True)]
    write_rows(ws.folder / "rows.jsonl", rows)
    ended = sum(reply.stopped == "stop" for reply in replies)
    return {
        "rows": len(replies),
        "ended": ended,
        "share_ended": ended / len(replies),
        "cap_tokens": sampling.max_tokens,
    }


@dataclass(frozen=True)
class HeldOutText:
    """A text of the source that no arm trains on, and the query it answers. `id` is a hash of both."""

    id: str
    query: str
    text: str
    where: str


@stage(version=1)
def held_out(ws: Workspace, *, source: Any, pairs: int | None, min_words: int, max_words: int, texts: int) -> Metrics:
    """Texts of the source that come after those the pairs are made of: the same for all arms, whatever they train on.

    No model is asked, so a row without a query is none. A bad row stops nothing: the pairs' own reading stops there.
    """
    problems = Problems("skip")
    if pairs is None or not texts:
        found, why = [], "scale.pairs takes all there are" if pairs is None else "scale.held_out_texts is 0"
    else:
        found = held_out_rows(
            source.rows(problems), Selection(pairs, min_words, max_words), texts, source.min_votes, problems
        )
        why = None if len(found) == texts else f"the source holds no more beside {pairs} pairs"
    write_rows(ws.folder / "rows.jsonl", found)
    write_rows(ws.folder / "drops.jsonl", problems.drops)
    return {"rows": len(found), "wanted": texts, "why": why, "dropped": count_reasons(problems.drops)}


def held_out_rows(
    rows: Iterable[RawPair], selection: Selection, texts: int, min_votes: float | None, problems: Problems
) -> list[HeldOutText]:
    """Up to so many rows behind the selected ones that pass the same rules, none of them with a query of a row before
    it or with the text, or nearly the text, of one that was kept."""
    rest = iter(rows)
    taken = select(rest, selection, min_votes, problems)
    if len(taken) < (selection.pairs or math.inf):
        return []
    # Selected once more with what follows, so that one account of texts seen holds all of them.
    more = Selection(len(taken) + texts, selection.min_words, selection.max_words)
    kept = select(chain(taken, _newly_asked(rest, taken, problems)), more, min_votes, problems)[len(taken) :]
    return [HeldOutText(content_id(str(r.query), r.solution), str(r.query).strip(), r.solution, r.where) for r in kept]


def _newly_asked(rows: Iterable[RawPair], taken: Iterable[RawPair], problems: Problems) -> Iterator[RawPair]:
    """Rows whose query no row before them has."""
    asked = {tuple(words(row.query)) for row in taken if row.query}
    for row in rows:
        query = tuple(words(row.query or ""))
        if query and query not in asked:
            yield row
        else:
            problems.drops.append(Drop(row.where, "query_asked_before" if query else "no_query"))
        asked.add(query)


@stage(version=1)
def perplexity(
    ws: Workspace, *, trained: Artifact, held_out: Artifact, chat_format: ChatFormat, precision: DType
) -> Metrics:
    """The trained model's nll of each reference text, given its query, in nats per token.

    The query is the user's turn in the student's own template. The text is the assistant's, rendered as a row without
    thinking is taught: no think block, not even an empty one; an answer tag, where the format has one, is context. Only
    the text's own tokens count. Arms taught to think first are thus read off their habit, and an arm taught answers
    alone is not: part of the difference of two such arms is format. A text that exceeds the model's context together
    with its query is counted (`too_long`), not cut.
    """
    texts = held_out.rows(HeldOutText)
    if not texts:
        write_rows(ws.folder / "rows.jsonl", [])
        return {**expectation([]), "too_long": 0, "why": held_out.metrics["why"]}
    found: list[Nats | None] = []
    with trained_model(trained, precision).open(ws.runtime.device) as session:
        scorer = ReplayedScorer(session, journal_for(ws.replay, session.name))
        for start in range(0, len(texts), ws.runtime.width):
            part = [passage(row, chat_format) for row in texts[start : start + ws.runtime.width]]
            found += in_order(scorer.score(part), len(part))
            ws.progress("reference texts", len(found), len(texts))
    rows = [
        {"id": row.id, "tokens": len(nats) if nats else None, "nll": math.fsum(nats) / len(nats) if nats else None}
        for row, nats in zip(texts, found, strict=True)
    ]
    write_rows(ws.folder / "rows.jsonl", rows)
    return {**expectation([nats for nats in found if nats]), "too_long": found.count(None)}


def passage(row: HeldOutText, chat: ChatFormat) -> Passage:
    """The text to be scored, behind its query and whatever the chat format puts before an answer without thinking."""
    opening, _, _ = chat.completion("", row.text).partition(row.text)
    return Passage(Prompt((Message("user", row.query),), opening), row.text)


def expectation(texts: list[Nats]) -> Metrics:
    """Nats per token: over all tokens alike (`nll`), and over all texts alike (`nll_mean_of_texts`), which long texts
    do not rule. Without a text, neither."""
    tokens = sum(map(len, texts))
    if not tokens:
        return {"texts": 0, "tokens": 0}
    nll = math.fsum(map(math.fsum, texts)) / tokens
    return {
        "texts": len(texts),
        "tokens": tokens,
        "nll": nll,
        "perplexity": math.exp(nll),
        "nll_mean_of_texts": statistics.fmean(math.fsum(nats) / len(nats) for nats in texts),
    }


@stage(version=1)
def hygiene(ws: Workspace, *, answers: Artifact, graded: Artifact, benchmark: Any) -> Metrics:
    """What is plainly wrong with the answers, and every measure over those with which nothing is."""
    responses = answers.rows(Response)
    rows = [hygiene_of(item, response) for item, response in zip(benchmark.items(), responses, strict=True)]
    table = json.loads((graded.path / "scores.json").read_text(encoding="utf-8"))
    write_rows(ws.folder / "rows.jsonl", [{**plain(row), "clean": row.clean} for row in rows])
    return {**summary(rows), "clean_scores": clean_scores(benchmark.name, table, rows)}


@stage(version=1)
def reliability(
    ws: Workspace, *, answers: Artifact, graded: Artifact, benchmark: Any, judge: Judge, checks: ReliabilityChecks
) -> Metrics:
    """How far the judge can be trusted with these answers. Anchors are asked anew for each run's answers."""
    judged = Judged(benchmark, benchmark.items(), answers.rows(Response), graded.rows(Verdict))
    with ExitStack() as opened:
        session = opened.enter_context(judge_session(ws, judge))
        second = opened.enter_context(judge_session(ws, checks.second)) if checks.second else None
        return examine(judged, checks, session, second, answers.fingerprint, ws.judgements / "anchors")
