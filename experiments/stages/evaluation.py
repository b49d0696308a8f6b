"""The stages of evaluation: the trained model answers, judges grade, lm-eval runs."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from evals.answering import BY_ITSELF, Answering, Turn
from evals.answers import AnswerSource
from evals.benchmark import (
    Benchmark,
    GroupMeasure,
    Item,
    JudgedBenchmark,
    Measure,
    OfficialScore,
    Response,
    Verdict,
    group_measures,
    item_scores,
    judged_by_item,
    measures,
)
from evals.judging.judge import Judge
from evals.judging.session import JudgeSession
from evals.judging.verdicts import EMPTY_ANSWER, judge_all, unscored_reasons
from evals.lm_eval.harness import LmEval
from experiments.store.metrics import Detail, RowMetrics, StageMetrics, counts, number
from experiments.store.step import Artifact, stage
from experiments.store.workspace import Workspace
from reer.errors import InputError
from reer.files import write_json, write_rows
from reer.models.local.model import DType, LocalModel, saved_precision
from reer.models.placement import EngineName
from reer.models.protocols import Completion, Prompt, Request, Sampling, generated, in_order
from reer.types import Message, item_seed

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GenerateMetrics(RowMetrics):
    """The answers of the trained model to a benchmark: how many are empty, cut by the token limit, have an unclosed
    or any thinking, and their mean length in tokens. `given_thinking` are those whose turn was begun for the model."""

    empty_answers: int
    truncated: int
    unclosed_thinking: int
    with_thinking: int
    mean_tokens: float
    given_thinking: int = 0

    def headline(self) -> str:
        given = f", {self.given_thinking} begun for the model" if self.given_thinking else ""
        return (
            f"{self.rows} answers, {number(self.mean_tokens)} tokens on average; {self.empty_answers} empty, "
            f"{self.truncated} truncated, {self.with_thinking} with thinking{given}"
        )


@stage(version=1)
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


@stage(version=3)
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
            ws.progress("answers", len(came), len(items))
            ws.curve(_answers_so_far(list(came.values()), time.monotonic() - began))
    responses = [came[at] for at in range(len(items))]
    write_rows(ws.folder / "rows.jsonl", responses)
    return _metrics(responses, given=sum(bool(turn.prefill) for turn in turns))


@stage(version=1, name="generate")
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


def score_text(measure: Measure) -> str:
    """A measure with its coverage, and its least and greatest possible value where coverage is incomplete; a withheld
    score shows the mean of the scored items in brackets."""
    cover = f"{measure.scored}/{measure.total}{bounds_text(measure)}"
    if measure.value is not None:
        return f"{measure.value:.4g} ({cover})"
    if measure.mean_of_scored is None:
        return f"unscored (0/{measure.total})"
    return f"withheld [{measure.mean_of_scored:.4g} of {cover}]"


def bounds_text(measure: Measure) -> str:
    """`, 4.1–5.9`: the score if all missing items had the worst, or the best score; empty at full coverage."""
    if measure.scored == measure.total or measure.low is None or measure.high is None:
        return ""
    return f", {measure.low:.3g}–{measure.high:.3g}"


def official_text(name: str, score: OfficialScore) -> str:
    """`S_q 50.78 (16/20)`: a number of the benchmark's own scripts, with how many of its items they count."""
    return f"{name} {score.value:.4g} ({score.counted}/{score.total})"


@dataclass(frozen=True, kw_only=True)
class ScoreMetrics(StageMetrics):
    """The measures of a benchmark."""

    measures: tuple[Measure, ...]

    def headline(self) -> str:
        return ", ".join(self.summary())

    def summary(self) -> tuple[str, ...]:
        return tuple(f"{measure.name} {score_text(measure)}" for measure in self.measures)


