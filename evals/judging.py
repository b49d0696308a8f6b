"""Prompt → reply → Verdict. A reply that is no verdict is asked for again a bounded number of times, then unscored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evals.benchmark import Benchmark, Item, JudgeCall, Malformed, Response, Verdict
from reer.models.protocols import Completion, Generator, Prompt, Request, Sampling
from reer.types import InputError, item_seed


@dataclass(frozen=True)
class Judge:
    """The judge's role bound to a model. `attempts` counts all asks for one verdict, each with another seed.

    For small models, which neither begin nor end with the object asked for: `prefill` opens the reply, a `stop` ends
    it, and `closing` is put where it was stopped.
    """

    name: str
    chat: Any  # a reer.models.protocols.Chat; Hydra composes it
    temperature: float
    top_p: float
    max_tokens: int
    attempts: int
    prefill: str = ""
    stop: tuple[str, ...] = ()
    closing: str = ""
    caution: str = ""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InputError(f"judge.attempts wants >= 1, got {self.attempts}")
        if self.attempts > 1 and self.temperature == 0:
            raise InputError(
                f"judge.attempts {self.attempts} at temperature 0 asks for the same reply again; set attempts to 1 or "
                "raise judge.temperature"
            )

    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.max_tokens, stop=self.stop)

    def whole(self, reply: Completion) -> str:
        """The reply with what was put around it."""
        return self.prefill + reply.text + (self.closing if reply.stopped == "stop" else "")


def judge_all(
    benchmark: Benchmark,
    items: Sequence[Item],
    responses: Sequence[Response],
    judge: Judge,
    session: Generator,
    on_round: Callable[[int], None],
) -> list[Verdict]:
    """A verdict for every call of every item, in order. Empty answers are not sent: their verdict says
    `empty_answer`, and the item scores the worst value (see `item_scores`)."""
    answered = {response.item_id: response for response in responses}
    calls = [call for item in items for call in benchmark.calls(item, answered[item.id])]
    verdicts: dict[int, Verdict] = {}
    open_calls: list[int] = []
    for i, call in enumerate(calls):
        if answered[call.item_id].answer.strip():
            open_calls.append(i)
        else:
            verdicts[i] = Verdict(call.item_id, call.criterion, None, "", "empty_answer", 0)
    for attempt in range(judge.attempts):
        asked = [_request(calls[i], judge, attempt) for i in open_calls]
        for i, reply in zip(list(open_calls), session.generate(asked), strict=True):
            earlier = verdicts[i].replies if attempt else ()
            verdict = _verdict(benchmark, calls[i], judge.whole(reply), reply.stopped, attempt + 1)
            verdicts[i] = replace(verdict, earlier=earlier)
        open_calls = [i for i in open_calls if verdicts[i].scores is None]
        on_round(len(calls) - len(open_calls))
    return [verdicts[i] for i in range(len(calls))]


def _request(call: JudgeCall, judge: Judge, attempt: int) -> Request:
    seed = item_seed(call.item_id, call.criterion, attempt)  # each verdict draws from a stream of its own
    return Request(Prompt(call.prompt.messages, judge.prefill), judge.sampling(), seed)


def _verdict(benchmark: Benchmark, call: JudgeCall, text: str, stopped: str, attempt: int) -> Verdict:
    try:
        if stopped == "no_room":
            raise Malformed("prompt_too_long")
        return Verdict(call.item_id, call.criterion, benchmark.parse(call, text), text, None, attempt)
    except Malformed as reason:
        return Verdict(call.item_id, call.criterion, None, text, str(reason), attempt)


def unscored_reasons(verdicts: Sequence[Verdict]) -> Mapping[str, int]:
    """How many verdicts hold no score, by reason."""
    return dict(Counter(verdict.why for verdict in verdicts if verdict.why))
