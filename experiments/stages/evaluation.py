"""The stages of evaluation: the trained model answers, judges grade, lm-eval runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from evals.benchmark import ItemScores, Measure, Response, Verdict, item_scores, judged_by_item, measures
from evals.judging.judge import Judge
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all, unscored_reasons
from evals.lm_eval.harness import LmEval
from experiments.store.stages import Artifact, Metrics, Workspace, stage
from experiments.workers.models import judge_session, replayed, trained_model
from reer.files import plain, write_json, write_rows
from reer.models.local.model import DType
from reer.models.protocols import Prompt, Request, in_order
from reer.types import Message, item_seed


@stage(version=2)
def generate(
    ws: Workspace, *, trained: Artifact, benchmark: Any, max_tokens: int, seed: int, precision: DType
) -> Metrics:
    """The trained model's response to every item of a benchmark, with the benchmark's own settings."""
    sampling = benchmark.sampling(max_tokens)
    items, responses = benchmark.items(), []
    with replayed(ws, trained_model(trained, precision)) as session:
        for start in range(0, len(items), ws.runtime.width):
            part = items[start : start + ws.runtime.width]
            asked = [
                Request(Prompt((Message("user", i.prompt),)), sampling, item_seed(seed, i.id, "answer")) for i in part
            ]
            for item, reply in zip(part, in_order(session.generate(asked), len(asked)), strict=True):
                cut = reply.stopped != "stop"
                responses.append(Response.read(item.id, reply.text, cut, reply.tokens, reply.stopped))
            ws.progress("answers", start + len(part), len(items))
    write_rows(ws.folder / "rows.jsonl", responses)
    return {
        "rows": len(responses),
        "empty_answers": sum(not r.answer.strip() for r in responses),
        "truncated": sum(r.truncated for r in responses),
        "unclosed_thinking": sum(not r.closed for r in responses),
        "with_thinking": sum(bool(r.thinking) for r in responses),
        "mean_tokens": statistics.fmean(r.tokens for r in responses),
    }


@stage(version=4)
def grade(ws: Workspace, *, answers: Artifact, benchmark: Any, judge: Judge) -> Metrics:
    """Verdicts, per-item scores, and measures with their coverage. What the authors' scripts would make of the replies
    is told where the judge was asked in the authors' words."""
    items, responses = benchmark.items(), answers.rows(Response)
    calls = sum(len(benchmark.calls(item, response)) for item, response in zip(items, responses, strict=True))
    with judge_session(ws, judge) as session:
        verdicts = judge_all(benchmark, items, responses, session, lambda n: ws.progress("verdicts", n, calls))
        cost = _cost(session, verdicts)
    table = item_scores(benchmark, items, responses, verdicts)
    write_rows(ws.folder / "rows.jsonl", verdicts)
    official = {} if judge.fenced else benchmark.official(items, judged_by_item(responses, verdicts))
    reasked = sum(len(verdict.earlier) for verdict in verdicts)
    counted = {"unscored": unscored_reasons(verdicts), "asked_again": reasked, "official": official, **cost}
    return {**counted, **_write_scores(ws, table, measures(benchmark, table))}


def _cost(session: JudgeSession, verdicts: Sequence[Verdict]) -> Metrics:
    """What these judgements took, whichever run paid for them, and what this one paid."""
    found = [record for verdict in verdicts for key in verdict.records if (record := session.records.find(key))]
    seconds = [record.seconds for record in found if record.seconds is not None]
    return {
        "judgements": len(found),
        "judgements_asked_here": session.asked,
        "judge_tokens_read": sum(record.prompt_tokens for record in found),
        "judge_tokens_written": sum(record.tokens for record in found),
        "judge_usd": math.fsum(record.usd for record in found),
        "judge_usd_paid_here": session.paid_usd,
        "judge_seconds_median": statistics.median(seconds) if seconds else None,
        "judge_served": sorted({record.served for record in found if record.served}),
    }


@stage(version=2)
def harness(ws: Workspace, *, trained: Artifact, benchmark: LmEval) -> Metrics:
    """lm-eval tasks on the trained model."""
    found, table = benchmark.evaluate(trained.path / "model", ws.runtime.device)
    return _write_scores(ws, table, found)


def _write_scores(ws: Workspace, table: ItemScores, found: Sequence[Measure]) -> Metrics:
    write_json(ws.folder / "scores.json", table)
    return {"measures": [{**plain(measure), "coverage": measure.coverage} for measure in found]}
