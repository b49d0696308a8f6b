"""The experiment as a typed record: what Hydra composes, what a plan freezes, what the pipeline reads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import InstanceOf, NonNegativeFloat, NonNegativeInt, PositiveInt

from evals.answering import BY_ITSELF, Answering
from evals.answers import AnswerSource
from evals.benchmark import JudgedBenchmark
from evals.judging.judge import Judge
from evals.judging.pairwise import Pairwise
from evals.judging.panel import Grader, JudgePanel
from evals.judging.per_benchmark import JudgePerBenchmark, judge_of
from evals.judging.reliability import ReliabilityChecks
from evals.lm_eval.harness import LmEval
from evals.similarity import NO_EMBEDDING, TextEmbedding
from experiments.contracts.terms import Contract
from reer.curation.filters import Filters
from reer.curation.mixture import Mixture
from reer.curation.source_thinking import ThinkingSource
from reer.curation.transforms import Categories, Reflection, TrajectoryLength
from reer.data.pairs import Selection, Source
from reer.data.public import PublicRows
from reer.errors import InputError
from reer.models.local.model import LocalModel
from reer.models.local.reward import RewardModel
from reer.models.placement import Placement
from reer.models.protocols import Device, Model, Sampling, Scorer, ScoringModel
from reer.parts import Name, Seed, Temperature, TopP
from reer.prompts import PromptChoice
from reer.search.cost import CostAssumptions
from reer.search.graded import GradingScorer, ThinkingGrades
from reer.search.methods import SearchMethod
from reer.search.score import ScoreMetric
from reer.taxonomy import Taxonomy
from reer.training.matching import Match
from reer.training.parallelism import Parallelism
from reer.training.recipe import Recipe

GRADED = ScoreMetric(metric="nll", clip=None, skip_first_segment=False, wrap_in_instruction=False)
"""The only score of a grade: it is one number, under the query alone."""


@dataclass(frozen=True)
class GeneratorRole:
    """The model that writes drafts and rewrites, and how it samples."""

    model: InstanceOf[Model]
    temperature: Temperature
    top_p: TopP
    seed: NonNegativeInt = 0

    def sampling(self, max_tokens: int, stop: tuple[str, ...]) -> Sampling:
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=max_tokens, stop=stop)


@dataclass(frozen=True)
class ScorerRole:
    """The model that scores, and what its score is."""

    model: InstanceOf[ScoringModel]
    score: ScoreMetric

    has_likelihoods: ClassVar[bool] = True
    """The model computes the likelihood of texts."""

    def __post_init__(self) -> None:
        # Imported here because it loads the HTTP client, which verbs that read results do without.
        from reer.models.services.service import ChatService

        if isinstance(self.model, ChatService):
            raise InputError(
                f"scorer: {self.model.model} is behind a chat server, which returns no log-probabilities of a prompt; "
                "choose a model that scores, e.g. model@scorer_model=smollm2 (or sglang, vllm) with scorer=as_released"
            )

    def scoring(self, loaded: Scorer) -> Scorer:
        """What scores, given the loaded model."""
        return loaded


@dataclass(frozen=True)
class JudgingScorerRole(ScorerRole):
    """The model that grades thinkings; what its grade lacks of the best one takes the place of nats."""

    grades: ThinkingGrades

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_other_score("a grade", self.score)

    def scoring(self, loaded: Scorer) -> Scorer:
        return GradingScorer(loaded, self.grades)


@dataclass(frozen=True)
class RewardScorerRole(ScorerRole):
    """The reward model that thinkings are scored with."""

    model: RewardModel

    has_likelihoods: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _refuse_other_score("a reward", self.score)


def _refuse_other_score(what: str, score: ScoreMetric) -> None:
    if score != GRADED:
        raise InputError(f"scorer.score: {what} has no tokens, so {score} has no effect; want {GRADED}")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How big the experiment is: the limits that belong to no part."""

    name: Name
    pairs: PositiveInt | None
    """Pairs of query and solution; None: all that the source has."""
    min_words: PositiveInt
    """Shorter solutions are dropped."""
    solution_words: PositiveInt
    """Longer solutions are dropped."""
    solution_segments: PositiveInt = 2
    """Solutions of fewer segments are dropped: the released score is of all segments but the first, so that nothing of
    a single one is scored and its draft would be written in vain. 1 keeps them, for a scorer of the whole solution."""
    draft_tokens: PositiveInt
    edit_tokens: PositiveInt
    synthetic_rows: NonNegativeInt
    public_rows: NonNegativeInt
    train_tokens: PositiveInt
    """The longest row that is trained on, in tokens."""
    answer_tokens: PositiveInt
    """The limit of a benchmark answer, thinking included."""
    termination_samples: PositiveInt
    """Prompts on which the share of answers that end by themselves is measured."""
    held_out_texts: NonNegativeInt = 0
    """Texts held out of the source to measure perplexity."""
    held_out_thinking_tokens: PositiveInt | None = None
    """The limit of the student's own thinking for held-out texts, which are scored after it; None: they are not."""
    benchmark_items: PositiveInt | None = None
    """The most items of each benchmark; None: all. A smaller limit of the benchmark's own holds."""
    anchoring_samples: NonNegativeInt = 0
    """Rows whose thinking is scored to measure how far it leans on its solution."""

    @property
    def selection(self) -> Selection:
        """Which rows of a source become pairs."""
        return Selection(self.pairs, self.min_words, self.solution_words, self.solution_segments)

    def __post_init__(self) -> None:
        if self.min_words > self.solution_words:
            raise InputError(
                f"scale.min_words: want at most scale.solution_words ({self.solution_words}), got {self.min_words}; no "
                "solution would be left"
            )


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray cluster for the search."""

    address: str
    """'' starts one on this machine, 'auto' joins the one that is running."""
    actors: PositiveInt
    cpus_per_actor: NonNegativeFloat
    gpus_per_actor: NonNegativeFloat
    pairs_per_task: PositiveInt


Role = Literal["generator", "scorer", "student", "judge"]


@dataclass(frozen=True, kw_only=True)
class Placements:
    """Where an engine serves the model of each role; None: as `device.engines.placement` says."""

    generator: Placement | None = None
    scorer: Placement | None = None
    student: Placement | None = None
    judge: Placement | None = None


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The hardware and the folders; never part of a result's identity."""

    name: Name
    root: str
    device: Device
    parallelism: Parallelism
    width: PositiveInt
    """Searches that run side by side, and drafts or answers that a server is asked for at once."""
    scorer_device: str = "auto"
    """The device of a scorer that is another model than the generator."""
    placements: Placements = Placements()
    judgements: str | None = None
    """A folder of judgements that machines share; None: inside the store."""
    cluster: Cluster | None = None
    gpu_slots: tuple[int | str, ...] = ()
    """The GPUs of each arm that runs at a time on this machine, as CUDA_VISIBLE_DEVICES has them: 0, or '0,1' for two;
    with hydra/launcher=joblib."""
    overlap: bool = True
    """Asks a judge at an address about answers while others are still being written, and begins searches on engines
    while the last drafts are."""

    def device_for(self, role: Role) -> Device:
        """Where the model of a role runs."""
        engines = self.device.engines
        placement = getattr(self.placements, role) or engines.placement
        logs = engines.logs or str(Path(self.root) / "engines")
        return replace(
            self.device,
            name=self.scorer_device if role == "scorer" else self.device.name,
            engines=replace(engines, placement=placement, logs=logs),
        )

    @property
    def store(self) -> Path:
        return Path(self.root) / "store"

    @property
    def judgements_folder(self) -> Path:
        return Path(self.judgements) if self.judgements else self.store / "judgements"

    @property
    def runs(self) -> Path:
        return Path(self.root) / "runs"


