"""The arms of a world through the pipeline, its store, its contracts and its comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evals.benchmarks.rubrics import Rubrics
from evals.judging.judge import Judge
from evals.judging.per_benchmark import default_judge
from experiments.config.parts import FrozenPlan, experiment_from
from experiments.contracts.check import require_before_training
from experiments.contracts.confounds import confounds
from experiments.contracts.terms import Contract
from experiments.experiment import Experiment
from experiments.metrics import training
from experiments.pipeline import pipeline
from experiments.report.compare import Comparison, compare
from experiments.selftest.arms import BASELINE, MEASURED, all_arms
from experiments.selftest.stages import WEIGHTS, literature_of, simulated, training_rows
from experiments.selftest.student import Properties, Weights
from experiments.selftest.world import World
from experiments.store.runs import Result, write_lock, write_result
from experiments.store.step import Artifact, StepName
from experiments.store.store import Store
from reer.errors import InputError
from reer.files import adapter

ITEMS = 80
MIN_COVERAGE = 0.95
REPEATED = 20  # items that the judge is asked about twice, to measure its noise
BENCHMARK = "rubrics"
MEASURE = f"{BENCHMARK}/quality"


@dataclass(frozen=True, kw_only=True)
class Arms:
    """The arms that all worlds share, with the properties of their training rows, and the store that holds these."""

    experiments: Mapping[str, Experiment]
    learnt: Mapping[str, Properties]
    store: Path


@dataclass(frozen=True, kw_only=True)
class WorldRun:
    """A world that was run: what the harness compares, by arm the quality that its rows make, by arm and seed the
    trained student, and why arms were refused before they were trained."""

    world: World
    comparisons: Sequence[Comparison]
    qualities: Mapping[str, float]
    weights: Mapping[tuple[str, int], Weights]
    refused: Mapping[str, str]


def prepared(plans: Sequence[FrozenPlan], root: Path) -> Arms:
    """The arms made of these plans of real ones. Their stages up to the training rows are computed here, in `root`."""
    benchmark = _benchmark(root)
    real = {plan["name"]: _changed(experiment_from(plan), benchmark) for plan in plans}
    experiments = all_arms(real)
    runtime = _placed(experiments[BASELINE], root).runtime
    store = Store(root=runtime.store, runtime=runtime)
    learnt = {name: _learnt(exp, store) for name, exp in experiments.items()}
    return Arms(experiments=experiments, learnt=learnt, store=store.root)


def _learnt(exp: Experiment, store: Store) -> Properties:
    steps = pipeline(exp)
    mixed, rendered = (store.build(steps[stage.named()]) for stage in (training.MIX, training.RENDER))
    files = (rendered.file("rows.jsonl").resolve(), mixed.file("rows.jsonl").resolve())
    _, learnt = training_rows(*files, exp.reflection.markers, literature_of(exp))
    return learnt


def _benchmark(root: Path) -> Rubrics:
    """A benchmark of `ITEMS` prompts, in a file of `root`."""
    path = root / "rubrics.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        for number in range(ITEMS):
            row = {"prompt": f"Write a few lines about thing {number}.", "rubric": ["It is a good text."]}
            stream.write(f"{json.dumps(row)}\n")
    return Rubrics(path=str(path), temperature=0.7, top_p=0.95, min_coverage=MIN_COVERAGE)


def _changed(exp: Experiment, benchmark: Rubrics) -> Experiment:
    """The experiment with a benchmark and judge checks that are the same in all worlds."""
    scale = replace(exp.scale, benchmark_items=None)
    checks = replace(exp.reliability, repeat_items=REPEATED)
    return replace(exp, benchmark={BENCHMARK: benchmark}, scale=scale, reliability=checks)


def _placed(exp: Experiment, root: Path) -> Experiment:
    return replace(exp, runtime=replace(exp.runtime, root=str(root)))


def run_world(world: World, arms: Arms, root: Path, seeds: Sequence[int]) -> WorldRun:
    """Run every arm of a world at the first seed, and those whose true difference is known at all seeds."""
    runtime = _placed(arms.experiments[BASELINE], root).runtime
    runtime.store.mkdir(parents=True)
    for shared in arms.store.iterdir():
        (runtime.store / shared.name).symlink_to(shared.resolve(), target_is_directory=True)
    store = Store(root=runtime.store, runtime=runtime)
    results: list[Result] = []
    refused: dict[str, str] = {}
    for seed, name in _jobs(arms, seeds):
        judge = _judge(arms.experiments[name], world, name)
        exp = replace(_placed(arms.experiments[name], root), seed=seed, judge=judge)
        try:
            results.append(_result(exp, world, store, with_probes=seed == seeds[0]))
        except InputError as error:
            refused[name] = str(error)
    weights = {(result.name, result.seed): _weights(result) for result in results}
    qualities = {name: world.student.quality(learnt) for name, learnt in arms.learnt.items()}
    return WorldRun(world=world, comparisons=compare(results), qualities=qualities, weights=weights, refused=refused)


def _jobs(arms: Arms, seeds: Sequence[int]) -> Iterator[tuple[int, str]]:
    for seed in seeds:
        for name in arms.experiments if seed == seeds[0] else (BASELINE, *MEASURED):
            yield seed, name


def _judge(exp: Experiment, world: World, arm: str) -> Judge:
    """The judge that an arm meets in a world, which is asked once more where a reply holds no grade."""
    return replace(default_judge(exp.judge), name="simulated", model=world.judge_of(arm), attempts=2, caution="")


def _result(exp: Experiment, world: World, store: Store, with_probes: bool) -> Result:
    """The result of an arm. Raises InputError where its contract is broken before it is trained."""
    steps = simulated(pipeline(exp), exp, world.student, with_probes)
    write_lock(exp, steps, {"contract": adapter(Contract).dump_python(exp.contract, mode="json")})
    artifacts: dict[StepName, Artifact] = {}
    for name, step in steps.items():
        if name == training.TRAIN.named():
            require_before_training(exp, artifacts)
        artifacts[name] = store.build(step)
    return write_result(exp, artifacts, None, confounds)


def _weights(result: Result) -> Weights:
    path = result.steps[training.TRAIN.named()].path / WEIGHTS
    return adapter(Weights).validate_json(path.read_bytes())
