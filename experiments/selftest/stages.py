"""The pipeline with a simulated student: the two stages that need its weights are replaced by these, the stages that
probe its weights are left out, and all others are the pipeline's own."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

from evals.benchmark import Benchmark, Response
from experiments.experiment import Experiment
from experiments.metrics.evaluation import GENERATE, GenerateMetrics
from experiments.metrics.training import TRAIN, MatchMetrics, MixMetrics, RenderMetrics, TrainMetrics
from experiments.selftest.student import Properties, SimulatedStudent, Weights, properties
from experiments.stages import anchoring, degeneration, evaluation, probes, training
from experiments.store.records import digest_of
from experiments.store.step import Artifact, Step, Steps, stage
from experiments.store.workspace import Workspace
from reer.curation.markers import Markers
from reer.files import adapter, read_rows, write_json, write_rows
from reer.training.chat_format import Rendered
from reer.training.recipe import Recipe, steps_of
from reer.types import Sample, content_id, item_seed

WEIGHTS = "model/weights.json"
LEFT_OUT = (
    probes.termination,
    probes.held_out,
    probes.perplexity,
    probes.overlap,
    degeneration.template,
    anchoring.anchoring,
)


@stage(TRAIN, version=1, product="model")
def train(
    ws: Workspace,
    *,
    rendered: Artifact[RenderMetrics | MatchMetrics],
    mixed: Artifact[MixMetrics],
    student: SimulatedStudent,
    recipe: Recipe,
    markers: Markers,
    literature: tuple[str, ...],
    seed: int,
) -> TrainMetrics:
    """A simulated training: the properties of the rendered rows become quality."""
    files = (rendered.file("rows.jsonl").resolve(), mixed.file("rows.jsonl").resolve())
    rows, learnt = training_rows(*files, markers, literature)
    digest = content_id(digest_of(rendered.file("rows.jsonl")).sha256, repr(recipe), str(seed))
    (ws.folder / WEIGHTS).parent.mkdir()
    write_json(ws.folder / WEIGHTS, asdict(student.trained(learnt, digest, recipe.epochs)))
    return TrainMetrics(
        rows=rows,
        steps=steps_of(rows, recipe),
        resumed_from_step=0,
        first_loss=0.0,
        last_loss=0.0,
        mean_loss_last_quarter=0.0,
        trained_tokens=int(recipe.epochs * rendered.metrics.trained_tokens),
        tokens_per_second=0.0,
        memory_gib=0.0,
        processes=1,
    )


@lru_cache(maxsize=64)
def training_rows(rendered: Path, mixed: Path, markers: Markers, literature: tuple[str, ...]) -> tuple[int, Properties]:
    """The number of rendered rows, and their properties. Files are read once, however many worlds train on them."""
    ids = [row.id for row in read_rows(rendered, Rendered)]
    samples = {row.id: row for row in read_rows(mixed, Sample)}
    return len(ids), properties([samples[row_id] for row_id in ids], markers, literature)


@stage(GENERATE, version=1)
def generate(
    ws: Workspace, *, trained: Artifact[TrainMetrics], benchmark: Benchmark, student: SimulatedStudent, seed: int
) -> GenerateMetrics:
    """The answers of a simulated student to every item of a benchmark."""
    weights = adapter(Weights).validate_json(trained.file(WEIGHTS).read_bytes())
    answers = {item.id: student.answer(weights, item, item_seed(seed, item.id)) for item in benchmark.items()}
    responses = [Response.read(at, text, False, len(text.split()), "stop") for at, text in answers.items()]
    write_rows(ws.folder / "rows.jsonl", responses)
    return GenerateMetrics(
        rows=len(responses),
        empty_answers=sum(not response.answer for response in responses),
        truncated=0,
        unclosed_thinking=0,
        with_thinking=0,
        mean_tokens=statistics.fmean(response.tokens for response in responses),
    )


def simulated(steps: Steps, exp: Experiment, student: SimulatedStudent, with_probes: bool) -> Steps:
    """The steps of an experiment with this student in the place of its own; `with_probes` also those that probe its
    answers and the judge."""
    left_out = LEFT_OUT if with_probes else (*LEFT_OUT, probes.hygiene, probes.reliability)
    made: dict[str, Step] = {}
    kept: Steps = {}
    for name, step in steps.items():
        if step.stage not in left_out:
            kept[name] = made[step.fingerprint] = _simulated(step, made, exp, student)
    return kept


def _simulated(step: Step, made: Mapping[str, Step], exp: Experiment, student: SimulatedStudent) -> Step:
    """A step on the inputs that were made so far. What it is called stays."""
    inputs = {name: made.get(before.fingerprint, before) for name, before in step.inputs.items()}
    if step.stage is training.train:
        described = train(
            hint=step.hint,
            rendered=inputs["rendered"],
            mixed=_mixed(inputs["rendered"]),
            student=student,
            recipe=exp.train,
            markers=exp.reflection.markers,
            literature=literature_of(exp),
            seed=step.values["seed"],
        )
        return replace(described, name=step.name)
    if step.stage is evaluation.generate:
        asked = step.values
        described = generate(
            trained=inputs["trained"], benchmark=asked["benchmark"], student=student, seed=asked["seed"]
        )
        return replace(described, name=step.name)
    return replace(step, inputs=inputs)


def _mixed(rendered: Step) -> Step:
    """The mixture that rows were rendered from."""
    return next(step for step in rendered.upstream() if step.stage is training.mix)


def literature_of(exp: Experiment) -> tuple[str, ...]:
    """The categories of literature and arts."""
    return tuple(name for name in exp.taxonomy.categories if exp.taxonomy.is_literature_arts(name))
