"""Stages that need no judge: the hygiene of answers, and how well the trained model expects texts nobody trained on."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from evals.benchmark import Response
from evals.hygiene import clean_scores, summary
from evals.hygiene import hygiene as hygiene_of
from experiments.evaluation import trained_model
from experiments.files import plain, write_rows
from experiments.stages import counts
from experiments.store import Artifact, Metrics, Workspace, stage
from reer.chat import ChatFormat
from reer.models.local import DType
from reer.models.protocols import Nats, Passage, Prompt
from reer.models.replay import ReplayedScorer, journal_for
from reer.pairs import Selection, select
from reer.sources.rows import Problems
from reer.text import words
from reer.types import Drop, Message, RawPair, content_id


@dataclass(frozen=True)
class Reference:
    """A text of the source that no arm trains on, and the query it answers. `id` is a hash of both."""

    id: str
    query: str
    text: str
    where: str


@stage(version=1)
def hygiene(ws: Workspace, *, answers: Artifact, graded: Artifact, benchmark: Any) -> Metrics:
    """What is plainly wrong with the answers, and every measure over those with which nothing is."""
    responses = answers.rows(Response)
    rows = [hygiene_of(item, response) for item, response in zip(benchmark.items(), responses, strict=True)]
    table = json.loads((graded.path / "scores.json").read_text(encoding="utf-8"))
    write_rows(ws.folder / "rows.jsonl", [{**plain(row), "clean": row.clean} for row in rows])
    return {**summary(rows), "clean_scores": clean_scores(benchmark.name, table, rows)}


@stage(version=1)
def references(ws: Workspace, *, source: Any, pairs: int | None, min_words: int, max_words: int, texts: int) -> Metrics:
    """Texts of the source that come after those the pairs are made of: the same for all arms, whatever they train on.

    No model is asked, so a row without a query is none. A bad row stops nothing: the pairs' own reading stops there.
    """
    problems = Problems("skip")
    if pairs is None or not texts:
        found, why = [], "scale.pairs takes all there are" if pairs is None else "scale.reference_texts is 0"
    else:
        found = held_out(
            source.rows(problems), Selection(pairs, min_words, max_words), texts, source.min_votes, problems
        )
        why = None if len(found) == texts else f"the source holds no more beside {pairs} pairs"
    write_rows(ws.folder / "rows.jsonl", found)
    write_rows(ws.folder / "drops.jsonl", problems.drops)
    return {"rows": len(found), "wanted": texts, "why": why, "dropped": counts(problems.drops)}


def held_out(
    rows: Iterable[RawPair], selection: Selection, texts: int, min_votes: float | None, problems: Problems
) -> list[Reference]:
    """Up to so many rows behind the selected ones that pass the same rules, none of them with a query of a row before
    it or with the text, or nearly the text, of one that was kept."""
    rest = iter(rows)
    taken = select(rest, selection, min_votes, problems)
    if len(taken) < (selection.pairs or math.inf):
        return []
    # Selected once more with what follows, so that one account of texts seen holds all of them.
    more = Selection(len(taken) + texts, selection.min_words, selection.max_words)
    kept = select(chain(taken, _newly_asked(rest, taken, problems)), more, min_votes, problems)[len(taken) :]
    return [Reference(content_id(str(r.query), r.solution), str(r.query).strip(), r.solution, r.where) for r in kept]


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
    ws: Workspace, *, trained: Artifact, references: Artifact, chat: ChatFormat, precision: DType
) -> Metrics:
    """The trained model's nll of each reference text, given its query, in nats per token.

    The query is the user's turn in the student's own template. The text is the assistant's, rendered as a row without
    thinking is taught: no think block, not even an empty one; an answer tag, where the format has one, is context. Only
    the text's own tokens count. Arms taught to think first are thus read off their habit, and an arm taught answers
    alone is not: part of the difference of two such arms is format. A text that exceeds the model's context together
    with its query is counted (`too_long`), not cut.
    """
    texts = references.rows(Reference)
    if not texts:
        write_rows(ws.folder / "rows.jsonl", [])
        return {**expectation([]), "too_long": 0, "why": references.metrics["why"]}
    found: list[Nats | None] = []
    with trained_model(trained, precision).open(ws.runtime.device) as session:
        scorer = ReplayedScorer(session, journal_for(ws.replay, session.name))
        for start in range(0, len(texts), ws.runtime.width):
            found += scorer.score([passage(row, chat) for row in texts[start : start + ws.runtime.width]])
            ws.progress("reference texts", len(found), len(texts))
    rows = [
        {"id": row.id, "tokens": len(nats) if nats else None, "nll": math.fsum(nats) / len(nats) if nats else None}
        for row, nats in zip(texts, found, strict=True)
    ]
    write_rows(ws.folder / "rows.jsonl", rows)
    return {**expectation([nats for nats in found if nats]), "too_long": found.count(None)}


def passage(row: Reference, chat: ChatFormat) -> Passage:
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
        "texts": len(texts), "tokens": tokens, "nll": nll, "perplexity": math.exp(nll),
        "nll_mean_of_texts": statistics.fmean(math.fsum(nats) / len(nats) for nats in texts),
    }  # fmt: skip
