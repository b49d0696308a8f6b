"""From answers to verdicts: calls become questions to the judge, and its replies become scores.

A reply without a verdict is asked for again, up to a limit, and is then unscored.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from evals.benchmark import Benchmark, Item, JudgeCall, OfficialScore, Response, Verdict, judged_by_item
from evals.judging.delimiters import delimited_calls
from evals.judging.judge import Judge
from evals.judging.panel import Grader, GradingSession, PanelSession
from evals.judging.records import Question
from evals.judging.session import Answer, JudgeSession
from evals.replies import Malformed, behind_thinking
from reer.models.protocols import Completion, Prompt, Request
from reer.types import item_seed

EMPTY_ANSWER = "empty_answer"
"""The reason of a verdict on an empty answer, which no judge is asked about."""
FINAL = ("prompt_too_long", "unreadable")
"""Ends of a reply that another request would not change."""
OnVerdict = Callable[[int, Verdict], None]
log = logging.getLogger(__name__)


def ignored(settled: int, verdict: Verdict) -> None:
    """Receives verdicts that nobody waits for."""


def judge_all(
    benchmark: Benchmark,
    items: Sequence[Item],
    responses: Sequence[Response],
    session: GradingSession,
    on_verdict: OnVerdict = ignored,
    repeat: str = "",
    send_empty: bool = False,
) -> list[Verdict]:
    """A verdict for every call of every item, in order; `on_verdict` is called with each as it comes, and with the
    number of calls that will not be asked again. The members of a panel are asked in turn, and each reports its own.

    Empty answers are not sent, unless `send_empty`: their verdict has the reason EMPTY_ANSWER, and the item gets the
    worst score (see `item_scores`). `repeat` distinguishes repeated verdicts on the same answers. Raises InputError
    where the judge is held to a form that the benchmark's verdicts do not have.
    """
    if isinstance(session, PanelSession):
        each, settled = {}, dict.fromkeys(session.members, 0)
        for name, member in session.members.items():
            report = partial(_report_of_member, on_verdict, settled, name)
            each[name] = judge_all(benchmark, items, responses, member, report, repeat, send_empty)
        return session.judge.combined(each)
    verdicts = _judged(benchmark, items, responses, session, on_verdict, repeat, send_empty)
    _warn_of_cut_replies(session.judge, verdicts)
    return verdicts


def judge_ahead(
    benchmark: Benchmark, items: Sequence[Item], responses: Sequence[Response], session: GradingSession
) -> None:
    """Ask for verdicts, so that `judge_all` finds the replies, of those members of a panel, or of the judge, that have
    hardware of their own. Reports nothing. Raises InputError and Incomplete as `judge_all` does."""
    for member in session.members.values() if isinstance(session, PanelSession) else (session,):
        if member.judge.answers_elsewhere:
            _judged(benchmark, items, responses, member)


def _judged(
    benchmark: Benchmark,
    items: Sequence[Item],
    responses: Sequence[Response],
    session: JudgeSession,
    on_verdict: OnVerdict = ignored,
    repeat: str = "",
    send_empty: bool = False,
) -> list[Verdict]:
    """See `judge_all`, for one judge."""
    judge = session.judge
    judge.require_form_of(benchmark)
    answered = {response.item_id: response for response in responses}
    calls = [call for item in items for call in _calls(benchmark, item, answered[item.id], judge)]
    verdicts = _Verdicts(benchmark, judge, calls, on_verdict)
    for i, call in enumerate(calls):
        if not (send_empty or benchmark.shown(answered[call.item_id]).strip()):
            verdicts.add_empty(i)
    for attempt in range(judge.attempts):
        waiting = verdicts.waiting()
        questions = [_question(benchmark, calls[i], judge, attempt, repeat) for i in waiting]
        session.ask(questions, partial(_status, benchmark, judge), partial(verdicts.add, waiting))
    return [verdicts.by_call[i] for i in range(len(calls))]


@dataclass
class _Verdicts:
    """The verdicts on calls as they come; each is reported."""

    benchmark: Benchmark
    judge: Judge
    calls: Sequence[JudgeCall]
    on_verdict: OnVerdict
    by_call: dict[int, Verdict] = field(default_factory=dict[int, Verdict])
    settled: set[int] = field(default_factory=set[int])

    def waiting(self) -> list[int]:
        """The calls that have no verdict with which they would stay."""
        return [i for i in range(len(self.calls)) if i not in self.settled]

    def add_empty(self, i: int) -> None:
        """The verdict on a call about an empty answer."""
        item_id, criterion = self.calls[i].item_id, self.calls[i].criterion
        verdict = Verdict(item_id=item_id, criterion=criterion, scores=None, reply="", why=EMPTY_ANSWER, attempts=0)
        self._put(i, verdict)

    def add(self, asked: Sequence[int], at: int, answer: Answer) -> None:
        """The verdict in an answer to one of the calls that were asked."""
        i = asked[at]
        self._put(i, _verdict(self.benchmark, self.judge, self.calls[i], answer, self.by_call.get(i)))

    def _put(self, i: int, verdict: Verdict) -> None:
        self.by_call[i] = verdict
        if verdict.why in (None, EMPTY_ANSWER, *FINAL) or verdict.attempts == self.judge.attempts:
            self.settled.add(i)
        self.on_verdict(len(self.settled), verdict)


def _calls(benchmark: Benchmark, item: Item, response: Response, judge: Judge) -> list[JudgeCall]:
    ask = partial(judge.calls, benchmark)
    return delimited_calls(ask, item, response) if judge.delimit_answer else ask(item, response)


def _report_of_member(
    on_verdict: OnVerdict, settled_by: dict[str, int], name: str, settled: int, verdict: Verdict
) -> None:
    """Report a member's verdict: as many of the panel's are settled as its members have settled on average."""
    settled_by[name] = settled
    on_verdict(sum(settled_by.values()) // len(settled_by), verdict)


def _question(benchmark: Benchmark, call: JudgeCall, judge: Judge, attempt: int, repeat: str) -> Question:
    repeated = (repeat,) if repeat else ()
    seed = item_seed(call.item_id, call.criterion, attempt, *repeated)  # no two verdicts share a random stream
    prompt, sampling = Prompt(call.prompt.messages, judge.prefill), judge.sampling(benchmark)
    request = Request(prompt, sampling, seed, schema=judge.schema_of(benchmark))
    return Question(
        benchmark=benchmark.version,
        item_id=call.item_id,
        criterion=call.criterion,
        judge=judge.model_name,
        request=request,
        attempt=attempt,
        repeat=repeat,
    )


def _scores(benchmark: Benchmark, judge: Judge, call: JudgeCall, reply: Completion) -> dict[str, float]:
    """The scores in a reply. Raises Malformed where there are none: only a reply that ended by itself is a verdict."""
    text = judge.full_reply(reply)
    if reply.stopped == "length":
        raise Malformed("unfinished_thinking" if _ends_in_thinking(text) else "unfinished")
    if reply.stopped != "stop":
        raise Malformed(reply.stopped)
    if not text.strip():
        raise Malformed("empty_reply")
    return benchmark.parse(call, text, judge.reply_reader)


def _ends_in_thinking(text: str) -> bool:
    """Whether a reply that was cut holds no answer: it ends in its thinking, which some servers leave out."""
    try:
        return not behind_thinking(text).strip()
    except Malformed:
        return True


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
    text = judge.full_reply(reply)
    return Verdict(
        item_id=call.item_id,
        criterion=call.criterion,
        scores=scores,
        reply=text,
        why=why,
        attempts=len(earlier) + 1,
        earlier=earlier,
        records=(*records, answer.key),
    )


def _warn_of_cut_replies(judge: Judge, verdicts: Sequence[Verdict]) -> None:
    cut = sum(verdict.why in ("unfinished", "unfinished_thinking") for verdict in verdicts)
    if cut:
        log.warning(
            "judge %s: %d of %d verdicts are unscored because the replies ended at their limit of tokens; raise "
            "judge.max_tokens",
            judge.name,
            cut,
            len(verdicts),
        )


def unscored_reasons(verdicts: Sequence[Verdict]) -> Mapping[str, int]:
    """The number of verdicts without a score, by reason."""
    return dict(Counter(verdict.why for verdict in verdicts if verdict.why))


def official_scores(
    benchmark: Benchmark,
    judge: Grader,
    items: Sequence[Item],
    responses: Sequence[Response],
    verdicts: Sequence[Verdict],
) -> dict[str, OfficialScore]:
    """The numbers of the benchmark's own scripts (see `Benchmark.official`); none where the judge was asked otherwise
    than these scripts ask."""
    return benchmark.official(items, judged_by_item(responses, verdicts)) if judge.asks_as_published else {}
