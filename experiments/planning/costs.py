"""What each stage of an experiment costs, by arithmetic: nothing is sent and no model is loaded.

Lengths and rates are the assumptions of `estimate=`, or rates that `reer calibrate` measured; judge prompts are counted
as they would be sent, with an answer of the assumed length in each. Stages without a price here take little beside the
others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from evals.benchmark import JudgedBenchmark, Response
from evals.judging.judge import Judge
from evals.judging.panel import members_of
from evals.judging.per_benchmark import default_judge, judge_of
from evals.lm_eval.harness import AnyBenchmark, LmEval
from experiments.experiment import Experiment
from experiments.metrics import data, evaluation, probes, synthesis, training
from experiments.planning.calibration import calibrated
from experiments.planning.serving import Serving, Servings, judging, servings
from experiments.store.step import Step, StepName, Steps
from experiments.store.store import Store
from reer.data.hub import HubSource
from reer.errors import InputError
from reer.models.rates import Rate
from reer.search.cost import (
    BenchmarkSize,
    CostAssumptions,
    TemplateTokens,
    Work,
    calls_of,
    draft_work,
    search_work,
)
from reer.text import words
from reer.training.cost import TrainingCost, TrainingSetSize, training_cost

TOKENS_A_WORD = 1.4  # of words as `reer.text.words` cuts them, Chinese characters among them
TOKENS_A_NAME = 5  # a category's name and its comma
MISSING_JUDGE_PROMPT = 2000  # tokens beside the answer; 27 M read tokens in the 5,767 calls of three benchmarks


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Model calls (training: optimizer steps), tokens read and written (`written`: those generated or trained on),
    device-hours (of the devices that compute), hours on the clock, money in USD (for judges, and for all devices of the
    runtime as long as the stage takes)."""

    calls: int = 0
    tokens: int = 0
    written: int = 0
    device_hours: float = 0.0
    hours: float = 0.0
    usd: float = 0.0

    def __add__(self, other: StageCost) -> StageCost:
        return StageCost(
            calls=self.calls + other.calls,
            tokens=self.tokens + other.tokens,
            written=self.written + other.written,
            device_hours=self.device_hours + other.device_hours,
            hours=self.hours + other.hours,
            usd=self.usd + other.usd,
        )


def total(costs: Sequence[StageCost]) -> StageCost:
    """The sum, one stage after another; zero for no costs."""
    return sum(costs, StageCost())


@dataclass(frozen=True)
class Estimate:
    """The cost of a stage; None, or a part of it, where `missing` says why there is no more. `remark` says what was
    assumed."""

    cost: StageCost | None = None
    missing: str = ""
    remark: str = ""

    def __add__(self, other: Estimate) -> Estimate:
        costs = [part.cost for part in (self, other) if part.cost is not None]
        return Estimate(total(costs), self.missing or other.missing, self.remark or other.remark)


@dataclass(frozen=True)
class Use:
    """Work of one model in a stage."""

    serving: Serving | None
    work: Work


