"""What a search asks of its models, by arithmetic: calls, tokens read and written, hours.

Nothing is measured here: every assumption is a field, and the plan prints them. Query and template come first in every
prompt, so they and the segments already decided are a shared beginning.
"""

from __future__ import annotations

from dataclasses import dataclass

from reer.errors import InputError
from reer.search.methods import SearchBudget


@dataclass(frozen=True)
class CostAssumptions:
    """Mean lengths in tokens, and rates in tokens per second and device. `steps` is how many segments are edited before
    the threshold or the last segment ends a search; the search's own limit bounds it. `train_tflops` is what a device
    attains in training, counted as 6 operations for a parameter and token. `answer_tokens` are those of a judged
    answer, `verdict_tokens` of a judge's reply."""

    query_tokens: int
    solution_tokens: int
    thinking_tokens: int
    segments: int
    steps: int
    rewrite_tokens: int
    inference_template_tokens: int
    edit_template_tokens: int
    generator_reads_per_second: float
    generator_writes_per_second: float
    scorer_reads_per_second: float
    usd_per_device_hour: float
    public_tokens: int
    train_tflops: float
    answer_tokens: int
    verdict_tokens: int
    verdicts_per_second: float

    def __post_init__(self) -> None:
        if min(self.segments, self.steps, self.thinking_tokens, self.solution_tokens) < 1:
            raise InputError(f"estimate: want positive lengths, got {self}")
        rates = (self.generator_reads_per_second, self.generator_writes_per_second, self.scorer_reads_per_second)
        if min(*rates, self.train_tflops, self.verdicts_per_second) <= 0:
            raise InputError(f"estimate: want positive rates, got {self}")


@dataclass(frozen=True)
class Cost:
    """Of a whole search stage with its drafts. `*_naive` is what it would be if nothing were shared."""

    score_calls: int
    rewrite_calls: int
    scored_tokens: int
    scored_tokens_naive: int
    read_tokens: int
    read_tokens_naive: int
    written_tokens: int
    device_hours: float

    def usd(self, estimate: CostAssumptions) -> float:
        return self.device_hours * estimate.usd_per_device_hour


def search_cost(shape: SearchBudget, pairs: int, e: CostAssumptions) -> Cost:
    """The cost of drafting and searching `pairs` pairs."""
    steps = min(shape.edits, e.steps, e.segments)
    segment = e.thinking_tokens / e.segments
    opening = e.inference_template_tokens + e.query_tokens
    whole = opening + e.thinking_tokens + e.solution_tokens
    scored = whole + sum(shape.candidates * (whole - opening - i * segment) for i in range(steps))
    calls = 1 + steps * shape.candidates
    draft = e.edit_template_tokens + e.query_tokens + e.solution_tokens
    rewrite = draft + e.thinking_tokens + segment  # the segment stands in the thinking and once more by itself
    fresh = sum(rewrite - (draft + (i - 1) * segment if i else 0) for i in range(steps))
    written = e.thinking_tokens + steps * shape.candidates * e.rewrite_tokens
    runs = pairs * shape.starts
    hours = (
        (draft + fresh) / e.generator_reads_per_second
        + written / e.generator_writes_per_second
        + scored / e.scorer_reads_per_second
    ) / 3600
    return Cost(
        score_calls=runs * calls,
        rewrite_calls=runs * steps,
        scored_tokens=round(runs * scored),
        scored_tokens_naive=round(runs * calls * whole),
        read_tokens=round(runs * (draft + fresh)),
        read_tokens_naive=round(runs * (draft + steps * rewrite)),
        written_tokens=round(runs * written),
        device_hours=runs * hours,
    )
