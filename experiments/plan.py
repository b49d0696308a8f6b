"""What a command would run and cost, by arithmetic: nothing is sent and no model is loaded.

Lengths and rates are the assumptions of `estimate=`; judge prompts are counted as they would be sent, with an answer of
the assumed length in each. Stages without a price here (probes, curation, lm-eval) take little beside the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

from evals.benchmark import Benchmark, JudgedBenchmark, Response
from evals.judging.judge import Judge
from evals.lm_eval.harness import LmEval
from evals.statistics.power import minimum_detectable_effect
from experiments.experiment import Experiment
from experiments.pipeline import pipeline
from experiments.stages import evaluation, probes, synthesis, training
from experiments.store.step import Step, StepName, Steps
from experiments.store.store import Store
from experiments.sweeps.designs import Arm
from reer.errors import InputError
from reer.models.http.client import Endpoint
from reer.search.cost import CostAssumptions, search_cost
from reer.text import words
from reer.training.cost import TrainingCost, TrainingSetSize, training_cost

TOKENS_A_WORD = 1.4  # of words as `reer.text.words` cuts them, Chinese characters among them
Status = Literal["cached", "started", "to run"]


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Model calls (training: optimizer steps), tokens read and written, device-hours, money in USD."""

    calls: int = 0
    tokens: int = 0
    device_hours: float = 0.0
    usd: float = 0.0

    def __add__(self, other: StageCost) -> StageCost:
        return StageCost(
            calls=self.calls + other.calls,
            tokens=self.tokens + other.tokens,
            device_hours=self.device_hours + other.device_hours,
            usd=self.usd + other.usd,
        )


