"""What judging a run would ask of its judge: calls, tokens, time, money, and what so many items could show.

Prompts are counted as they would be sent, with an answer of the estimate's length in each; nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evals.benchmark import Benchmark, Response
from evals.judging.judge import Judge
from evals.judging.reliability import ReliabilityChecks
from evals.lm_eval.harness import LmEval
from evals.statistics.power import minimum_detectable_effect
from experiments.experiment import Experiment
from reer.errors import InputError
from reer.search.cost import CostAssumptions
from reer.text import words

TOKENS_A_WORD = 1.4  # of words as `reer.text.words` cuts them, Chinese characters among them


@dataclass(frozen=True)
class JudgeCost:
    """Of one benchmark. `health_calls` come on top of its own `calls`, tokens and money are those of both; `detectable`
    is in standard deviations of a paired difference."""

    name: str
    items: int
    calls: int
    health_calls: int
    read_tokens: int
    written_tokens: int
    seconds: float
    usd: float
    detectable: float


def judge_costs(x: Experiment) -> Iterator[JudgeCost | InputError]:
    """One for each judged benchmark, or why its items cannot be counted here."""
    for benchmark in x.benchmark.values():
        if isinstance(benchmark, LmEval):
            continue
        try:
            yield judge_cost(benchmark, x.judge, x.reliability, x.estimate)
        except InputError as error:
            yield error


def judge_cost(benchmark: Benchmark, judge: Judge, health: ReliabilityChecks, e: CostAssumptions) -> JudgeCost:
    """The cost of one verdict for each call, with those that tell of the judge's health; replies that must be asked for
    again come on top, and what is on record already is not paid again."""
    items = benchmark.items()
    calls = [call for item in items for call in benchmark.calls(item, Response.of_text(item.id, "-"))]
    asked = sum(len(words(message.content)) for call in calls for message in call.prompt.messages)
    more = health.calls(len(items), len(calls)) if calls else 0
    count = len(calls) + more
    share = count / len(calls) if calls else 0.0
    read = round(share * (asked * TOKENS_A_WORD + len(calls) * e.answer_tokens))
    written, seconds = count * e.verdict_tokens, count / e.verdicts_per_second
    usd, shown = judge.usd(read, written), minimum_detectable_effect(len(items))
    return JudgeCost(benchmark.name, len(items), len(calls), more, read, written, seconds, usd, shown)