@dataclass(frozen=True)
class Costs:
    """The costs of one experiment's stages. `roles` may be other servings than the composed ones, to compare."""

    exp: Experiment
    roles: Servings
    assumed: CostAssumptions
    judging: Mapping[str, JudgeWork | InputError]
    """The judge's work for each benchmark, or why it cannot be counted."""

    @classmethod
    def of(cls, exp: Experiment) -> Costs:
        assumed = calibrated(exp.estimate, Path(exp.runtime.root), exp.student.checkpoint.size)
        return cls(exp, servings(exp), assumed, judge_works(exp))

    @cached_property
    def templates(self) -> TemplateTokens:
        return template_tokens(self.exp)

    @property
    def rented_devices(self) -> int:
        """The devices of the runtime, which are paid for while they idle, too."""
        return self.exp.runtime.parallelism.processes

    def rate(self, serving: Serving) -> Rate | None:
        return serving.rate(self.assumed.rates.values())

    def estimate(self, uses: Sequence[Use], order: Literal["in turn", "together"] = "in turn") -> Estimate:
        """The cost of the work of several models, in turn or side by side."""
        work = sum((use.work for use in uses), Work())
        tokens = sum(use.work.written + (use.serving.tokens_read if use.serving else _read)(use.work) for use in uses)
        device_hours, hours, missing = 0.0, [0.0], ""
        for use in uses:
            if use.serving is None or use.serving.billed or not use.work.calls:
                continue
            rate = self.rate(use.serving)
            if rate is None:
                missing = missing or no_rate(use.serving)
                continue
            of_replica = use.serving.replica_seconds(use.work, rate) / 3600
            device_hours += of_replica * use.serving.devices
            hours.append(of_replica / use.serving.replicas)
        taken = sum(hours) if order == "in turn" else max(hours)
        usd = taken * self.rented_devices * self.assumed.usd_per_device_hour
        cost = StageCost(
            calls=work.calls,
            tokens=round(tokens),
            written=round(work.written),
            device_hours=device_hours,
            hours=taken,
            usd=usd,
        )
        return Estimate(cost, missing)

    def synthesis(self) -> dict[StepName, Estimate]:
        """Drafts and search apart, because arms may share the first draft only."""
        exp, assumed, pairs = self.exp, self.assumed, self.exp.scale.pairs or 0
        if exp.thinking.from_source:
            return {}
        costs = {synthesis.DRAFT.named(): self.estimate([Use(self.roles.generator, self.draft_work)])}
        costs[synthesis.REFINE.named()] = self.estimate(self.search_uses, self.search_order)
        if isinstance(exp.source, HubSource) and not exp.source.fields.category:
            work = calls_of(pairs, self.templates.classify + assumed.query_tokens, TOKENS_A_NAME)
            costs[data.PAIRS.named()] = self.estimate([Use(self.roles.generator, work)])
        return costs

    @property
    def draft_work(self) -> Work:
        return draft_work(self.assumed, self.templates) * (self.exp.scale.pairs or 0)

    @property
    def search_uses(self) -> list[Use]:
        """The work of generator and scorer in the search."""
        generated, scored = search_work(self.exp.search.budget(), self.assumed, self.templates)
        pairs = self.exp.scale.pairs or 0
        return [Use(self.roles.generator, generated * pairs), Use(self.roles.scorer, scored * pairs)]

    @property
    def search_order(self) -> Literal["in turn", "together"]:
        """Generator and scorer work side by side where they have devices of their own and one is a server: two models
        in one process take turns."""
        generator, scorer = self.roles.generator, self.roles.scorer
        if generator is None or scorer is None or generator.place == scorer.place:
            return "in turn"
        return "in turn" if generator.in_process and scorer.in_process else "together"

    def training(self, rendered: TrainingSetSize | None) -> Estimate:
        cost = training_cost_of(self.exp, rendered, self.assumed)
        if cost is None:
            return Estimate(missing="the student's size is not stated")
        hours = cost.device_hours / self.exp.runtime.parallelism.processes
        usd = cost.device_hours * self.assumed.usd_per_device_hour
        spent = StageCost(
            calls=cost.steps,
            tokens=cost.tokens,
            written=cost.tokens,
            device_hours=cost.device_hours,
            hours=hours,
            usd=usd,
        )
        return Estimate(spent)

    @property
    def answer_tokens(self) -> int:
        """Tokens that the student writes for an item: a thinking and an answer, up to the limit."""
        return min(self.exp.scale.answer_tokens, self.assumed.thinking_tokens + self.assumed.answer_tokens)

    def answers(self, items: int) -> Work:
        return calls_of(items, self.assumed.query_tokens, self.answer_tokens)

    def probes(self) -> dict[StepName, Estimate]:
        """The probes of the trained model."""
        assumed, scale = self.assumed, self.exp.scale
        texts = calls_of(scale.held_out_texts, assumed.query_tokens + assumed.solution_tokens)
        after_thinking = {}
        if (limit := scale.held_out_thinking_tokens) is not None:
            written = min(limit, assumed.thinking_tokens)
            thinking = calls_of(scale.held_out_texts, assumed.query_tokens, written)
            scored = texts + calls_of(2 * scale.held_out_texts, texts.read / max(1, texts.calls) + written)
            uses = [Use(self.roles.student, thinking), Use(self.roles.student, scored)]
            after_thinking = {evaluation.HELD_OUT_SCORES.named(): self.estimate(uses)}
        return after_thinking | {
            probes.TERMINATION.named(): self.estimate(
                [Use(self.roles.student, self.answers(scale.termination_samples))]
            ),
            probes.PERPLEXITY.named(): self.estimate([Use(self.roles.student, texts)]),
        }

    def benchmark(self, name: str, benchmark: AnyBenchmark) -> dict[StepName, Estimate]:
        """Answers, grades and reliability of one benchmark, or the requests of lm-eval where they are bounded."""
        if isinstance(benchmark, LmEval):
            return {evaluation.HARNESS.named(name): self._harness(benchmark)}
        work, remark = self.judging[name], ""
        if isinstance(work, InputError):
            size = self.assumed.benchmark_sizes.get(name)
            if size is None:
                return {evaluation.GRADE.named(name): Estimate(missing=str(work))}
            work = assumed_judge_work(size, self.exp, benchmark.name)
            remark = f"its files are not here; planned with {size.items} items and {size.calls} judge calls"
        answers = self.estimate([Use(self.roles.student, self.answers(work.items))])
        members = list(members_of(judge_of(self.exp.judge, benchmark.name)).values())
        grading, reliability = (
            sum((self._judging(one, judge, self._serving(judge)) for judge in members), Estimate())
            for one in work.by_own_judge
        )
        if self.exp.reliability.second is not None:
            reliability += self._judging(work.second, self.exp.reliability.second, self.roles.second_judge)
        return {
            evaluation.GENERATE.named(name): Estimate(answers.cost, answers.missing, remark),
            evaluation.GRADE.named(name): grading,
            probes.RELIABILITY.named(name): reliability,
        }

    def _serving(self, judge: Judge) -> Serving | None:
        """What runs a judge, which need not be the one of most benchmarks."""
        is_default = judge == default_judge(self.exp.judge)
        return self.roles.judge if is_default else judging(judge, self.exp.runtime.device_for("judge"))

    def _judging(self, work: Work, judge: Judge, serving: Serving | None) -> Estimate:
        """Verdicts of one judge, with its price where it has one."""
        found = self.estimate([Use(serving, work)])
        return found + Estimate(StageCost(usd=judge.usd(work.read, work.written)))

    def _harness(self, benchmark: LmEval) -> Estimate:
        if benchmark.limit is None:
            return Estimate(missing="lm-eval counts its own documents, and benchmark.….limit is not set")
        documents = benchmark.limit * len(benchmark.tasks)
        work = calls_of(documents, self.assumed.query_tokens, min(benchmark.max_tokens, self.answer_tokens))
        return self.estimate([Use(self.roles.student, work)])

    def stages(self, store: Store, steps: Steps) -> dict[StepName, Estimate]:
        """The estimate of each stage that has one, given what the store holds."""
        train = steps.get(training.TRAIN.named())
        if train is None:  # the answers were made elsewhere
            return {name: cost for name, cost in self.all().items() if name in steps}
        return self.all(rendered_size(store, train))

    def all(self, rendered: TrainingSetSize | None = None) -> dict[StepName, Estimate]:
        """The estimate of each stage that has one; `rendered` is the size of a training set that exists already."""
        costs = {**self.synthesis(), training.TRAIN.named(): self.training(rendered), **self.probes()}
        for name, benchmark in self.exp.benchmarks.items():
            costs |= self.benchmark(name, benchmark)
        return costs


