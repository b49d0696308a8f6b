"""The stages that probe how far answers, judge, data and model can be trusted."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import chain

from evals.benchmark import Benchmark, Response, Verdict
from evals.held_out import HeldOutText
from evals.hygiene import clean_scores, summary
from evals.hygiene import hygiene as hygiene_of
from evals.judging.panel import Grader
from evals.judging.reliability import JudgedAnswers, ReliabilityChecks, measure_reliability
from evals.lm_eval.harness import LmEval
from experiments.metrics.probes import (
    HELD_OUT,
    HYGIENE,
    OVERLAP,
    PERPLEXITY,
    RELIABILITY,
    TERMINATION,
    HeldOutMetrics,
    HygieneMetrics,
    OverlapMetrics,
    PerplexityMetrics,
    ReliabilityMetrics,
    TerminationMetrics,
)
from experiments.store.metrics import read_metrics
from experiments.store.step import Artifact, stage
from experiments.store.workspace import Workspace
from reer.data.duplicates import SameRow
from reer.data.pairs import EVERY, Quotas, Selection, Source, benchmark_overlap, select
from reer.data.rows import Problems
from reer.files import plain, write_json, write_rows
from reer.models.local.model import DType
from reer.models.placement import EngineName
from reer.models.protocols import Nats, Prompt, Request, Sampling, in_order
from reer.models.replay import ReplayedScorer, journal_for
from reer.text import words
from reer.training.chat_format import ChatFormat, Rendered
from reer.training.matching import trained_tokens
from reer.types import Drop, Pair, RawPair, Sample, content_id, count_reasons, item_seed


@stage(OVERLAP, version=1)
def overlap(ws: Workspace, *, pairs: Artifact, benchmarks: Mapping[str, Benchmark | LmEval]) -> OverlapMetrics:
    """Which pairs ask what a benchmark asks: reported, not dropped."""
    rows = pairs.rows(Pair)
    judged = {name: benchmark for name, benchmark in benchmarks.items() if not isinstance(benchmark, LmEval)}
    ids = {name: benchmark_overlap(rows, [i.prompt for i in b.items()]) for name, b in judged.items()}
    write_json(ws.folder / "overlap.json", ids)
    return OverlapMetrics(overlapping_pairs={name: len(of_benchmark) for name, of_benchmark in ids.items()})


@stage(TERMINATION, version=2)
def termination(
    ws: Workspace,
    *,
    trained: Artifact,
    mixed: Artifact,
    rendered: Artifact,
    samples: int,
    seed: int,
    precision: DType,
    engine: EngineName = "transformers",
) -> TerminationMetrics:
    """How often the trained model ends an answer by itself. The prompts are training rows, those around the lower
    quartile of length, and the limit is twice the tokens of the longest of them."""
    by_length = sorted((trained_tokens(row), row.id) for row in rendered.rows(Rendered))
    start = max(0, len(by_length) // 4 - samples // 2)
    chosen = by_length[start : start + samples]
    prompts = {row.id: Prompt(row.messages[:-1]) for row in mixed.rows(Sample)}
    sampling = Sampling(temperature=0.7, top_p=0.95, max_tokens=2 * max(tokens for tokens, _ in chosen))
    requests = [Request(prompts[row_id], sampling, item_seed(seed, row_id, "stop")) for _, row_id in chosen]
    with ws.replayed(ws.trained_model(trained, precision, engine), "student") as session:
        replies = in_order(session.generate(requests), len(requests))
    rows = [{"id": row_id, "taught_tokens": n, **plain(r)} for (n, row_id), r in zip(chosen, replies, strict=True)]
    write_rows(ws.folder / "rows.jsonl", rows)
    ended = sum(reply.stopped == "stop" for reply in replies)
    return TerminationMetrics(
        rows=len(replies), ended=ended, share_ended=ended / len(replies), cap_tokens=sampling.max_tokens
    )


@stage(HELD_OUT, version=2)
def held_out(ws: Workspace, *, source: Source, selection: Selection, texts: int) -> HeldOutMetrics:
    """Texts of the source that come after those of the pairs: the same for all arms, whatever they train on.

    No model is asked, so a row without a query is dropped. Bad rows are skipped: the stage `pairs` reports them.
    """
    problems = Problems("skip")
    rows: list[HeldOutText] = []
    if selection.pairs is None:
        why = "scale.pairs takes all texts of the source"
    elif not texts:
        why = "scale.held_out_texts is 0"
    else:
        rows = held_out_rows(source.rows(problems), selection, texts, problems, source.quotas, source.same_row)
        why = None if len(rows) == texts else f"the source has no more texts beside {selection.pairs} pairs"
    write_rows(ws.folder / "rows.jsonl", rows)
    write_rows(ws.folder / "drops.jsonl", problems.drops)
    return HeldOutMetrics(rows=len(rows), wanted=texts, why=why, dropped=count_reasons(problems.drops))


def held_out_rows(
    rows: Iterable[RawPair],
    selection: Selection,
    texts: int,
    problems: Problems,
    quotas: Quotas = EVERY,
    same_row: SameRow = "solution",
) -> list[HeldOutText]:
    """At most `texts` rows after the selected ones that pass the same rules; a row whose query an earlier row has, or
    whose text equals or nearly equals one already kept, is dropped."""
    rest = iter(rows)
    taken = select(rest, selection, problems, quotas, same_row)
    if len(taken) < (selection.pairs or math.inf):
        return []
    # The pairs are selected again together with what follows, so that duplicates are found across both.
    more = replace(selection, pairs=len(taken) + texts)
    kept = select(chain(taken, _newly_asked(rest, taken, problems)), more, problems)
    places = {(row.source, row.where) for row in taken}
    fresh = [row for row in kept if (row.source, row.where) not in places][:texts]
    return [HeldOutText(content_id(str(r.query), r.solution), str(r.query).strip(), r.solution, r.where) for r in fresh]


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


@stage(PERPLEXITY, version=1)
def perplexity(
    ws: Workspace,
    *,
    trained: Artifact,
    held_out: Artifact[HeldOutMetrics],
    chat_format: ChatFormat,
    precision: DType,
    engine: EngineName = "transformers",
) -> PerplexityMetrics:
    """The trained model's nll of each held-out text, given its query, in nats per token.

    The query is the user's turn in the student's own template. The text is the assistant's turn, rendered like a
    training row without thinking: no think block, not even an empty one; an answer tag, where the format has one, is
    context. Only the text's own tokens count. An arm trained to think first is thus scored in a format it was not
    trained on, and an arm trained on answers alone is not: part of the difference between two such arms is format. A
    text that exceeds the model's context together with its query is counted (`too_long`), not cut.
    """
    texts = held_out.rows(HeldOutText)
    scores: list[Nats | None] = []
    if texts:
        with ws.trained_model(trained, precision, engine).open(ws.runtime.device_for("student")) as session:
            scorer = ReplayedScorer(session, journal_for(ws.replay, session.name))
            for start in range(0, len(texts), ws.runtime.width):
                part = [row.after(chat_format.opening) for row in texts[start : start + ws.runtime.width]]
                scores += in_order(scorer.score(part), len(part))
                ws.progress("held-out texts", len(scores), len(texts))
    rows = [
        {"id": row.id, "tokens": len(nats) if nats else None, "nll": math.fsum(nats) / len(nats) if nats else None}
        for row, nats in zip(texts, scores, strict=True)
    ]
    write_rows(ws.folder / "rows.jsonl", rows)
    scored = [nats for nats in scores if nats]
    return perplexity_metrics(scored, too_long=scores.count(None), why=None if texts else held_out.metrics.why)


def perplexity_metrics(texts: Sequence[Nats], too_long: int = 0, why: str | None = None) -> PerplexityMetrics:
    """The metrics of these texts, each given as the nats of its tokens."""
    tokens = sum(map(len, texts))
    nll = math.fsum(map(math.fsum, texts)) / tokens if tokens else None
    return PerplexityMetrics(
        texts=len(texts) if tokens else 0,
        tokens=tokens,
        nll=nll,
        perplexity=None if nll is None else math.exp(nll),
        nll_mean_of_texts=statistics.fmean(math.fsum(n) / len(n) for n in texts) if tokens else None,
        too_long=too_long,
        why=why,
    )


@stage(HYGIENE, version=1)
def hygiene(ws: Workspace, *, answers: Artifact, graded: Artifact, benchmark: Benchmark) -> HygieneMetrics:
    """The plain defects of the answers, and every measure over the answers without any."""
    responses = answers.rows(Response)
    rows = [hygiene_of(item, response) for item, response in zip(benchmark.items(), responses, strict=True)]
    table = json.loads(graded.file("scores.json").read_text(encoding="utf-8"))
    write_rows(ws.folder / "rows.jsonl", [{**plain(row), "clean": row.clean} for row in rows])
    over_clean = tuple(clean_scores(benchmark.name, table, rows))
    return HygieneMetrics(**asdict(summary(rows)), clean_scores=over_clean)


@stage(RELIABILITY, version=3)
def reliability(
    ws: Workspace,
    *,
    answers: Artifact,
    graded: Artifact,
    benchmark: Benchmark,
    judge: Grader,
    checks: ReliabilityChecks,
) -> ReliabilityMetrics:
    """How far the judge can be trusted with these answers. Anchors are judged again for each run."""
    judged = JudgedAnswers(benchmark, benchmark.items(), answers.rows(Response), graded.rows(Verdict))
    with ExitStack() as opened:
        session = opened.enter_context(ws.judge_session(judge))
        second = opened.enter_context(ws.judge_session(checks.second)) if checks.second else None
        measured = measure_reliability(judged, checks, session, second, answers.fingerprint, ws.first_scores)
    return read_metrics(ReliabilityMetrics, asdict(measured), "stage reliability")
