"""THE file to read first: one experiment, straight down.

Calling a stage describes a step and runs nothing; what a step is given is what identifies its result. Two arms whose
steps are equal share them, so an ablation costs only what comes after the part it changes. `data.choose` leaves out
what the mixture does not use: an arm without synthetic data never asks for a search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evals.lm_harness import LmEval
from experiments import evaluation, stages
from experiments.experiment import Experiment
from experiments.store import Step


@dataclass(frozen=True)
class Pipeline:
    """All steps of an experiment by name, in order; the last ones are its results."""

    steps: Mapping[str, Step]
    results: Mapping[str, Step]


def pipeline(x: Experiment) -> Pipeline:
    """From pairs to grades (paper.md §1–5)."""
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
    filtered = stages.filter(pairs=pairs, refined=refined, filters=x.filters)
    curated = stages.curate(
        pairs=pairs, filtered=filtered, reflection=x.reflection, trajectory=x.trajectory, categories=x.categories,
        taxonomy=x.taxonomy,
    )  # fmt: skip
    public = stages.public(source=x.public)
    mixed = stages.mix(
        **x.data.choose(synthetic=curated, public=public), seed=x.data.seed,
        synthetic_rows=x.scale.synthetic_rows, public_rows=x.scale.public_rows,
        without_thinking=x.data.without_thinking,
    )  # fmt: skip
    rendered = stages.render(mixed=mixed, student=x.student, chat=x.train.chat, max_length=x.scale.train_tokens)
    trained = stages.train(rendered=rendered, student=x.student, recipe=x.train, seed=x.seed)

    results: dict[str, Step] = {}
    for used in x.data.choose(synthetic=pairs).values():
        results["overlap"] = evaluation.overlap(pairs=used, benchmarks=x.benchmark)
    answers: dict[str, Step] = {}
    for name, benchmark in x.benchmark.items():
        if isinstance(benchmark, LmEval):
            results[name] = evaluation.harness(label=name, trained=trained, benchmark=benchmark)
            continue
        answers[f"generate:{name}"] = evaluation.generate(
            label=name, trained=trained, benchmark=benchmark, max_tokens=x.scale.answer_tokens, seed=x.seed,
            precision=x.train.precision,
        )  # fmt: skip
        results[name] = evaluation.grade(
            label=name, answers=answers[f"generate:{name}"], benchmark=benchmark, judge=x.judge
        )

    wanted = {step.fingerprint for result in results.values() for step in result.upstream()}
    named = {
        "pairs": pairs, "draft": drafts, "refine": refined, "filter": filtered, "curate": curated, "public": public,
        "mix": mixed, "render": rendered, "train": trained, **answers,
        **{_result_name(step, name): step for name, step in results.items()},
    }  # fmt: skip
    return Pipeline({name: step for name, step in named.items() if step.fingerprint in wanted}, results)


def _result_name(step: Step, name: str) -> str:
    return name if step.stage == name else f"{step.stage}:{name}"
