"""The last stages: the trained model answers, judges grade, lm-eval runs, and overlaps with benchmarks are reported."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from evals.benchmark import ItemScores, Measure, Response, Verdict, item_scores, judged_by_item, measures
from evals.health import Health, Judged, examine
from evals.judge import Judge
from evals.judging import judge_all, unscored_reasons
from evals.lm_harness import LmEval
from evals.records import Judgements
from evals.sitting import JudgeSession
from experiments.files import plain, write_json, write_rows
from experiments.stages import replayed
from experiments.store import Artifact, Metrics, Workspace, stage
from reer.chat import Rendered
from reer.match import trained as trained_tokens
from reer.models.checkpoints import FolderModel
from reer.models.local import DType, LocalModel
from reer.models.protocols import Prompt, Request, Sampling
from reer.pairs import benchmark_overlap
from reer.types import Message, Pair, Sample, item_seed


@stage(version=1)
def overlap(ws: Workspace, *, pairs: Artifact, benchmarks: Mapping[str, Any]) -> Metrics:
    """Which pairs ask what a benchmark asks: reported, not dropped."""
    rows = pairs.rows(Pair)
    judged = {name: benchmark for name, benchmark in benchmarks.items() if not isinstance(benchmark, LmEval)}
    found = {name: benchmark_overlap(rows, [i.prompt for i in b.items()]) for name, b in judged.items()}
    write_json(ws.folder / "overlap.json", found)
    return {f"overlapping_pairs_{name}": len(ids) for name, ids in found.items()}


@stage(version=1)
def stops(
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
        replies = session.generate(asked)
    rows = [{"id": id, "taught_tokens": n, **plain(r)} for (n, id), r in zip(chosen, replies, strict=True)]
    write_rows(ws.folder / "rows.jsonl", rows)
    ended = sum(reply.stopped == "stop" for reply in replies)
    return {
        "rows": len(replies),
        "ended": ended,
        "share_ended": ended / len(replies),
        "cap_tokens": sampling.max_tokens,
    }


def trained_model(trained: Artifact, precision: DType) -> LocalModel:
    """The model that a training left, named by its build."""
    return LocalModel(FolderModel(str(trained.path / "model"), f"{trained.fingerprint}-{trained.build}"), precision)


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
            for item, reply in zip(part, session.generate(asked), strict=True):
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
    with sitting(ws, judge) as session:
        verdicts = judge_all(benchmark, items, responses, session, lambda n: ws.progress("verdicts", n, calls))
        cost = _cost(session, verdicts)
    table = item_scores(benchmark, items, responses, verdicts)
    write_rows(ws.folder / "rows.jsonl", verdicts)
    official = {} if judge.fenced else benchmark.official(items, judged_by_item(responses, verdicts))
    reasked = sum(len(verdict.earlier) for verdict in verdicts)
    counted = {"unscored": unscored_reasons(verdicts), "asked_again": reasked, "official": official, **cost}
    return {**counted, **_write_scores(ws, table, measures(benchmark, table))}


@stage(version=1)
def health(
    ws: Workspace, *, answers: Artifact, graded: Artifact, benchmark: Any, judge: Judge, health: Health
) -> Metrics:
    """How far the judge can be trusted with these answers. Anchors are asked anew for each run's answers."""
    judged = Judged(benchmark, benchmark.items(), answers.rows(Response), graded.rows(Verdict))
    with ExitStack() as opened:
        session = opened.enter_context(sitting(ws, judge))
        second = opened.enter_context(sitting(ws, health.second)) if health.second else None
        return examine(judged, health, session, second, answers.fingerprint, ws.judgements / "anchors")


def sitting(ws: Workspace, judge: Judge) -> JudgeSession:
    """A judge at work over the records of this store."""
    return JudgeSession(judge, Judgements(ws.judgements), ws.runtime.device, ws.budget_usd)


def _cost(session: JudgeSession, verdicts: Sequence[Verdict]) -> Metrics:
    """What these judgements took, whichever run paid for them, and what this one paid."""
    found = [record for verdict in verdicts for key in verdict.records if (record := session.records.find(key))]
    seconds = [record.seconds for record in found if record.seconds is not None]
    return {
        "judgements": len(found), "judgements_asked_here": session.asked,
        "judge_tokens_read": sum(record.prompt_tokens for record in found),
        "judge_tokens_written": sum(record.tokens for record in found),
        "judge_usd": math.fsum(record.usd for record in found), "judge_usd_paid_here": session.paid_usd,
        "judge_seconds_median": statistics.median(seconds) if seconds else None,
        "judge_served": sorted({record.served for record in found if record.served}),
    }  # fmt: skip


@stage(version=2)
def harness(ws: Workspace, *, trained: Artifact, benchmark: LmEval) -> Metrics:
    """lm-eval tasks on the trained model."""
    found, table = benchmark.evaluate(trained.path / "model", ws.runtime.device)
    return _write_scores(ws, table, found)


def _write_scores(ws: Workspace, table: ItemScores, found: Sequence[Measure]) -> Metrics:
    write_json(ws.folder / "scores.json", table)
    return {"measures": [{**plain(measure), "coverage": measure.coverage} for measure in found]}
