"""How much work a search is: model calls, tokens read, written and scored. How fast models do it is in
`reer.models.rates`.

Pure arithmetic: every assumption is a field, and the plan prints them. Query and template come first in every prompt,
so together with the segments already edited they are a prefix, which engines with a prefix cache compute once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from reer.models.rates import Rate
from reer.parts import Name
from reer.search.methods import SearchBudget


@dataclass(frozen=True, kw_only=True)
class BenchmarkSize:
    """Items of a benchmark, and the judge's calls for them."""

    items: PositiveInt
    calls: PositiveInt


@dataclass(frozen=True, kw_only=True)
class CostAssumptions:
    """Mean lengths in tokens, and the rates of the hardware that is planned for."""

    hardware: str
    """The devices of the rates, as `reer calibrate` names them or in part: H100, CPU."""
    rates: Mapping[Name, Rate]
    train_tflops: PositiveFloat
    """Sustained training throughput of a device, at 6 floating-point operations per parameter and token."""
    usd_per_device_hour: NonNegativeFloat
    query_tokens: NonNegativeInt
    solution_tokens: PositiveInt
    thinking_tokens: PositiveInt
    segments: PositiveInt
    """Segments of a thinking."""
    steps: PositiveInt
    """Segments edited before the threshold ends a search; also bounded by the search's own limit."""
    rewrite_tokens: NonNegativeInt
    public_tokens: NonNegativeInt
    """Tokens of a public reasoning row."""
    answer_tokens: NonNegativeInt
    """Tokens of an answer to be judged; the student writes a thinking before it."""
    verdict_tokens: NonNegativeInt
    """Tokens of a judge's reply."""
    characters_per_token: PositiveFloat
    """Of the English prompt texts, whose lengths are computed from the composed prompts."""
    benchmark_sizes: Mapping[Name, BenchmarkSize]
    """Sizes of benchmarks whose files are not on this machine."""


@dataclass(frozen=True, kw_only=True)
class TemplateTokens:
    """Lengths of the prompts without what is filled in."""

    draft: int
    edit: int
    inference: int
    classify: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """Calls of one model, and their tokens. `read` is what is computed of prompts and scored texts if shared prefixes
    are computed once, `read_unshared` if every call computes its whole prompt."""

    calls: int = 0
    read: float = 0.0
    read_unshared: float = 0.0
    written: float = 0.0

    def __mul__(self, times: float) -> Work:
        return Work(
            calls=round(self.calls * times),
            read=self.read * times,
            read_unshared=self.read_unshared * times,
            written=self.written * times,
        )

    def __add__(self, other: Work) -> Work:
        return Work(
            calls=self.calls + other.calls,
            read=self.read + other.read,
            read_unshared=self.read_unshared + other.read_unshared,
            written=self.written + other.written,
        )


def calls_of(calls: int, read_tokens: float, written_tokens: float = 0.0) -> Work:
    """Calls that share nothing, with the mean tokens of one call."""
    read = calls * read_tokens
    return Work(calls=calls, read=read, read_unshared=read, written=calls * written_tokens)


def draft_work(assumed: CostAssumptions, templates: TemplateTokens) -> Work:
    """One first draft."""
    return calls_of(1, templates.draft + assumed.query_tokens + assumed.solution_tokens, assumed.thinking_tokens)


def rewrite_work(budget: SearchBudget, assumed: CostAssumptions, templates: TemplateTokens) -> Work:
    """The rewrites of one search from one draft: one call for all candidates of a step."""
    segment, steps = _segment_tokens(assumed), _steps(budget, assumed)
    fixed = templates.edit + assumed.query_tokens + assumed.solution_tokens
    prompt = fixed + assumed.thinking_tokens + segment  # the segment is in the thinking and is repeated after it
    fresh = sum(prompt - (fixed + (step - 1) * segment if step else 0) for step in range(steps))
    written = steps * budget.candidates * assumed.rewrite_tokens
    return Work(calls=steps, read=fresh, read_unshared=steps * prompt, written=written)


def score_work(budget: SearchBudget, assumed: CostAssumptions, templates: TemplateTokens) -> Work:
    """The scores of one search: its draft, and every candidate."""
    segment, steps = _segment_tokens(assumed), _steps(budget, assumed)
    prefix = templates.inference + assumed.query_tokens
    passage = prefix + assumed.thinking_tokens + assumed.solution_tokens
    fresh = passage + sum(budget.candidates * (passage - prefix - step * segment) for step in range(steps))
    calls = 1 + steps * budget.candidates
    return Work(calls=calls, read=fresh, read_unshared=calls * passage)


def search_work(budget: SearchBudget, assumed: CostAssumptions, templates: TemplateTokens) -> tuple[Work, Work]:
    """One search: the generator's work and the scorer's. Every start after the first needs a draft of its own; with
    `budget.like` there are as many of them as have the tokens of that search's rewrites, and it is counted whole, as if
    no other arm had run it."""
    edited = budget.like or budget
    rewrites, scores = rewrite_work(edited, assumed, templates), score_work(edited, assumed, templates)
    if budget.like is None:
        further = budget.starts - 1
        rewrites, scores = rewrites * budget.starts, scores * budget.starts
    else:
        further = min(budget.starts - 1, round(rewrites.written / assumed.thinking_tokens))
        scores = scores + score_work(budget, assumed, templates) * further
    return rewrites + draft_work(assumed, templates) * further, scores


def _segment_tokens(assumed: CostAssumptions) -> float:
    return assumed.thinking_tokens / assumed.segments


def _steps(budget: SearchBudget, assumed: CostAssumptions) -> int:
    return min(budget.edits, assumed.steps, assumed.segments)