@dataclass(frozen=True)
class Budget:
    """The limit for judges, over all records of the store, whichever run paid for them."""

    usd: NonNegativeFloat | None
    """None: unlimited."""


@dataclass(frozen=True)
class Tracking:
    """How W&B mirrors the run. `auto`: what WANDB_MODE says, else online with a key in the environment and offline
    without one; it never asks. A field that is None is left to W&B's variable of the same name."""

    mode: Literal["auto", "online", "offline", "silent"]
    project: str | None = None
    """None: WANDB_PROJECT, else `reer-ablations`."""
    entity: str | None = None
    """None: WANDB_ENTITY, else the default of the W&B account."""
    study: str | None = None
    """The W&B group of all runs that are compared with one another. None: WANDB_RUN_GROUP, else the scale."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One arm at one scale with one seed."""

    name: Name
    seed: Seed
    replace: bool
    baseline: Name
    source: InstanceOf[Source]
    taxonomy: Taxonomy
    prompts: InstanceOf[PromptChoice]
    generator: GeneratorRole
    scorer: ScorerRole
    thinking: ThinkingSource
    search: InstanceOf[SearchMethod]
    reflection: Reflection
    filters: Filters
    trajectory: TrajectoryLength
    categories: Categories
    data: Mixture
    match: Match
    public: PublicRows
    student: LocalModel
    train: Recipe
    benchmark: dict[Name, LmEval | InstanceOf[JudgedBenchmark]]
    answers: AnswerSource
    judge: Judge | JudgePerBenchmark | JudgePanel
    scale: Scale
    runtime: Runtime
    tracking: Tracking
    estimate: CostAssumptions
    reliability: ReliabilityChecks
    budget: Budget
    pairwise: Pairwise
    answering: Answering = BY_ITSELF
    embedding: TextEmbedding = NO_EMBEDDING
    """Measures how near thinking and solution are in meaning."""
    matched_to: Experiment | None = None
    """The arm that this one is matched to."""
    contract: Contract = field(default_factory=Contract)
    """What the arm states about itself."""

    def __post_init__(self) -> None:
        if self.student.dtype != self.train.precision:
            raise InputError(
                f"student.dtype: {self.student.dtype} has no effect, because the student answers in the precision that "
                f"it was trained in, train.precision={self.train.precision}; leave it out, or change both"
            )

    @property
    def benchmarks(self) -> dict[str, LmEval | JudgedBenchmark]:
        """The benchmarks by name, with no more items than the scale allows."""
        return {name: benchmark.at_most(self.scale.benchmark_items) for name, benchmark in self.benchmark.items()}

    @property
    def judges(self) -> dict[str, Judge]:
        """The judges that grade, by their role: `judge`, `judge gpt` in a panel, and `judge of hellobench` or
        `judge gpt of hellobench` where each benchmark has its own."""
        names = [part.name for part in self.benchmark.values() if isinstance(part, JudgedBenchmark)]
        if not names:
            return {}
        if not isinstance(self.judge, JudgePerBenchmark):
            return _by_role(self.judge, "")
        bound = [_by_role(judge_of(self.judge, name), f" of {name}") for name in names]
        return {role: judge for judges in bound for role, judge in judges.items()}

    @property
    def run_name(self) -> str:
        """The human name of this run: arm, scale and seed."""
        return f"{self.name}/{self.scale.name}/s{self.seed}"

    @property
    def folder(self) -> Path:
        """Where the run's own files are: plan, lock, result."""
        return self.runtime.runs / self.run_name


def _by_role(grader: Grader, of: str) -> dict[str, Judge]:
    """The judges that grade together, by their role; `of` names their benchmark."""
    if isinstance(grader, Judge):
        return {f"judge{of}": grader}
    return {f"judge {name}{of}": member for name, member in grader.members.items()}
