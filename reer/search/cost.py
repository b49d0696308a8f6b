"""Estimates what a search costs: model calls, tokens and device-hours.

Pure arithmetic: every assumption is a field, and the plan prints them. Query and template come first in every prompt,
so together with the segments already edited they are a prefix that is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from reer.search.methods import SearchBudget


@dataclass(frozen=True, kw_only=True)
class CostAssumptions:
    """Mean lengths in tokens, and rates per second on one device."""

    query_tokens: NonNegativeInt
    solution_tokens: PositiveInt
    thinking_tokens: PositiveInt
    segments: PositiveInt
    """Segments of a thinking."""
    steps: PositiveInt
    """Segments edited before the threshold ends a search; also bounded by the search's own limit."""
    rewrite_tokens: NonNegativeInt
    inference_template_tokens: NonNegativeInt
    edit_template_tokens: NonNegativeInt
    generator_reads_per_second: PositiveFloat
    """Prompt tokens the generator processes."""
    generator_writes_per_second: PositiveFloat
    """Tokens the generator writes."""
    scorer_reads_per_second: PositiveFloat
    """Tokens the scorer processes."""
    usd_per_device_hour: NonNegativeFloat
    public_tokens: NonNegativeInt
    """Tokens of a public reasoning row."""
    train_tflops: PositiveFloat
    """Sustained training throughput of a device, at 6 floating-point operations per parameter and token."""
    answer_tokens: NonNegativeInt
    """Tokens of an answer to be judged."""
    verdict_tokens: NonNegativeInt
    """Tokens of a judge's reply."""
    verdicts_per_second: PositiveFloat


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of drafts and search for all pairs."""

    score_calls: int
    rewrite_calls: int
    scored_tokens: int
    read_tokens: int
    written_tokens: int
    device_hours: float


def search_cost(budget: SearchBudget, pairs: int, assumptions: CostAssumptions) -> Cost:
    """The cost of drafting and searching `pairs` pairs."""
    thinking = assumptions.thinking_tokens
    segment = thinking / assumptions.segments
    steps = min(budget.edits, assumptions.steps, assumptions.segments)
    prefix = assumptions.inference_template_tokens + assumptions.query_tokens
    passage = prefix + thinking + assumptions.solution_tokens
    scored = passage + sum(budget.candidates * (passage - prefix - i * segment) for i in range(steps))
    score_calls = 1 + steps * budget.candidates
    draft = assumptions.edit_template_tokens + assumptions.query_tokens + assumptions.solution_tokens
    rewrite = draft + thinking + segment  # the segment is in the thinking and is repeated after it
    read = draft + sum(rewrite - (draft + (i - 1) * segment if i else 0) for i in range(steps))
    written = thinking + steps * budget.candidates * assumptions.rewrite_tokens
    seconds = (
        read / assumptions.generator_reads_per_second
        + written / assumptions.generator_writes_per_second
        + scored / assumptions.scorer_reads_per_second
    )
    runs = pairs * budget.starts
    return Cost(
        score_calls=runs * score_calls,
        rewrite_calls=runs * steps,
        scored_tokens=round(runs * scored),
        read_tokens=round(runs * read),
        written_tokens=round(runs * written),
        device_hours=runs * seconds / 3600,
    )
