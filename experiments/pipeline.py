"""Read this first: one experiment, straight down.

Calling a stage describes a step and runs nothing. A step's arguments identify its result, so two arms whose steps are
equal share them, and an ablation costs only what comes after the part it changes. `data.choose` leaves out what the
mixture does not use: an arm without synthetic data never asks for a search.
"""

from __future__ import annotations

from evals.lm_eval.harness import AnyBenchmark, LmEval
from experiments.experiment import Experiment
from experiments.stages import data, evaluation, probes, synthesis, training
from experiments.store.stages import Step


def pipeline(exp: Experiment) -> dict[str, Step]:
    """All steps by name, in order: from pairs to grades (paper.md §1–5)."""
    steps = training_rows(exp)
    rendered = steps["render"]
    if exp.matched_to is not None:
        target = training_rows(exp.matched_to)
        shared = {step.fingerprint for step in steps.values()}
        steps |= {f"matched_to:{name}": step for name, step in target.items() if step.fingerprint not in shared}
        rendered = steps["match"] = training.match(
            rendered=rendered, target=target["render"], match=exp.match, global_batch=exp.train.global_batch
        )
    trained = steps["train"] = training.train(
        rendered=rendered, student=exp.student.checkpoint, recipe=exp.train, seed=exp.seed
    )
    steps["termination"] = probes.termination(
        trained=trained,
        mixed=steps["mix"],
        rendered=steps["render"],
        samples=exp.scale.termination_samples,
        seed=exp.seed,
        precision=exp.train.precision,
    )
    held_out = steps["held_out"] = probes.held_out(
        source=exp.source,
        pairs=exp.scale.pairs,
        min_words=exp.scale.min_words,
        max_words=exp.scale.solution_words,
        texts=exp.scale.held_out_texts,
    )
    steps["perplexity"] = probes.perplexity(
        trained=trained, held_out=held_out, chat_format=exp.train.chat_format, precision=exp.train.precision
    )
    if "pairs" in steps:
        steps["overlap"] = probes.overlap(pairs=steps["pairs"], benchmarks=exp.benchmark)
    for name, benchmark in exp.benchmark.items():
        steps |= scores(exp, trained, name, benchmark)
    return steps


def training_rows(exp: Experiment) -> dict[str, Step]:
    """From pairs to the rows that are trained on, which is the last step (paper.md §1–3)."""
    prompting = {"prompts": exp.prompts, "triggers": exp.reflection.triggers}
    pairs = data.pairs(
        source=exp.source,
        taxonomy=exp.taxonomy,
        prompts=exp.prompts,
        classifier=exp.generator.model,
        pairs=exp.scale.pairs,
        min_words=exp.scale.min_words,
        max_words=exp.scale.solution_words,
    )
    drafts = synthesis.draft(
        pairs=pairs,
        generator=exp.generator,
        rules=exp.filters.draft,
        max_tokens=exp.scale.draft_tokens,
        **prompting,
    )
    refined = synthesis.refine(
        pairs=pairs,
        drafts=drafts,
        generator=exp.generator,
        scorer=exp.scorer,
        search=exp.search,
        rules=exp.filters.draft,
        draft_tokens=exp.scale.draft_tokens,
        edit_tokens=exp.scale.edit_tokens,
        **prompting,
    )
    from_source = synthesis.source_thinking(pairs=pairs)
    thinking = exp.thinking.choose(searched=refined, from_source=from_source)
    filtered = synthesis.filter(pairs=pairs, thinking=thinking, filters=exp.filters)
    curated = synthesis.curate(
        pairs=pairs,
        filtered=filtered,
        reflection=exp.reflection,
        trajectory=exp.trajectory,
        categories=exp.categories,
        taxonomy=exp.taxonomy,
    )
    public = data.public(source=exp.public)
    mixed = training.mix(
        **exp.data.choose(synthetic=curated, public=public),
        seed=exp.data.seed,
        synthetic_rows=exp.scale.synthetic_rows,
        public_rows=exp.scale.public_rows,
        without_thinking=exp.data.without_thinking,
    )
    rendered = training.render(
        mixed=mixed,
        student=exp.student.checkpoint,
        chat_format=exp.train.chat_format,
        max_length=exp.scale.train_tokens,
    )
    steps = {
        "pairs": pairs,
        "draft": drafts,
        "refine": refined,
        "source_thinking": from_source,
        "filter": filtered,
        "curate": curated,
        "public": public,
        "mix": mixed,
        "render": rendered,
    }
    used = {step.fingerprint for step in rendered.upstream()}
    return {name: step for name, step in steps.items() if step.fingerprint in used}


def scores(exp: Experiment, trained: Step, name: str, benchmark: AnyBenchmark) -> dict[str, Step]:
    """The scores of the trained model on one benchmark, and what says how far they can be trusted."""
    if isinstance(benchmark, LmEval):
        return {f"harness:{name}": evaluation.harness(label=name, trained=trained, benchmark=benchmark)}
    answers = evaluation.generate(
        label=name,
        trained=trained,
        benchmark=benchmark,
        max_tokens=exp.scale.answer_tokens,
        seed=exp.seed,
        precision=exp.train.precision,
    )
    graded = evaluation.grade(label=name, answers=answers, benchmark=benchmark, judge=exp.judge)
    return {
        f"generate:{name}": answers,
        f"grade:{name}": graded,
        f"hygiene:{name}": probes.hygiene(label=name, answers=answers, graded=graded, benchmark=benchmark),
        f"reliability:{name}": probes.reliability(
            label=name,
            answers=answers,
            graded=graded,
            benchmark=benchmark,
            judge=exp.judge,
            checks=exp.reliability,
        ),
    }
