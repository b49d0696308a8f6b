"""The stages of evaluation: the trained model answers, judges grade, lm-eval runs."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager

from evals.answering import BY_ITSELF, Answering, Turn
from evals.answers import AnswerSource
from evals.benchmark import (
    Benchmark,
    Item,
    JudgedBenchmark,
    Response,
    Verdict,
    group_measures,
    item_scores,
    measures,
)
from evals.held_out import HeldOutText, TextScores, Thought, table_of, text_measures, thoughts
from evals.hygiene import loops
from evals.judging.panel import Grader, GradingSession, between_members, members_of
from evals.judging.verdicts import EMPTY_ANSWER, judge_ahead, judge_all, official_scores, unscored_reasons
from evals.lm_eval.harness import LmEval
from experiments.metrics.evaluation import (
    GENERATE,
    GRADE,
    HARNESS,
    HELD_OUT_SCORES,
    OWN_ANSWERS,
    GenerateMetrics,
    GradeMetrics,
    HarnessMetrics,
    HeldOutScoreMetrics,
)
from experiments.store.metrics import number
from experiments.store.step import Ahead, Artifact, WorkAhead, stage
from experiments.store.workspace import Workspace
from reer.errors import InputError
from reer.files import write_json, write_rows
from reer.models.local.model import DType, LocalModel, saved_precision
from reer.models.placement import EngineName
from reer.models.protocols import Completion, Nats, Prompt, Request, Sampling, generated, in_order
from reer.models.replay import ReplayedScorer, journal_for, replayed_generator
from reer.training.chat_format import ChatFormat
from reer.types import Message, item_seed

log = logging.getLogger(__name__)


@stage(OWN_ANSWERS, version=1)
def own_answers(
    ws: Workspace,
    *,
    trained: Artifact,
    benchmark: Benchmark,
    max_tokens: int,
    seed: int,
    precision: DType,
    engine: EngineName = "transformers",
) -> GenerateMetrics:
    """The responses of `generate` by itself, for an arm whose student is given what it thought in them. They are a
    stage of their own, so that no report takes them for the answers of that arm; stored calls are replayed."""
    return _answered(ws, ws.trained_model(trained, precision, engine), benchmark, max_tokens, seed, BY_ITSELF, [])


@stage(GENERATE, version=3)
def generate(
    ws: Workspace,
    *,
    trained: Artifact,
    benchmark: Benchmark,
    max_tokens: int,
    seed: int,
    precision: DType,
    engine: EngineName = "transformers",
    answering: Answering = BY_ITSELF,
    own: Artifact[GenerateMetrics] | None = None,
) -> GenerateMetrics:
    """The trained model's response to every item of a benchmark, with the benchmark's own settings. `own` are its
    answers by itself, where `answering` needs them. A thinking that is given does not count for `max_tokens`."""
    model, before = ws.trained_model(trained, precision, engine), own.rows(Response) if own else []
    return _answered(ws, model, benchmark, max_tokens, seed, answering, before)


def _answered(
    ws: Workspace,
    model: LocalModel,
    benchmark: Benchmark,
    max_tokens: int,
    seed: int,
    answering: Answering,
    own: Sequence[Response],
) -> GenerateMetrics:
    """Write the model's responses, and count them."""
    items, sampling, began = benchmark.items(), benchmark.sampling(max_tokens), time.monotonic()
    with ws.replayed(model, "student") as session:

        def arriving(turns: Sequence[Turn], sampling: Sampling, seeded: str) -> Iterator[tuple[int, Completion]]:
            begun = zip(items, turns, strict=True)
            requests = [_request(item, turn, sampling, item_seed(seed, item.id, seeded)) for item, turn in begun]
            return generated(session, requests, ws.runtime.width)

        def ask(turns: Sequence[Turn], sampling: Sampling) -> Sequence[Completion]:
            return in_order(arriving(turns, sampling, "thinking"), len(items))

        turns, came = answering.turns(items, own, ask, sampling), dict[int, Response]()
        for at, reply in arriving(turns, sampling, "answer"):
            text, tokens = turns[at].prefill + reply.text, turns[at].tokens + reply.tokens
            came[at] = Response.read(items[at].id, text, reply.stopped != "stop", tokens, reply.stopped)
            ws.finished(came[at])
            ws.progress("answers", len(came), len(items))
            ws.curve(_answers_so_far(list(came.values()), time.monotonic() - began))
    responses = [came[at] for at in range(len(items))]
    write_rows(ws.folder / "rows.jsonl", responses)
    return _metrics(responses, given=sum(bool(turn.prefill) for turn in turns))


