"""A judge session: questions without a record are sent to the model, within a budget, and each reply is recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from typing import Self

from evals.judging.judge import Judge
from evals.judging.records import Judgement, Judgements, Question, judgement, record_key
from reer.errors import Incomplete, InputError
from reer.models.protocols import Billed, Completion, Device, Generator

TURN_TOKENS = 16  # a chat template adds at most this many to a turn
UNANSWERED = Completion(text="", stopped="unanswered", prompt_tokens=0, tokens=0)


@dataclass(frozen=True)
class Answer:
    """A judge's reply, and the key of its record."""

    key: str
    completion: Completion
    usd: float


class JudgeSession:
    """Asks a judge. The model is opened at the first question without a record, so records alone need no API key, and
    no model that is still served.

    `budget_usd` limits the cost of all records in the folder together, whichever run paid: a call is made, and an
    attempt repeated, only if it fits even at its token limit. A reply without a usage that can be true costs the most
    it can, and so does an attempt that the server may have carried out without a usable answer: it has a record of its
    own. `paid_usd` and `asked` are the cost and the number of answered calls of this session.

    A session may be entered again, in another thread too. It then knows what it asked before, also the replies that are
    no answers, which any other session would ask for again.
    """

    def __init__(
        self,
        judge: Judge,
        records: Judgements,
        device: Device,
        budget_usd: float | None = None,
        today: Callable[[], date] = date.today,
    ) -> None:
        if budget_usd is not None and not 0 <= budget_usd < math.inf:
            raise InputError(f"budget.usd: want a number of dollars from 0 up, or null for no limit, got {budget_usd}")
        judge.require_prices(budget_usd)
        self.judge, self.records, self.device, self.budget_usd = judge, records, device, budget_usd
        self.paid_usd, self.asked = 0.0, 0
        self._today = today
        self._opened = ExitStack()
        self._unusable: dict[str, Answer] = {}  # replies by question: those of this time, and of the times before
        self._unusable_before: dict[str, Answer] = {}
        self._generator: Generator | None = None
        self._in_flight: dict[int, Question] = {}
        self._reserved_usd = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            self._opened.close()
        finally:
            self.records.close()  # after the model, whose interrupted calls are still recorded
            self._generator, self._in_flight, self._reserved_usd = None, {}, 0.0
            self._unusable_before |= self._unusable
            self._unusable = {}

    @property
    def in_flight(self) -> int:
        """How many questions the judge has been asked and has not answered yet."""
        return len(self._in_flight)

    def find(self, key: str) -> Judgement | None:
        """The record with a key, if there is one."""
        return self.records.find(key)

    def ask(
        self,
        questions: Sequence[Question],
        status: Callable[[Question, Completion], str],
        on_answer: Callable[[int, Answer], None] = lambda at, answer: None,
    ) -> list[Answer]:
        """The answers in order; `on_answer` is called with the place of each question as its answer comes, first of
        those on record. `status` is recorded with each new answer. Raises Incomplete when the budget is exhausted or
        the server gives no more answers; what was answered is kept."""
        self.records.refresh()
        answers: dict[int, Answer] = {}
        for i, question in enumerate(questions):
            known = self._known(question)
            if known is not None:
                answers[i] = known
                on_answer(i, known)
        while missing := [i for i in range(len(questions)) if i not in answers]:
            part = self._affordable(questions, missing)
            self._in_flight = {at: questions[i] for at, i in enumerate(part)}
            self._reserved_usd = math.fsum(map(self._most_usd, self._in_flight.values()))
            for at, reply in self._model().generate([questions[i].request for i in part]):
                question = questions[part[at]]
                self._release(at)
                answers[part[at]] = self._keep(question, reply, status(question, reply))
                on_answer(part[at], answers[part[at]])
            lost = [i for i in part if i not in answers]
            if lost:
                raise RuntimeError(f"judge {self.judge.name} gave no reply to {len(lost)} of {len(part)} questions")
        return [answers[i] for i in range(len(questions))]

    def _known(self, question: Question) -> Answer | None:
        """The answer on record, or the reply without one that came when the judge was asked before."""
        record = self.records.find(question.key)
        if record is None:
            return self._unusable_before.pop(question.key, None)
        return Answer(record.key, record.completion, record.usd)

    def _keep(self, question: Question, reply: Completion, status: str) -> Answer:
        usd = self.judge.usd(reply.prompt_tokens, reply.tokens) if reply.counted else self._most_usd(question)
        self.records.keep(judgement(question, reply, status, usd))
        self.paid_usd, self.asked = self.paid_usd + usd, self.asked + 1
        answer = Answer(record_key(question.key, reply.text, reply.stopped), reply, usd)
        if answer.key != question.key:
            self._unusable[question.key] = answer
        return answer

    def _release(self, at: int) -> None:
        """End the reservation of a question that is answered or given up."""
        question = self._in_flight.pop(at, None)
        if question is not None:
            self._reserved_usd -= self._most_usd(question)

    def _lose(self, at: int) -> bool:
        """Record the cost of an attempt without a usable answer; see `Billed`. True if the budget certainly pays for
        another one, beside all questions in flight."""
        question = self._in_flight.get(at)
        usd = 0.0 if question is None else self._most_usd(question)
        if question is not None and usd:
            self.records.keep(judgement(question, UNANSWERED, "unanswered", usd))
            self.paid_usd += usd
        if self.budget_usd is None or self.budget_usd - self.records.usd - self._reserved_usd >= 0:
            return True
        self._release(at)
        return False

    def _model(self) -> Generator:
        if self._generator is None:
            self.judge.require_alive(self._today())
            self._generator = self._opened.enter_context(self.judge.open(self.device, self.records.folder / "batches"))
            if isinstance(self._generator, Billed):
                self._generator.on_lost = self._lose
        return self._generator

    def _affordable(self, questions: Sequence[Question], missing: Sequence[int]) -> list[int]:
        """The first missing questions, as many as the budget certainly pays for."""
        if self.budget_usd is None:
            return list(missing)
        self.records.refresh()
        left, part = self.budget_usd - self.records.usd, []
        for i in missing:
            left -= self._most_usd(questions[i])
            if not left >= 0:  # also where a damaged record makes it NaN
                break
            part.append(i)
        if not part:
            raise Incomplete(
                f"budget: {self.records.usd:.4f} of budget.usd={self.budget_usd:g} is spent, and the next of "
                f"{len(missing)} judgements may cost {self._most_usd(questions[missing[0]]):.4f}; raise budget.usd and "
                "run the same command again: what is judged is kept"
            )
        return part

    def _most_usd(self, question: Question) -> float:
        """The maximum cost of a call: a token is at least one byte, and a reply ends at its limit."""
        prompt = question.request.prompt
        texts = [prompt.prefill, *(message.content for message in prompt.messages)]
        texts += [question.request.schema] if question.request.schema is not None else []
        read = sum(len(text.encode("utf-8", "surrogatepass")) + TURN_TOKENS for text in texts)
        return self.judge.usd(read, question.request.sampling.max_tokens)