def _read(work: Work) -> float:
    return work.read


def no_rate(serving: Serving) -> str:
    """Why the time of a model cannot be planned, and what to do."""
    return (
        f"no rate is known for {serving.model} on {serving.engine} in {serving.precision}, {serving.devices} devices "
        "each; run `reer calibrate` with the same overrides, or add estimate.rates.NAME"
    )


def template_tokens(exp: Experiment) -> TemplateTokens:
    """Lengths of the composed prompts, filled with nothing, from the characters of their English texts."""
    from reer.types import Pair

    empty = Pair(id="", query="", solution="", language="en", category="", source="")
    prompts = exp.prompts.with_triggers(exp.reflection.triggers).en
    names = "x" * round(TOKENS_A_NAME * exp.estimate.characters_per_token * len(exp.taxonomy.categories))
    asked = {
        "draft": prompts.draft(empty, prompts.openers[0]),
        "edit": prompts.edit(empty, "", "", ""),
        "inference": prompts.inference(empty, "", exp.scorer.score.wrap_in_instruction),
        "classify": prompts.texts.render("classify", {"query": "", "categories": names}),
    }
    tokens = {
        kind: round(
            sum(len(text) for text in (*(m.content for m in prompt.messages), prompt.prefill))
            / exp.estimate.characters_per_token
        )
        for kind, prompt in asked.items()
    }
    return TemplateTokens(**tokens)


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


