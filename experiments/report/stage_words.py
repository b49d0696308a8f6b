"""The numbers of a finished stage as a few words, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.report.wording import score


def one_line(metrics: Mapping[str, Any]) -> str:
    """The few numbers of a stage that say how it went."""
    parts = []
    for key in (
        "rows",
        "dropped",
        "score_draft",
        "score_refined",
        "edits_accepted",
        "trained_tokens",
        "steps",
        "first_loss",
        "last_loss",
        "reflection_markers",
        "mean_words",
        "empty_answers",
        "with_thinking",
        "share_ended",
        "unscored",
    ):
        if key in metrics and metrics[key] not in ({}, None):
            parts.append(f"{key.replace('_', ' ')} {number(metrics[key])}")
    parts += [f"{m['benchmark']}/{m['metric']} {score(m)}" for m in metrics.get("measures", ())]
    return ", ".join(parts)


def number(value: Any) -> str:
    """A number or counts, short."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k} {number(v)}" for k, v in value.items()) + "}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def measured(name: str, metrics: Mapping[str, Any]) -> str:
    """What a stage measured, for the end of a run."""
    if name == "pairs":
        kinds, languages = len(metrics["categories"]), number(metrics["languages"])
        return f"{metrics['literature_arts']} literature/arts, {kinds} categories, {languages}"
    if name == "refine" and metrics.get("score_draft") is not None:
        before, after = metrics["score_draft"], metrics["score_refined"]
        edits = f"{metrics['edits_accepted']} of {metrics['edits']} edits accepted"
        return f"score {before:.4f} → {after:.4f}, {edits}, lost {number(metrics['candidates_lost'])}"
    if name == "render":
        taught, masked = metrics["trained_tokens"], metrics["masked_tokens"]
        return (
            f"{taught} tokens taught, {masked} masked, "
            + f"{metrics['truncated_rows']} rows truncated; {number(metrics['row_tokens'])}"
        )
    if name == "termination":
        return f"{metrics['ended']} of {metrics['rows']} answers end within {metrics['cap_tokens']} tokens"
    if name == "train":
        return f"{metrics['steps']} steps, loss {metrics['first_loss']:.3f} → {metrics['last_loss']:.3f}"
    if name == "perplexity" and metrics["texts"]:
        return f"{metrics['nll']:.3f} nats/token over {metrics['texts']} texts that nobody trained on"
    if name.startswith("hygiene:"):
        flags = ("empty", "truncated", "unclosed", "loops", "wrong_language")
        return f"{metrics['clean']} of {metrics['rows']} answers clean; {number({f: metrics[f] for f in flags})}"
    if name.startswith("reliability:") and metrics["null_answers"]:
        return "\n".join(_health(metrics))
    if "measures" in metrics:
        unscored, official = metrics.get("unscored"), metrics.get("official")
        lines = [f"{m['benchmark']}/{m['metric']} {score(m)}" for m in metrics["measures"]]
        short = {k: v for k, v in (official or {}).items() if "/" not in k and not k.endswith(("_x10", "_rescaled"))}
        lines += [f"by the benchmark's own scripts {number(short)}"] if short else []
        if metrics.get("judge_usd"):
            lines.append(f"{metrics['judgements']} judgements, {metrics['judge_usd']:.4g} usd")
        return "\n".join(lines + ([f"unscored {number(unscored)}"] if unscored else []))
    return one_line({key: value for key, value in metrics.items() if key not in ("rows", "dropped")})


def _health(metrics: Mapping[str, Any]) -> Iterator[str]:
    """How far the judge can be trusted, a line for each way of asking."""
    scores = {kind: null["score"] for kind, null in metrics["null_answers"].items() if null["score"] is not None}
    yield f"null answers {number(scores)}"
    if metrics["fooled_by"]:
        yield f"FOOLED: no worse than the answers' mean: {', '.join(metrics['fooled_by'])}"
    again, slope = metrics["repeat"], metrics["length"]["slope_per_doubling"]
    if again["items"]:
        same, alpha = number(again["exact_agreement"]), number(again["alpha"])
        yield f"asked again: same {same}, alpha {alpha} over {again['items']}"
    if (second := metrics["second"]) is not None:
        yield f"second judge {second['judge']}: alpha {number(second['alpha'])} over {second['items']}"
    if slope is not None:
        yield f"a doubling of length goes with {slope:+.2g}, p={metrics['length']['p']:.2g}"
    if (anchors := metrics["anchors"]) is not None and anchors["flagged"]:
        yield f"DRIFT: anchors moved by {anchors['drift']:+.2g} since this judge was first asked"
