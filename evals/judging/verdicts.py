"""Prompt → reply → Verdict. A reply that is no verdict is asked for again a bounded number of times, then unscored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from evals.benchmark import Benchmark, Item, JudgeCall, Response, Verdict
from evals.judging.delimiters import fenced_calls
from evals.judging.judge import Judge
from evals.judging.records import Question
from evals.judging.session import Answer, JudgeSession
from evals.replies import Malformed
from reer.errors import InputError
from reer.models.protocols import Completion, Prompt, Request
from reer.types import item_seed


def judge_all(
    benchmark: Benchmark,
    items: Sequence[Item],
    responses: Sequence[Response],
    session: JudgeSession,
    told: Callable[[int], None] = lambda count: None,
    repeat: str = "",
    send_empty: bool = False,
) -> list[Verdict]:
    """A verdict for every call of every item, in order; `told` how many there are. Empty answers are not sent: their
    verdict says `empty_answer`, and the item scores the worst value (see `item_scores`)."""
    judge = session.judge
    if judge.grades and judge.grades != benchmark.grades:
        raise InputError(
            f"judge.grades: {benchmark.name} wants verdicts of another form than one grade of {list(judge.grades)}; "
            "choose a judge that replies, or another benchmark"
        )
    answered = {response.item_id: response for response in responses}
    ask = fenced_calls if judge.fenced else _plain_calls
    calls = [call for item in items for call in ask(benchmark, item, answered[item.id])]
    verdicts: dict[int, Verdict] = {}
    waiting: list[int] = []
    for i, call in enumerate(calls):
        if send_empty or benchmark.shown(answered[call.item_id]).strip():
            waiting.append(i)
        else:
            verdicts[i] = Verdict(call.item_id, call.criterion, None, "", "empty_answer", 0)
    for attempt in range(judge.attempts):
        asked = [_question(benchmark, calls[i], judge, attempt, repeat) for i in waiting]
        answers = session.ask(
            asked, partial(_status, benchmark, judge), partial(_count, told, len(calls) - len(waiting))
        )
        for i, answer in zip(waiting, answers, strict=True):
            verdicts[i] = _verdict(benchmark, judge, calls[i], answer, verdicts[i] if attempt else None)
        waiting = [i for i in waiting if verdicts[i].scores is None and verdicts[i].why != "prompt_too_long"]
    return [verdicts[i] for i in range(len(calls))]


def _count(told: Callable[[int], None], settled: int, answered: int) -> None:
    told(settled + answered)


def _plain_calls(benchmark: Benchmark, item: Item, response: Response) -> list[JudgeCall]:
    return benchmark.calls(item, response)


def _question(benchmark: Benchmark, call: JudgeCall, judge: Judge, attempt: int, repeat: str) -> Question:
    again = (repeat,) if repeat else ()
    seed = item_seed(call.item_id, call.criterion, attempt, *again)  # each verdict draws from a stream of its own
    request = Request(Prompt(call.prompt.messages, judge.prefill), judge.sampling_for(benchmark), seed)
    return Question(benchmark.version, call.item_id, call.criterion, judge.model_name, request, attempt, repeat)


def _scores(benchmark: Benchmark, judge: Judge, call: JudgeCall, reply: Completion) -> dict[str, float]:
    """What a reply says. Raises Malformed where it says nothing."""
    if reply.stopped == "prompt_too_long":
        raise Malformed("prompt_too_long")
    if reply.stopped == "refused":
        raise Malformed("refused")
    return benchmark.parse(call, judge.whole(reply), judge.reader)


def _status(benchmark: Benchmark, judge: Judge, question: Question, reply: Completion) -> str:
    """`read`, or why not."""
    call = JudgeCall(question.item_id, question.criterion, question.request.prompt)
    try:
        _scores(benchmark, judge, call, reply)
    except Malformed as reason:
        return str(reason)
    return "read"


def _verdict(benchmark: Benchmark, judge: Judge, call: JudgeCall, answer: Answer, before: Verdict | None) -> Verdict:
    reply = answer.completion
    earlier, records = ((*before.earlier, before.reply), before.records) if before else ((), ())
    scores, why = None, None
    try:
        scores = _scores(benchmark, judge, call, reply)
    except Malformed as reason:
        why = str(reason)
    text = judge.whole(reply)
    return Verdict(call.item_id, call.criterion, scores, text, why, len(earlier) + 1, earlier, (*records, answer.key))


def unscored_reasons(verdicts: Sequence[Verdict]) -> Mapping[str, int]:
    """How many verdicts hold no score, by reason."""
    return dict(Counter(verdict.why for verdict in verdicts if verdict.why))