def training_cost_of(
    exp: Experiment, rendered: TrainingSetSize | None = None, assumed: CostAssumptions | None = None
) -> TrainingCost | None:
    """The cost of the training; None where the student's size is not stated."""
    size = exp.student.checkpoint.size
    if size is None:
        return None
    rows, rate = rendered or training_set_size(exp), (assumed or exp.estimate).train_tflops
    return training_cost(exp.train, exp.runtime.parallelism, size, rows, rate)


@dataclass(frozen=True, kw_only=True)
class JudgeWork:
    """Judging one benchmark: the grades, the reliability checks by the same judge, and those by the second judge."""

    items: int
    grading: Work = field(default_factory=Work)
    reliability: Work = field(default_factory=Work)
    second: Work = field(default_factory=Work)

    @property
    def by_own_judge(self) -> tuple[Work, Work]:
        return self.grading, self.reliability


def judge_work(benchmark: JudgedBenchmark, exp: Experiment) -> JudgeWork:
    """One verdict for each call. Replies that have to be asked for again come on top; judgements on record are not made
    again. Raises InputError where the benchmark's files are missing."""
    asked = judge_calls(benchmark)
    if not asked.calls:
        return JudgeWork(items=asked.items)
    return _judge_work(asked, exp, benchmark.name)


def judge_works(exp: Experiment) -> dict[str, JudgeWork | InputError]:
    """The judge's work for each judged benchmark, or why it cannot be counted."""
    works: dict[str, JudgeWork | InputError] = {}
    for name, benchmark in exp.benchmarks.items():
        if isinstance(benchmark, JudgedBenchmark):
            try:
                works[name] = judge_work(benchmark, exp)
            except InputError as error:
                works[name] = error
    return works


class JudgeCalls(NamedTuple):
    """The items of a benchmark, the judge's calls for them, and the mean tokens of a prompt beside the answer."""

    items: int
    calls: int
    prompt_tokens: float


_COUNTED: dict[tuple[Path, str], JudgeCalls] = {}


def judge_calls(benchmark: JudgedBenchmark) -> JudgeCalls:
    """Counted on the benchmark's own items, once for all arms that have it: WritingBench's 5,000 prompts take seconds.
    Raises InputError where its files are missing."""
    described = Path.cwd(), repr(benchmark)  # every field: some are mappings, which no cache of functools takes
    if described not in _COUNTED:
        items = benchmark.items()
        calls = [call for item in items for call in benchmark.calls(item, Response.of_text(item.id, "-"))]
        prompt_words = sum(len(words(message.content)) for call in calls for message in call.prompt.messages)
        mean_tokens = prompt_words * TOKENS_A_WORD / max(1, len(calls))
        _COUNTED[described] = JudgeCalls(len(items), len(calls), mean_tokens)
    return _COUNTED[described]


def assumed_judge_work(size: BenchmarkSize, exp: Experiment, benchmark: str) -> JudgeWork:
    """The same for a benchmark whose files are not on this machine."""
    return _judge_work(JudgeCalls(size.items, size.calls, MISSING_JUDGE_PROMPT), exp, benchmark)


def _judge_work(asked: JudgeCalls, exp: Experiment, benchmark: str) -> JudgeWork:
    judge = next(iter(members_of(judge_of(exp.judge, benchmark)).values()))
    assumed, checks, items, calls = exp.estimate, exp.reliability, asked.items, asked.calls

    def verdicts(judge: Judge, count: int) -> Work:
        written = 0 if judge.grades else assumed.verdict_tokens
        return calls_of(count, asked.prompt_tokens + assumed.answer_tokens, written)

    second_calls = round(min(items, checks.second_items) * calls / items)
    return JudgeWork(
        items=items,
        grading=verdicts(judge, calls),
        reliability=verdicts(judge, checks.calls(items, calls)),
        second=verdicts(checks.second, second_calls) if checks.second else Work(),
    )


class UsedRate(NamedTuple):
    """A rate, and the rows that are decoded at once; None: as many as an engine holds."""

    rate: Rate
    rows: int | None


def used_rates(costs: Iterable[Costs]) -> dict[str, UsedRate]:
    """The rates behind the plans, by the model that they are for."""
    return {
        serving.model: UsedRate(rate, serving.rows)
        for cost in costs
        for serving in cost.roles.all()
        if not serving.billed and (rate := cost.rate(serving)) is not None
    }
