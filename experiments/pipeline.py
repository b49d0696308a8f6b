"""Read this first: one experiment, straight down.

Calling a stage describes a step and runs nothing. A step's arguments identify its result, so two arms whose steps are
equal share them, and an ablation costs only the stages from the changed part on. `data.choose` leaves out the parts
that the mixture does not use: an arm without synthetic data never starts a search. `label` and `hint` name a step for
people and never identify it. Steps that ask the same model follow one another, so that it is loaded once for them:
generator and scorer before the training, then the student, then judges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

from evals.benchmark import Benchmark
from evals.judging.per_benchmark import judge_of
from evals.lm_eval.harness import AnyBenchmark, LmEval
from experiments.experiment import Experiment
from experiments.metrics.evaluation import GenerateMetrics
from experiments.stages import anchoring, controls, data, degeneration, evaluation, probes, synthesis, training
from experiments.store.step import Step, Steps
from reer.curation.controls import ThinkingControl
from reer.errors import InputError


def pipeline(exp: Experiment) -> Steps:
    """All steps by name, in order: from pairs to grades (paper.md §1–5)."""
    if exp.answers.path is not None:
        return by_name(chain.from_iterable(given(exp, name, benchmark) for name, benchmark in exp.benchmarks.items()))
    steps, arm = training_rows(exp), f"{exp.data.name}-s{exp.seed}"
    mixed, rendered = steps[training.mix.named()], steps[training.render.named()]
    rows = rendered
    if exp.matched_to is not None:
        others = training_rows(exp.matched_to)
        own = {step.fingerprint for step in steps.values()}
        steps |= by_name(_of_other_arm(step) for step in others.values() if step.fingerprint not in own)
        rows = training.match(
            hint=f"{exp.match.by}-{exp.matched_to.name}",
            rendered=rendered,
            target=others[training.render.named()],
            match=exp.match,
            global_batch=exp.train.global_batch,
        )
        steps |= by_name([rows])
    trained = training.train(
        hint=arm,
        rendered=rows,
        student=exp.student.checkpoint,
        recipe=exp.train,
        seed=exp.train.seed_of(exp.seed),
    )
    if (pairs := steps.get(data.pairs.named())) is not None:
        steps |= by_name([probes.overlap(hint=exp.source.name, pairs=pairs, benchmarks=exp.benchmarks)])
    if (thinking := mixed.inputs.get("synthetic")) is not None:
        steps |= by_name([anchoring_of(exp, thinking)])
    steps |= by_name([trained, *probes_of(exp, trained, mixed, rendered)])
    scored = chain.from_iterable(scores(exp, trained, name, benchmark) for name, benchmark in exp.benchmarks.items())
    return steps | by_name(sorted(scored, key=lambda step: "trained" not in step.inputs))


def probes_of(exp: Experiment, trained: Step, mixed: Step, rendered: Step) -> list[Step]:
    """What shows, without a benchmark, what the training did to the student."""
    hint = f"{exp.data.name}-s{exp.seed}"
    termination = probes.termination(
        hint=hint,
        trained=trained,
        mixed=mixed,
        rendered=rendered,
        samples=exp.scale.termination_samples,
        seed=exp.train.seed_of(exp.seed),
        precision=exp.train.precision,
        engine=exp.student.engine,
    )
    template = degeneration.template(hint=hint, trained=trained, mixed=mixed, rendered=rendered)
    return [termination, template, *held_out_texts(exp, trained, hint)]


def held_out_texts(exp: Experiment, trained: Step, hint: str) -> list[Step]:
    """How surprising texts that no arm trains on are to the trained model, which needs no judge."""
    held_out = probes.held_out(
        hint=exp.source.name,
        source=exp.source,
        selection=exp.scale.selection,
        texts=exp.scale.held_out_texts,
    )
    asked = {
        "hint": hint,
        "trained": trained,
        "held_out": held_out,
        "chat_format": exp.train.chat_format,
        "precision": exp.train.precision,
        "engine": exp.student.engine,
    }
    steps: list[Step] = [held_out, probes.perplexity(**asked)]
    if (limit := exp.scale.held_out_thinking_tokens) is not None:
        steps.append(evaluation.held_out_scores(thinking_tokens=limit, seed=exp.train.seed_of(exp.seed), **asked))
    return steps


def training_rows(exp: Experiment) -> Steps:
    """From pairs to the rows that are trained on, which is the last step (paper.md §1–3)."""
    synthetic = synthetic_rows(exp)
    public = data.public(hint=exp.public.name, source=exp.public)
    parts = exp.data.choose(synthetic=synthetic[-1], public=public)
    sizes = exp.data.sizes(exp.scale.synthetic_rows, exp.scale.public_rows)
    mixed = training.mix(
        hint=exp.data.name,
        synthetic=parts.get("synthetic"),
        public=parts.get("public"),
        seed=exp.data.seed,
        synthetic_rows=sizes.synthetic,
        public_rows=sizes.public,
        without_thinking=exp.data.without_thinking,
        markers=exp.reflection.markers,
        strip_public=exp.reflection.public == "strip",
    )
    rendered = training.render(
        hint=exp.data.name,
        mixed=mixed,
        student=exp.student.checkpoint,
        chat_format=exp.train.chat_format,
        max_length=exp.scale.train_tokens,
    )
    used = {step.fingerprint for step in rendered.upstream()}
    return by_name(step for step in [*synthetic, public, mixed, rendered] if step.fingerprint in used)


def anchoring_of(exp: Experiment, thinking: Step) -> Step:
    """How far the thinking that is trained on leans on the solutions."""
    return anchoring.anchoring(
        hint=exp.thinking.name,
        trained_on=thinking,
        generator=exp.generator,
        scorer=exp.scorer,
        prompts=exp.prompts,
        triggers=exp.reflection.triggers,
        samples=exp.scale.anchoring_samples,
        blind_tokens=exp.scale.draft_tokens,
        embedding=exp.embedding,
    )


def synthetic_rows(exp: Experiment) -> list[Step]:
    """From pairs to the thinking that is trained on, which is the last step; some before it may be unused (paper.md
    §1–3)."""
    pairs = data.pairs(
        hint=exp.source.name,
        source=exp.source,
        taxonomy=exp.taxonomy,
        prompts=exp.prompts,
        classifier=exp.generator.model,
        selection=exp.scale.selection,
    )
    drafts = synthesis.draft(
        hint=exp.prompts.name,
        pairs=pairs,
        generator=exp.generator,
        prompts=exp.prompts,
        triggers=exp.reflection.triggers,
        rules=exp.filters.draft,
        max_tokens=exp.scale.draft_tokens,
    )
    budget = exp.search.budget()
    refined = synthesis.refine(
        hint=f"{type(exp.search).__name__}-{budget.starts}x{budget.edits}x{budget.candidates}",
        pairs=pairs,
        drafts=drafts,
        generator=exp.generator,
        scorer=exp.scorer,
        search=exp.search,
        prompts=exp.prompts,
        triggers=exp.reflection.triggers,
        rules=exp.filters.draft,
        rewrites=exp.filters.rewrite,
        draft_tokens=exp.scale.draft_tokens,
        edit_tokens=exp.scale.edit_tokens,
    )
    from_source = synthesis.source_thinking(hint=exp.source.name, pairs=pairs)
    thinking = exp.thinking.choose(searched=refined, from_source=from_source)
    filtered = synthesis.filter_trajectories(
        hint=exp.thinking.origin, pairs=pairs, thinking=thinking, filters=exp.filters
    )
    curated = synthesis.curate(
        hint=f"{exp.reflection.name}-{exp.trajectory.name}-{exp.categories.name}",
        pairs=pairs,
        filtered=filtered,
        reflection=exp.reflection,
        trajectory=exp.trajectory,
        categories=exp.categories,
        taxonomy=exp.taxonomy,
        filters=exp.filters,
    )
    steps: list[Step] = [pairs, drafts, refined, from_source, filtered, curated]
    return [*steps, control_of(exp, exp.thinking, curated)] if isinstance(exp.thinking, ThinkingControl) else steps


def control_of(exp: Experiment, control: ThinkingControl, curated: Step) -> Step:
    """Other thinking in place of the curated one, for the rows that the mixture takes."""
    return controls.control(
        hint=control.name,
        curated=curated,
        control=control,
        student=exp.student.checkpoint,
        markers=exp.reflection.markers,
        rows=exp.data.sizes(exp.scale.synthetic_rows, exp.scale.public_rows).synthetic,
        seed=exp.data.seed,
    )


def scores(exp: Experiment, trained: Step, name: str, benchmark: AnyBenchmark) -> list[Step]:
    """The scores of the trained model on one benchmark, and the probes that show how far they can be trusted."""
    if isinstance(benchmark, LmEval):
        return [evaluation.harness(label=name, trained=trained, benchmark=benchmark, engine=exp.student.engine)]
    *own, answers = answers_of(exp, trained, name, benchmark)
    judge = judge_of(exp.judge, benchmark.name)
    graded = evaluation.grade(label=name, answers=answers, benchmark=benchmark, judge=judge)
    hygiene = probes.hygiene(label=name, answers=answers, graded=graded, benchmark=benchmark)
    reliability = probes.reliability(
        label=name,
        answers=answers,
        graded=graded,
        benchmark=benchmark,
        judge=judge,
        checks=exp.reliability,
    )
    return [*own, answers, graded, hygiene, reliability]


def answers_of(exp: Experiment, trained: Step, name: str, benchmark: Benchmark) -> list[Step[GenerateMetrics]]:
    """The answers of the trained model to a benchmark, which are the last step, after those whose thinking they use."""
    asked = {
        "trained": trained,
        "benchmark": benchmark,
        "max_tokens": exp.scale.answer_tokens,
        "seed": exp.train.seed_of(exp.seed),
        "precision": exp.train.precision,
        "engine": exp.student.engine,
    }
    if not exp.answering.needs_own:
        return [evaluation.generate(label=name, answering=exp.answering, **asked)]
    own = evaluation.own_answers(label=name, **asked)
    return [own, evaluation.generate(label=name, answering=exp.answering, own=own, **asked)]


def given(exp: Experiment, name: str, benchmark: AnyBenchmark) -> list[Step]:
    """The scores of answers that were made elsewhere. Raises InputError for a benchmark that takes none."""
    if isinstance(benchmark, LmEval):
        raise InputError(f"answers: {name} generates its answers itself; leave it out: benchmark=[writing]")
    answers = evaluation.given_answers(label=name, answers=exp.answers, benchmark=benchmark)
    judge = judge_of(exp.judge, benchmark.name)
    return [answers, evaluation.grade(label=name, answers=answers, benchmark=benchmark, judge=judge)]


def by_name(steps: Iterable[Step]) -> Steps:
    """Steps by their name, in the given order."""
    return {step.name: step for step in steps}


def _of_other_arm(step: Step) -> Step:
    """A step of the arm that this one is matched to, named so that it is not taken for this arm's own."""
    return replace(step, name=step.stage.named("matched_to"))
