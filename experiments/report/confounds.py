"""Confounds: quantities that differ between arms without being the ablated part, counted for each run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from experiments.stages import evaluation, probes, synthesis, training
from experiments.store.metrics import StageMetrics
from experiments.store.runs import Counts, Result

M = TypeVar("M", bound=StageMetrics)


def confounds(run: Result) -> Counts:
    """The confounds of a run by label, None where it has no such stage; counts of answers are sums over benchmarks."""
    train, curate = run.metrics_of(training.train), run.metrics_of(synthesis.curate)
    generate = run.all_metrics_of(evaluation.generate).values()
    hygiene = run.all_metrics_of(probes.hygiene).values()
    return {
        "rows": _of(train, lambda m: m.rows),
        "trained tokens": _of(train, lambda m: m.trained_tokens),
        "optimizer steps": _of(train, lambda m: m.steps),
        "thinking words": _of(curate, lambda m: m.mean_words),
        "reflection markers": _of(curate, lambda m: m.reflection_markers),
        "literature/arts rows": _of(curate, lambda m: m.literature_arts_rows),
        "truncated answers": _total(generate, lambda m: m.truncated),
        "answers with unclosed thinking": _total(generate, lambda m: m.unclosed_thinking),
        "empty answers": _total(generate, lambda m: m.empty_answers),
        "looping answers": _total(hygiene, lambda m: m.loops),
        "answers in the wrong language": _total(hygiene, lambda m: m.wrong_language),
        "clean answers": _total(hygiene, lambda m: m.clean),
        "share of answers that end": _of(run.metrics_of(probes.termination), lambda m: m.share_ended),
        "nll of held-out texts, nats/token": _of(run.metrics_of(probes.perplexity), lambda m: m.nll),
    }


def _of(metrics: M | None, count: Callable[[M], float | None]) -> float | None:
    return None if metrics is None else count(metrics)


def _total(metrics: Iterable[M], count: Callable[[M], int]) -> int | None:
    values = [count(m) for m in metrics]
    return sum(values) if values else None