@stage(GENERATE, version=1)
def given_answers(ws: Workspace, *, answers: AnswerSource, benchmark: JudgedBenchmark) -> GenerateMetrics:
    """The answers of a file in the place of generated ones. Items without an answer are left out, with a warning, and
    have no score. Raises InputError where no item has one."""
    found = answers.responses(benchmark.all_items(), benchmark.items())
    if not found.responses:
        raise InputError(f"answers: {answers.path} has no answer to an item of {benchmark.name}")
    if found.missing or found.beside:
        log.warning(
            "%s: %d items have no answer and no score; %d answers are to items outside the sample",
            benchmark.name,
            found.missing,
            found.beside,
        )
    write_rows(ws.folder / "rows.jsonl", found.responses)
    return _metrics(found.responses, given=0)


def _metrics(responses: Sequence[Response], given: int) -> GenerateMetrics:
    return GenerateMetrics(
        rows=len(responses),
        empty_answers=sum(not r.answer.strip() for r in responses),
        truncated=sum(r.truncated for r in responses),
        unclosed_thinking=sum(not r.closed for r in responses),
        with_thinking=sum(bool(r.thinking) for r in responses),
        mean_tokens=statistics.fmean(r.tokens for r in responses),
        given_thinking=given,
    )


def _request(item: Item, turn: Turn, sampling: Sampling, seed: int) -> Request:
    return Request(Prompt((Message("user", item.prompt),), turn.prefill), sampling, seed)


def _answers_so_far(responses: Sequence[Response], seconds: float) -> dict[str, float]:
    done = len(responses)
    return {
        "done": done,
        "tokens_per_second": sum(r.tokens for r in responses) / seconds,
        "truncated_share": sum(r.truncated for r in responses) / done,
        "empty_share": sum(not r.answer.strip() for r in responses) / done,
    }


class ScoreSoFar:
    """The mean over the items of which every call has a verdict, in the first metric that needs one; `calls` are those
    of all items. An item has the score that it has in the end, unless one of its calls is asked again."""

    def __init__(self, benchmark: Benchmark, items: Sequence[Item], responses: Sequence[Response]) -> None:
        self.benchmark, self.items = benchmark, {item.id: item for item in items}
        self.responses = {response.item_id: response for response in responses}
        expected = {item.id: len(benchmark.calls(item, self.responses[item.id])) for item in items}
        self.expected, self.calls = expected, sum(expected.values())
        self.verdicts: dict[str, dict[str, Verdict]] = {item.id: {} for item in items}
        self.scores: dict[str, float] = {}

    def add(self, verdict: Verdict) -> None:
        """The verdict on a call, or the next one on a call that was asked again."""
        item_id = verdict.item_id
        of_item = self.verdicts[item_id]
        of_item[verdict.criterion] = verdict
        if len(of_item) == self.expected[item_id]:
            item, response = self.items[item_id], self.responses[item_id]
            unjudged = self.benchmark.scores(item, response, ())
            metric = next(name for name, score in unjudged.items() if score is None)
            table = item_scores(self.benchmark, [item], [response], list(of_item.values()))
            if (score := table[metric][item_id]) is not None:
                self.scores[item_id] = score

    @property
    def mean(self) -> float | None:
        return math.fsum(self.scores.values()) / len(self.scores) if self.scores else None


def _judged_so_far(score: float | None, session: GradingSession) -> str:
    """`score 6.43, 8 in flight, $0.12`: what is known while judging."""
    parts = ["no score" if score is None else f"score {number(score)}", f"{session.in_flight} in flight"]
    return ", ".join([*parts, f"${session.paid_usd:.2f}"] if session.paid_usd else parts)


def judged_ahead(ws: Workspace, *, benchmark: Benchmark, judge: Grader) -> WorkAhead | None:
    """Asks the judge about answers as they come, if it has hardware of its own: a judge in this process, or one that
    this run would start, would take the student's."""
    elsewhere = any(member.answers_elsewhere for member in members_of(judge).values())
    return _judging_ahead(ws, benchmark, judge) if elsewhere else None


@contextmanager
def _judging_ahead(
    ws: Workspace, benchmark: Benchmark, judge: Grader
) -> Generator[Callable[[Sequence[Response]], None]]:
    items = {item.id: item for item in benchmark.items()}
    with ws.judge_session_ahead(judge) as session:
        yield lambda responses: judge_ahead(benchmark, [items[r.item_id] for r in responses], responses, session)


