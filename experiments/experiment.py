"""The experiment as a typed record: what Hydra composes, what a plan freezes, what the pipeline reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from evals.judging.judge import Judge
from evals.judging.pairwise import Pairwise
from evals.judging.reliability import ReliabilityChecks
from reer.curation.filters import Filters
from reer.curation.mixture import Mixture
from reer.curation.source_thinking import ThinkingSource
from reer.curation.transforms import Categories, Reflection, TrajectoryLength
from reer.data.public import PublicRows
from reer.errors import InputError
from reer.models.local.model import LocalModel
from reer.models.protocols import Device, Sampling
from reer.models.services.service import ChatService
from reer.prompts import Prompts
from reer.search.cost import CostAssumptions
from reer.search.score import ScoreMetric
from reer.taxonomy import Taxonomy
from reer.training.matching import Match
from reer.training.parallelism import Parallelism
from reer.training.recipe import Recipe


@dataclass(frozen=True)
class GeneratorRole:
    """The model that writes drafts and rewrites, and how it samples."""

    model: Any
    temperature: float
    top_p: float
    seed: int = 0

    def sampling(self, max_tokens: int, stop: tuple[str, ...]) -> Sampling:
        return Sampling(self.temperature, self.top_p, max_tokens, stop=stop)


@dataclass(frozen=True)
class ScorerRole:
    """The model that scores, and what its score is."""

    model: Any
    score: ScoreMetric

    def __post_init__(self) -> None:
        if isinstance(self.model, ChatService):
            raise InputError(
                f"scorer: {self.model.model} is behind a chat server, which returns no log-probabilities of a prompt; "
                "choose a model of this process, e.g. scorer=as_released"
            )


@dataclass(frozen=True)
class Scale:
    """How big: limits that belong to no part. None means all there are."""

    name: str
    pairs: int | None
    min_words: int
    solution_words: int
    draft_tokens: int
    edit_tokens: int
    synthetic_rows: int
    public_rows: int
    train_tokens: int
    answer_tokens: int
    termination_samples: int
    held_out_texts: int = 0  # held out of the source, for perplexity


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that searches: `address` '' starts one on this machine, 'auto' joins the one that is running."""

    address: str
    actors: int
    cpus_per_actor: float
    gpus_per_actor: float
    pairs_per_task: int

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.actors < 1 or self.pairs_per_task < 1 or min(self.cpus_per_actor, self.gpus_per_actor) < 0:
            raise InputError(f"runtime.cluster: want actors and pairs_per_task >= 1 and resources >= 0, got {self}")


@dataclass(frozen=True)
class Runtime:
    """On what: never part of a result's identity. `width` is how many searches run side by side; a scorer of its own
    goes to `scorer_device`, beside the generator. `judgements` is a folder of judges' answers that machines share; None
    keeps them in the store."""

    name: str
    root: str
    device: Device
    parallelism: Parallelism
    width: int
    scorer_device: str = "auto"
    judgements: str | None = None
    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InputError(f"runtime.width wants >= 1, got {self.width}")

    @property
    def store(self) -> Path:
        return Path(self.root) / "store"

    @property
    def judgements_folder(self) -> Path | None:
        return Path(self.judgements) if self.judgements else None

    @property
    def runs(self) -> Path:
        return Path(self.root) / "runs"


@dataclass(frozen=True)
class Budget:
    """What judges may cost: all records of the store together, whichever run paid for them. None is no bound."""

    usd: float | None

    def __post_init__(self) -> None:
        if self.usd is not None and self.usd < 0:
            raise InputError(f"budget.usd wants >= 0 or null, got {self.usd}")


@dataclass(frozen=True)
class Tracking:
    """Where the run is shown. `auto` is online with a key in the environment and offline without; never a prompt."""

    mode: Literal["auto", "online", "offline", "silent"]
    project: str
    entity: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Experiment:
    """One arm at one scale with one seed."""

    name: str
    seed: int
    replace: bool
    baseline: str
    source: Any
    taxonomy: Taxonomy
    prompts: Prompts
    generator: GeneratorRole
    scorer: ScorerRole
    thinking: ThinkingSource
    search: Any  # a reer.search.SearchMethod; Hydra composes it
    reflection: Reflection
    filters: Filters
    trajectory: TrajectoryLength
    categories: Categories
    data: Mixture
    match: Match
    public: PublicRows
    student: LocalModel
    train: Recipe
    benchmark: dict[str, Any]
    judge: Judge
    scale: Scale
    runtime: Runtime
    tracking: Tracking
    estimate: CostAssumptions
    reliability: ReliabilityChecks
    budget: Budget
    pairwise: Pairwise
    matched_to: Any = None  # the Experiment this one is matched to

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,79}", self.name):
            raise InputError(
                f"name: want 1 to 80 of A-Z a-z 0-9 . _ + = - beginning with a letter or digit, got {self.name!r}"
            )
        if self.seed < 0:
            raise InputError(f"seed wants >= 0, got {self.seed}")

    @property
    def run_name(self) -> str:
        """The human name of this run: arm, scale and seed."""
        return f"{self.name}/{self.scale.name}/s{self.seed}"

    @property
    def folder(self) -> Path:
        """Where the run's own files are: plan, lock, result."""
        return self.runtime.runs / self.run_name
