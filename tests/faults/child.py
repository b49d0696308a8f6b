"""A process that does jobs for `harness`, each in a fork of itself, so that a job need not import anything.

It reads one job per line from its standard input. For each it writes two lines: the process id of the fork, and how
the fork ended. A fork that ends by itself leaves the counts of its fault points in the job's report.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import aiohttp  # imported for the jobs
from pydantic import TypeAdapter

from evals.benchmark import Item, Response
from evals.benchmarks.writing import WritingPrompts
from evals.judging.judge import Judge
from evals.judging.records import Question
from evals.judging.session import JudgeSession
from experiments.experiment import Experiment
from experiments.metrics.evaluation import GenerateMetrics
from experiments.pipeline import training_rows
from experiments.stages import evaluation, training
from experiments.store.metrics import RowMetrics
from experiments.store.overlap import Overlap
from experiments.store.provenance import provenance
from experiments.store.step import StageKey, Step, stage
from experiments.store.store import Monitor, Store
from experiments.store.workspace import Workspace
from reer.files import write_rows
from reer.models.protocols import Prompt, Request, Sampling
from reer.models.services.openai import ChatServer
from reer.types import Message, item_seed
from tests.fakes.plans import compose
from tests.faults.injection import Fault, Point, inject

assert aiohttp
SECONDS_PER_ANSWER = 0.03  # of those that are judged while others are written
CONCURRENCY = 8  # calls of a judge in flight
SAMPLING = Sampling(temperature=0.5, top_p=1.0, max_tokens=40)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run: `work` in WORK, below `root`, asking the judge at `judge_url`; `items` sets its size. `report` is
    the file for the counts, `log` the one for its output."""

    work: str
    items: int
    root: str
    judge_url: str
    report: str
    log: str
    fault: Fault | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """How often each fault point was passed, and the stages that were computed."""

    counts: Mapping[Point, int]
    computed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The exit code of a job; negative: the signal that ended it."""

    code: int


@stage(StageKey("scripted_answers", GenerateMetrics), version=1)
def scripted_answers(ws: Workspace, *, benchmark: WritingPrompts) -> GenerateMetrics:
    """An answer to every item of a benchmark without a trained model."""
    return _written(ws, [_answer(item) for item in benchmark.items()])


@stage(StageKey("paced_answers", GenerateMetrics), version=1)
def paced_answers(ws: Workspace, *, benchmark: WritingPrompts) -> GenerateMetrics:
    """The same answers, one after another."""
    rows: list[Response] = []
    for item in benchmark.items():
        time.sleep(SECONDS_PER_ANSWER)
        rows.append(_answer(item))
        ws.finished(rows[-1])
    return _written(ws, rows)


def _answer(item: Item) -> Response:
    return Response.read(item.id, f"The answer to {item.id}.", False, 5, "stop")


def _written(ws: Workspace, rows: Sequence[Response]) -> GenerateMetrics:
    write_rows(ws.folder / "rows.jsonl", rows)
    return GenerateMetrics(
        rows=len(rows), empty_answers=0, truncated=0, unclosed_thinking=0, with_thinking=0, mean_tokens=5.0
    )


@stage(StageKey("many_judgements", RowMetrics), version=1)
def many_judgements(ws: Workspace, *, judge: Judge, items: int) -> RowMetrics:
    """One tiny question per item."""
    questions = [question(judge, number) for number in range(items)]
    with ws.judge_session(judge) as session:
        assert isinstance(session, JudgeSession)
        answers = session.ask(questions, lambda question, reply: "read")
    rows = [{"id": q.item_id, "reply": a.completion.text} for q, a in zip(questions, answers, strict=True)]
    write_rows(ws.folder / "rows.jsonl", rows)
    return RowMetrics(rows=len(rows))


def question(judge: Judge, number: int) -> Question:
    item = f"item-{number}"
    request = Request(Prompt((Message("user", f'Give a "score" to {item}.'),)), SAMPLING, item_seed(0, item, "judge"))
    return Question(benchmark="soak", item_id=item, criterion="", judge=judge.model_name, request=request, attempt=0)


@cache
def experiment(pairs: int) -> Experiment:
    return compose("scale=smoke", f"scale.pairs={pairs}", "tracking=silent")


def judge_at(url: str) -> Judge:
    model = ChatServer(
        model="scripted-judge",
        base_url=url,
        health_check=False,
        concurrency=CONCURRENCY,
        timeout_seconds=2.0,
        attempts=20,
    )
    scripted = experiment(8).judge
    assert isinstance(scripted, Judge)
    return replace(scripted, model=model)


def rows_and_grades(items: int, judge: Judge) -> list[Step]:
    """The stages from pairs to the mixture with scripted models, and the grades of scripted answers."""
    exp = experiment(items)
    (benchmark,) = exp.benchmark.values()
    answers = scripted_answers(benchmark=benchmark)
    graded = evaluation.grade(label="writing", answers=answers, benchmark=benchmark, judge=judge)
    return [training_rows(exp)[training.mix.named()], graded]


def judgements(items: int, judge: Judge) -> list[Step]:
    return [many_judgements(judge=judge, items=items)]


def judged_ahead(items: int, judge: Judge) -> list[Step]:
    """Answers that are judged while others are written."""
    (benchmark,) = experiment(items).benchmark.values()
    return [evaluation.grade(answers=paced_answers(benchmark=benchmark), benchmark=benchmark, judge=judge)]


WORK: Mapping[str, Callable[[int, Judge], list[Step]]] = {
    "stages": rows_and_grades,
    "judgements": judgements,
    "judged ahead": judged_ahead,
}


def do(job: Job, steps: Sequence[Step]) -> None:
    """Build the steps of a job with its fault, and report."""
    points = inject(Path(job.root), job.fault)
    computed: list[str] = []
    monitor = Monitor(started=lambda step: computed.append(step.stage.name))
    try:
        with Overlap(steps) as overlap:
            store = Store(root=Path(job.root), runtime=experiment(8).runtime, monitor=monitor, overlap=overlap)
            for step in steps:
                store.build(step)
    finally:
        report = Report(counts=dict(points.counts), computed=tuple(computed))
        Path(job.report).write_text(json.dumps(dataclasses.asdict(report)))


def in_fork(job: Job) -> int:
    """The process id of a fork that does the job and ends."""
    steps = WORK[job.work](job.items, judge_at(job.judge_url))
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        do(job, steps)
        code = 0
    except BaseException:  # whatever ended the job is its outcome, and this fork must not return
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    provenance()  # once, for all forks
    jobs, output = TypeAdapter(Job), sys.stdout
    for line in sys.stdin:
        process = in_fork(jobs.validate_json(line))
        print(process, file=output, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), file=output, flush=True)


if __name__ == "__main__":
    main()
