"""THE file to read first: one experiment, straight down.

Calling a stage describes a step and runs nothing; what a step is given is what identifies its result. Two arms whose
steps are equal share them, so an ablation costs only what comes after the part it changes. `data.choose` leaves out
what the mixture does not use: an arm without synthetic data never asks for a search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evals.lm_harness import LmEval
from experiments import answers as unjudged
from experiments import evaluation, stages, training
from experiments.experiment import Experiment
from experiments.store import Step


@dataclass(frozen=True)
class Pipeline:
    """All steps of an experiment by name, in order."""

    steps: Mapping[str, Step]


def training_rows(x: Experiment) -> dict[str, Step]:
    """From pairs to the rows that are taught, the last step (paper.md §1–3)."""
    asked = {"prompts": x.prompts, "triggers": x.reflection.triggers}

    pairs = stages.pairs(
        source=x.source, taxonomy=x.taxonomy, prompts=x.prompts, classifier=x.generator.chat, pairs=x.scale.pairs,
        min_words=x.scale.min_words, max_words=x.scale.solution_words,
    )  # fmt: skip
    drafts = stages.draft(
        pairs=pairs, generator=x.generator, rules=x.filters.draft, max_tokens=x.scale.draft_tokens, **asked
    )
    refined = stages.refine(
        pairs=pairs, drafts=drafts, generator=x.generator, scorer=x.scorer, search=x.search,
        rules=x.filters.draft, draft_tokens=x.scale.draft_tokens, edit_tokens=x.scale.edit_tokens, **asked,
    )  # fmt: skip
    adopted = stages.adopt(pairs=pairs)
    thought = x.thinking.choose(searched=refined, adopted=adopted)
    filtered = stages.filter(pairs=pairs, refined=thought, filters=x.filters)
    curated = stages.curate(
        pairs=pairs, filtered=filtered, reflection=x.reflection, trajectory=x.trajectory, categories=x.categories,
        taxonomy=x.taxonomy,
    )  # fmt: skip
    public = training.public(source=x.public)
    mixed = training.mix(
        **x.data.choose(synthetic=curated, public=public), seed=x.data.seed,
        synthetic_rows=x.scale.synthetic_rows, public_rows=x.scale.public_rows,
        without_thinking=x.data.without_thinking,
    )  # fmt: skip
    rendered = training.render(mixed=mixed, student=x.student, chat=x.train.chat, max_length=x.scale.train_tokens)
    return _used_by(rendered, {
        "pairs": pairs, "draft": drafts, "refine": refined, "adopt": adopted, "filter": filtered, "curate": curated,
        "public": public, "mix": mixed, "render": rendered,
    })  # fmt: skip


def pipeline(x: Experiment) -> Pipeline:
    """From pairs to grades (paper.md §1–5)."""
    named = training_rows(x)
    taught = named["render"]
    if x.reference is not None:
        other = training_rows(x.reference)
        taught = training.match(
            rendered=taught, reference=other["render"], match=x.match, global_batch=x.train.global_batch
        )
        ours = {step.fingerprint for step in named.values()}
        named |= {f"reference:{name}": step for name, step in other.items() if step.fingerprint not in ours}
        named["match"] = taught
    trained = named["train"] = training.train(rendered=taught, student=x.student, recipe=x.train, seed=x.seed)
    named["stops"] = evaluation.stops(
        trained=trained, mixed=named["mix"], rendered=named["render"], samples=x.scale.stop_samples, seed=x.seed,
        precision=x.train.precision,
    )  # fmt: skip
    named["references"] = unjudged.references(
        source=x.source, pairs=x.scale.pairs, min_words=x.scale.min_words, max_words=x.scale.solution_words,
        texts=x.scale.reference_texts,
    )  # fmt: skip
    named["perplexity"] = unjudged.perplexity(
        trained=trained, references=named["references"], chat=x.train.chat, precision=x.train.precision
    )
    if "pairs" in named:
        named["overlap"] = evaluation.overlap(pairs=named["pairs"], benchmarks=x.benchmark)
    for name, benchmark in x.benchmark.items():
        named |= results(x, trained, name, benchmark)
    return Pipeline(named)


def results(x: Experiment, trained: Step, name: str, benchmark: Any) -> dict[str, Step]:
    """What one benchmark says of the trained model, and how far that can be trusted."""
    if isinstance(benchmark, LmEval):
        return {f"harness:{name}": evaluation.harness(label=name, trained=trained, benchmark=benchmark)}
    answers = evaluation.generate(
        label=name, trained=trained, benchmark=benchmark, max_tokens=x.scale.answer_tokens, seed=x.seed,
        precision=x.train.precision,
    )  # fmt: skip
    asked = {"label": name, "answers": answers, "benchmark": benchmark}
    graded = evaluation.grade(judge=x.judge, **asked)
    return {
        f"generate:{name}": answers,
        f"grade:{name}": graded,
        f"hygiene:{name}": unjudged.hygiene(graded=graded, **asked),
        f"health:{name}": evaluation.health(graded=graded, judge=x.judge, health=x.health, **asked),
    }


def _used_by(last: Step, steps: Mapping[str, Step]) -> dict[str, Step]:
    """Those of the steps that the last one needs."""
    wanted = {step.fingerprint for step in last.upstream()}
    return {name: step for name, step in steps.items() if step.fingerprint in wanted}