@stage(GRADE, version=7, ahead=Ahead("answers", judged_ahead))
def grade(ws: Workspace, *, answers: Artifact[GenerateMetrics], benchmark: Benchmark, judge: Grader) -> GradeMetrics:
    """Verdicts, per-item scores, and measures with their coverage. The numbers of the authors' scripts are computed
    where the judge was asked in the authors' words."""
    every, responses = benchmark.items(), answers.rows(Response)
    answered = {response.item_id for response in responses}
    items = [item for item in every if item.id in answered]
    so_far, began = ScoreSoFar(benchmark, items, responses), time.monotonic()
    with ws.judge_session(judge) as session:
        asked_ahead = session.asked

        def on_verdict(settled: int, verdict: Verdict) -> None:
            so_far.add(verdict)
            ws.progress(f"verdicts ({_judged_so_far(so_far.mean, session)})", settled, so_far.calls)
            row = {"asked": session.asked, "in_flight": session.in_flight, "usd": session.paid_usd}
            score = {} if so_far.mean is None else {"score": so_far.mean}
            rate = (session.asked - asked_ahead) / (time.monotonic() - began)
            ws.curve({"done": settled, "per_second": rate, **row, **score})

        verdicts = judge_all(benchmark, items, responses, session, on_verdict)
        records = [record for v in verdicts for key in v.records if (record := session.find(key))]
    table = item_scores(benchmark, every, responses, verdicts)
    write_rows(ws.folder / "rows.jsonl", verdicts)
    write_json(ws.folder / "scores.json", table)
    seconds = [record.seconds for record in records if record.seconds is not None]
    return GradeMetrics(
        measures=tuple(measures(benchmark, table)),
        judge=judge.name,
        unscored=unscored_reasons([verdict for verdict in verdicts if verdict.why != EMPTY_ANSWER]),
        asked_again=sum(len(verdict.earlier) for verdict in verdicts),
        groups=tuple(group_measures(benchmark, every, table)),
        official=official_scores(benchmark, judge, items, responses, verdicts),
        judgements=len(records),
        judgements_asked_here=session.asked,
        judge_tokens_read=sum(record.prompt_tokens for record in records),
        judge_tokens_written=sum(record.tokens for record in records),
        judge_usd=math.fsum(record.usd for record in records),
        judge_usd_paid_here=session.paid_usd,
        judge_seconds_median=statistics.median(seconds) if seconds else None,
        between_members=between_members(verdicts),
        judge_served=tuple(sorted({record.served for record in records if record.served})),
    )


@stage(HARNESS, version=2)
def harness(
    ws: Workspace, *, trained: Artifact, benchmark: LmEval, engine: EngineName = "transformers"
) -> HarnessMetrics:
    """lm-eval tasks on the trained model, in the precision that it was saved in."""
    model = ws.trained_model(trained, saved_precision(trained.file("model")), engine)
    task_measures, table = benchmark.evaluate(model, ws.runtime.device_for("student"))
    write_json(ws.folder / "scores.json", table)
    return HarnessMetrics(measures=tuple(task_measures))


@stage(HELD_OUT_SCORES, version=1)
def held_out_scores(
    ws: Workspace,
    *,
    trained: Artifact,
    held_out: Artifact,
    chat_format: ChatFormat,
    thinking_tokens: int,
    seed: int,
    precision: DType,
    engine: EngineName = "transformers",
) -> HeldOutScoreMetrics:
    """The nats per token of held-out texts: after their query alone, after the trained model's own thinking, and after
    its thinking for another text. See `evals.held_out`."""
    texts, thought, scored = held_out.rows(HeldOutText), list[Thought](), list[TextScores]()
    if texts:
        with ws.trained_model(trained, precision, engine).open(ws.runtime.device_for("student")) as session:
            journal = journal_for(ws.replay, session.name)
            generator, scorer = replayed_generator(session, journal), ReplayedScorer(session, journal)

            def ask(turns: Sequence[Turn], sampling: Sampling) -> Sequence[Completion]:
                begun = zip(texts, turns, strict=True)
                requests = [_request(t.item, turn, sampling, item_seed(seed, t.id, "thinking")) for t, turn in begun]
                return in_order(generated(generator, requests, ws.runtime.width), len(texts))

            thought = thoughts(texts, thinking_tokens, ask)
            for done, (text, of_text) in enumerate(zip(texts, thought, strict=True), start=1):
                scored.append(TextScores.of(*_nats(scorer, text, of_text, chat_format)))
                ws.progress("held-out texts", done, len(texts))
    table = table_of({text.id: scores for text, scores in zip(texts, scored, strict=True)})
    write_rows(ws.folder / "rows.jsonl", thought)
    write_json(ws.folder / "scores.json", table)
    thinkings = [of_text.completion for of_text in thought]
    return HeldOutScoreMetrics(
        rows=len(texts),
        measures=text_measures(table),
        closed=sum(thinking.stopped == "stop" for thinking in thinkings),
        looping=sum(loops(thinking.text) for thinking in thinkings),
        mean_tokens=statistics.fmean(thinking.tokens for thinking in thinkings) if thinkings else None,
    )


def _nats(
    scorer: ReplayedScorer, text: HeldOutText, thought: Thought, chat_format: ChatFormat
) -> tuple[Nats | None, Nats | None, Nats | None]:
    """The nats of a text after its query alone, after its own thinking and after another."""
    begun = [text.after(turn.prefill + chat_format.opening) for turn in (Turn(), thought.own, thought.other) if turn]
    alone, own, *other = in_order(scorer.score(begun), len(begun))
    return alone, own, other[0] if other else None
