"""What judging a run would ask of its judge: calls, tokens, time, money, and what so many items could show.

Prompts are counted as they would be sent, with an answer of the estimate's length in each; nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evals.benchmark import Benchmark, Response
from evals.lm_harness import LmEval
from evals.statistics import detectable
from experiments.experiment import Experiment
from reer.cost import Estimate
from reer.text import words
from reer.types import InputError

TOKENS_A_WORD = 1.4  # of words as `reer.text.words` cuts them, Chinese characters among them


@dataclass(frozen=True)
class JudgeCost:
    """Of one benchmark. `detectable` is in standard deviations of a paired difference."""

    name: str
    items: int
    calls: int
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
            yield judge_cost(benchmark, x.estimate)
        except InputError as error:
            yield error


def judge_cost(benchmark: Benchmark, e: Estimate) -> JudgeCost:
    """The cost of one verdict for each call; replies that must be asked for again come on top."""
    items = benchmark.items()
    calls = [call for item in items for call in benchmark.calls(item, Response(item.id, "", None, "-", True, False, 1))]
    asked = sum(len(words(message.content)) for call in calls for message in call.prompt.messages)
    read = round(asked * TOKENS_A_WORD) + len(calls) * e.answer_tokens
    written = len(calls) * e.verdict_tokens
    usd = (read * e.judge_usd_per_million_read + written * e.judge_usd_per_million_written) / 1e6
    return JudgeCost(
        benchmark.name, len(items), len(calls), read, written, len(calls) / e.verdicts_per_second, usd,
        detectable(1.0, len(items)),
    )  # fmt: skip