def total(costs: Sequence[StageCost]) -> StageCost:
    """The sum; zero for no costs."""
    return sum(costs, StageCost())


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage of one arm. `shared_with` is the arm before it that computes the same result; `cost` is None where
    there is no estimate, and then `note` may say why."""

    name: str
    fingerprint: str
    status: Status
    shared_with: str | None
    cost: StageCost | None
    note: str = ""

    @property
    def is_own_work(self) -> bool:
        """True if this arm has to compute the stage: it is not cached, and no arm before computes it."""
        return self.status != "cached" and self.shared_with is None


@dataclass(frozen=True)
class ArmPlan:
    """One arm with all its stages, and the factors of the design that it lacks."""

    arm: str
    stages: tuple[StagePlan, ...]
    lacks: tuple[str, ...] = ()

    @property
    def has_unknown_costs(self) -> bool:
        """True if a stage cannot be estimated, so that every sum is a lower bound."""
        return any(stage.note for stage in self.stages)

    def from_scratch(self) -> StageCost:
        """What the arm would cost with an empty store and no other arm."""
        return total([stage.cost for stage in self.stages if stage.cost])

    def remaining(self) -> StageCost:
        """What the arm adds to what the store holds and the arms before it compute."""
        return total([stage.cost for stage in self.stages if stage.cost and stage.is_own_work])


class Detectable(NamedTuple):
    """The least difference between two arms that a benchmark can show, in standard deviations of the paired
    differences."""

    items: int
    effect: float


@dataclass(frozen=True)
class Plan:
    """All arms of a command, and the assumptions behind the numbers."""

    arms: tuple[ArmPlan, ...]
    assumptions: tuple[CostAssumptions, ...]
    detectable: Mapping[str, Detectable]
    """By benchmark: what its items can show."""
    factors: tuple[str, ...] = ()
    """Those of the design."""

    @property
    def has_unknown_costs(self) -> bool:
        return any(arm.has_unknown_costs for arm in self.arms)

    def distinct(self) -> dict[str, StagePlan]:
        """Every stage once, by fingerprint."""
        stages: dict[str, StagePlan] = {}
        for arm in self.arms:
            for stage in arm.stages:
                stages.setdefault(stage.fingerprint, stage)
        return stages

    def total(self) -> StageCost:
        """What all arms would cost with an empty store, shared stages once."""
        return total([stage.cost for stage in self.distinct().values() if stage.cost])

    def remaining(self) -> StageCost:
        """What is left to pay, given what the store holds."""
        return total([arm.remaining() for arm in self.arms])


def make_plan(experiments: Sequence[Experiment], design: Sequence[Arm] = (), factors: Sequence[str] = ()) -> Plan:
    """The plan of all jobs of a command: where they are the arms of a design, `design` has one for each."""
    owners: dict[str, str] = {}
    arms: list[ArmPlan] = []
    labels = _labels(experiments)
    for exp, label, arm in zip(experiments, labels, design or [Arm()] * len(experiments), strict=True):
        store, stages, steps = Store(root=exp.runtime.store, runtime=exp.runtime), [], pipeline(exp)
        costs = _costs(exp, store, steps)
        for name, step in steps.items():
            owner = owners.setdefault(step.fingerprint, label)
            cost = costs.get(name)
            stages.append(
                StagePlan(
                    name=str(name),
                    fingerprint=step.fingerprint,
                    status=store.status(step),
                    shared_with=None if owner == label else owner,
                    cost=None if isinstance(cost, str) else cost,
                    note=cost if isinstance(cost, str) else "",
                )
            )
        arms.append(ArmPlan(label, tuple(stages), arm.lacks))
    detectable = {name: found for exp in experiments for name, found in _detectable(exp).items()}
    return Plan(tuple(arms), tuple(dict.fromkeys(exp.estimate for exp in experiments)), detectable, tuple(factors))


def _detectable(exp: Experiment) -> dict[str, Detectable]:
    """What each judged benchmark can show; those whose files are missing are left out."""
    found: dict[str, Detectable] = {}
    for name, benchmark in exp.benchmark.items():
        if isinstance(benchmark, JudgedBenchmark):
            with suppress(InputError):
                items = len(benchmark.items())
                found[name] = Detectable(items, minimum_detectable_effect(items))
    return found


def _labels(experiments: Sequence[Experiment]) -> list[str]:
    """Arm names, with the scale and seed where the command has several."""
    scales, seeds = {exp.scale.name for exp in experiments}, {exp.seed for exp in experiments}
    return [
        exp.name + (f"/{exp.scale.name}" if len(scales) > 1 else "") + (f" s{exp.seed}" if len(seeds) > 1 else "")
        for exp in experiments
    ]


def stage_costs(exp: Experiment) -> dict[StepName, StageCost]:
    """What each stage with an estimate would cost by itself. Raises InputError for what the pipeline refuses."""
    costs = _costs(exp, Store(root=exp.runtime.store, runtime=exp.runtime), pipeline(exp))
    return {name: cost for name, cost in costs.items() if isinstance(cost, StageCost)}


def _costs(exp: Experiment, store: Store, steps: Steps) -> dict[StepName, StageCost | str]:
    """The cost of each stage that has an estimate, or the reason why it cannot be estimated here."""
    costs: dict[StepName, StageCost | str] = {**_search_costs(exp)}
    train = training.train.named()
    estimate = training_cost_of(exp, rendered_size(store, steps[train]))
    costs[train] = "the student's size is not stated" if estimate is None else _of_training(exp, estimate)
    for name, benchmark in exp.benchmark.items():
        if isinstance(benchmark, LmEval):
            costs[evaluation.harness.named(name)] = "lm-eval counts its own documents"
            continue
        try:
            judging = judge_cost(benchmark, exp)
        except InputError as error:
            costs[evaluation.grade.named(name)] = str(error)
            continue
        costs[evaluation.generate.named(name)] = _answering(judging.items, exp.estimate)
        costs[evaluation.grade.named(name)] = judging.grading
        costs[probes.reliability.named(name)] = judging.reliability + judging.second
    return costs


def _search_costs(exp: Experiment) -> dict[StepName, StageCost]:
    """Drafts and search apart, because arms may share the first draft only."""
    assumed, pairs = exp.estimate, exp.scale.pairs or 0
    if exp.thinking.from_source:
        return {}
    read = assumed.edit_template_tokens + assumed.query_tokens + assumed.solution_tokens
    hours = (
        read / assumed.generator_reads_per_second + assumed.thinking_tokens / assumed.generator_writes_per_second
    ) / 3600
    draft = StageCost(
        calls=pairs,
        tokens=pairs * (read + assumed.thinking_tokens),
        device_hours=pairs * hours,
        usd=pairs * hours * assumed.usd_per_device_hour,
    )
    budget = exp.search.budget()
    whole = search_cost(budget, pairs, assumed)
    hours = max(whole.device_hours - draft.device_hours, 0.0)
    refine = StageCost(
        calls=whole.score_calls + whole.rewrite_calls + pairs * (budget.starts - 1),
        tokens=whole.scored_tokens + whole.read_tokens + whole.written_tokens - draft.tokens,
        device_hours=hours,
        usd=hours * assumed.usd_per_device_hour,
    )
    return {synthesis.draft.named(): draft, synthesis.refine.named(): refine}


def training_set_size(exp: Experiment) -> TrainingSetSize:
    """The rows of a training set, from the scale's sizes and the assumed lengths."""
    assumed = exp.estimate
    synthetic_tokens = assumed.query_tokens + assumed.thinking_tokens + assumed.solution_tokens
    wanted = exp.data.sizes(exp.scale.synthetic_rows, exp.scale.public_rows)
    sizes = exp.data.choose(
        synthetic=(wanted.synthetic, synthetic_tokens), public=(wanted.public, assumed.public_tokens)
    )
    tokens = sum(rows * length for rows, length in sizes.values())
    return TrainingSetSize(sum(rows for rows, _ in sizes.values()), tokens, exp.scale.train_tokens)