@dataclass(frozen=True, kw_only=True)
class GradeMetrics(ScoreMetrics):
    """The scores that the `judge` of this name gave: unscored verdicts by reason (an empty answer is scored: it gets
    the worst value), calls repeated after an invalid reply, the numbers that the benchmark's own scripts compute, the
    measures of its parts, and what the judgements cost (`…_here`: in this run; the others: in whichever run asked
    first). `judge_served` are the models that servers say they answered with."""

    judge: str
    unscored: Mapping[str, int]
    asked_again: int
    official: Mapping[str, OfficialScore]
    groups: tuple[GroupMeasure, ...]
    judgements: int
    judgements_asked_here: int = field(metadata={"identity": False})
    judge_tokens_read: int
    judge_tokens_written: int
    judge_usd: float
    judge_usd_paid_here: float = field(metadata={"identity": False})
    judge_seconds_median: float | None = field(metadata={"identity": False})
    judge_served: tuple[str, ...]

    def details(self) -> list[Detail]:
        """The numbers of the benchmark's own scripts, and the measures of its parts, with their coverage."""
        official = self.official.items()
        rows = [(f"official {k}", f"{s.value:.4g} ({s.counted}/{s.total})") for k, s in official if not _is_rescaled(k)]
        rows += [(f"{part.group}: {part.measure.metric}", score_text(part.measure)) for part in self.groups]
        return [Detail("judge", self.judge), *(Detail(*row) for row in rows)] if rows else []

    def summary(self) -> tuple[str, ...]:
        totals = {k: v for k, v in self.official.items() if "/" not in k and not _is_rescaled(k)}
        lines = list(super().summary())
        if totals:
            lines.append(f"by the benchmark's own scripts: {', '.join(map(official_text, totals, totals.values()))}")
        if self.judge_usd:
            lines.append(f"{self.judgements} judgements, {self.judge_usd:.4g} USD")
        if self.unscored:
            lines.append(f"unscored: {counts(self.unscored)}")
        return tuple(lines)


def _is_rescaled(name: str) -> bool:
    """Whether an official number is another one in another unit."""
    return name.endswith(("_x10", "_rescaled"))


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


def _judged_so_far(score: float | None, session: JudgeSession) -> str:
    """`score 6.43, 8 in flight, $0.12`: what is known while judging."""
    parts = ["no score" if score is None else f"score {number(score)}", f"{session.in_flight} in flight"]
    return ", ".join([*parts, f"${session.paid_usd:.2f}"] if session.paid_usd else parts)


@stage(version=6)
def grade(ws: Workspace, *, answers: Artifact[GenerateMetrics], benchmark: Benchmark, judge: Judge) -> GradeMetrics:
    """Verdicts, per-item scores, and measures with their coverage. The numbers of the authors' scripts are computed
    where the judge was asked in the authors' words."""
    every, responses = benchmark.items(), answers.rows(Response)
    answered = {response.item_id for response in responses}
    items = [item for item in every if item.id in answered]
    so_far, began = ScoreSoFar(benchmark, items, responses), time.monotonic()
    with ws.judge_session(judge) as session:

        def on_verdict(settled: int, verdict: Verdict) -> None:
            so_far.add(verdict)
            ws.progress(f"verdicts ({_judged_so_far(so_far.mean, session)})", settled, so_far.calls)
            row = {"asked": session.asked, "in_flight": session.in_flight, "usd": session.paid_usd}
            score = {} if so_far.mean is None else {"score": so_far.mean}
            ws.curve({"done": settled, "per_second": session.asked / (time.monotonic() - began), **row, **score})

        verdicts = judge_all(benchmark, items, responses, session, on_verdict)
        records = [record for v in verdicts for key in v.records if (record := session.records.find(key))]
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
        official={} if judge.delimit_answer else benchmark.official(items, judged_by_item(responses, verdicts)),
        judgements=len(records),
        judgements_asked_here=session.asked,
        judge_tokens_read=sum(record.prompt_tokens for record in records),
        judge_tokens_written=sum(record.tokens for record in records),
        judge_usd=math.fsum(record.usd for record in records),
        judge_usd_paid_here=session.paid_usd,
        judge_seconds_median=statistics.median(seconds) if seconds else None,
        judge_served=tuple(sorted({record.served for record in records if record.served})),
    )


@dataclass(frozen=True, kw_only=True)
class HarnessMetrics(ScoreMetrics):
    """The measures of lm-eval tasks."""


@stage(version=2)
def harness(
    ws: Workspace, *, trained: Artifact, benchmark: LmEval, engine: EngineName = "transformers"
) -> HarnessMetrics:
    """lm-eval tasks on the trained model, in the precision that it was saved in."""
    model = ws.trained_model(trained, saved_precision(trained.file("model")), engine)
    task_measures, table = benchmark.evaluate(model, ws.runtime.device_for("student"))
    write_json(ws.folder / "scores.json", table)
    return HarnessMetrics(measures=tuple(task_measures))