def rendered_size(store: Store, train: Step) -> TrainingSetSize | None:
    """The size of a training set that has been rendered already, else None."""
    artifact = store.find(train.inputs["rendered"])
    if artifact is None or not isinstance(artifact.metrics, training.RenderMetrics | training.MatchMetrics):
        return None
    metrics = artifact.metrics
    return TrainingSetSize(metrics.rows, metrics.trained_tokens + metrics.masked_tokens, metrics.longest_row_tokens)


def training_cost_of(exp: Experiment, rendered: TrainingSetSize | None = None) -> TrainingCost | None:
    """The cost of the training; None where the student's size is not stated."""
    size = exp.student.checkpoint.size
    if size is None:
        return None
    return training_cost(exp.train, exp.runtime.parallelism, size, rendered or training_set_size(exp), exp.estimate)


def _of_training(exp: Experiment, cost: TrainingCost) -> StageCost:
    usd = cost.device_hours * exp.estimate.usd_per_device_hour
    return StageCost(calls=cost.steps, tokens=cost.tokens, device_hours=cost.device_hours, usd=usd)


def _answering(items: int, assumed: CostAssumptions) -> StageCost:
    """The student's answers, written at the generator's rate (which is the slower of the two where it is larger)."""
    tokens = items * assumed.answer_tokens
    hours = tokens / assumed.generator_writes_per_second / 3600
    return StageCost(calls=items, tokens=tokens, device_hours=hours, usd=hours * assumed.usd_per_device_hour)


@dataclass(frozen=True, kw_only=True)
class JudgeCost:
    """Judging one benchmark: the grades, the reliability checks by the same judge, and those by the second judge."""

    items: int
    grading: StageCost
    reliability: StageCost
    second: StageCost


def judge_cost(benchmark: Benchmark, exp: Experiment) -> JudgeCost:
    """The cost of one verdict for each call. Replies that have to be asked for again come on top; judgements on record
    are not paid again. Raises InputError where the benchmark's files are missing."""
    items, assumed, checks = benchmark.items(), exp.estimate, exp.reliability
    calls = [call for item in items for call in benchmark.calls(item, Response.of_text(item.id, "-"))]
    if not calls:
        nothing = StageCost()
        return JudgeCost(items=len(items), grading=nothing, reliability=nothing, second=nothing)
    prompt_words = sum(len(words(message.content)) for call in calls for message in call.prompt.messages)
    read = prompt_words * TOKENS_A_WORD / len(calls) + assumed.answer_tokens
    second_calls = round(min(len(items), checks.second_items) * len(calls) / len(items))
    return JudgeCost(
        items=len(items),
        grading=_verdicts(exp.judge, len(calls), read, assumed),
        reliability=_verdicts(exp.judge, checks.calls(len(items), len(calls)), read, assumed),
        second=_verdicts(checks.second, second_calls, read, assumed) if checks.second else StageCost(),
    )


def _verdicts(judge: Judge, calls: int, read_tokens: float, assumed: CostAssumptions) -> StageCost:
    """Verdicts of one judge. A judge behind an address takes money, one in this process device-hours."""
    read, written = round(calls * read_tokens), calls * assumed.verdict_tokens
    local = not isinstance(judge.model, Endpoint)
    hours = calls / assumed.verdicts_per_second / 3600 if local else 0.0
    usd = judge.usd(read, written) + hours * assumed.usd_per_device_hour
    return StageCost(calls=calls, tokens=read + written, device_hours=hours, usd=usd)
