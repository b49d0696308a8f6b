"""The class behind each choice, and the typed experiment of a frozen plan. Nothing here needs Hydra."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from evals.answering import Answering, BudgetedThinking, SwappedThinking, TruncatedThinking, WithoutThinking
from evals.answers import AnswerSource
from evals.benchmarks.hellobench import HelloBench
from evals.benchmarks.longbench_write import LongBenchWrite
from evals.benchmarks.rubrics import Rubrics
from evals.benchmarks.writing import WritingPrompts
from evals.benchmarks.writingbench import WritingBench
from evals.judging.judge import Judge
from evals.judging.panel import JudgePanel
from evals.judging.per_benchmark import JudgePerBenchmark
from evals.judging.reliability import ReliabilityChecks
from evals.lm_eval.harness import LmEval
from evals.similarity import TextEmbedding
from experiments.config.choices import COMPOSED_OF
from experiments.config.released_prompts import ReleasedPrompts
from experiments.experiment import Experiment, JudgingScorerRole, RewardScorerRole, Runtime, ScorerRole, Tracking
from experiments.store.fingerprint import Json
from experiments.sweeps.designs import Design
from reer.curation.controls import FillerThinking, MismatchedThinking, ShuffledThinking
from reer.curation.filters import Filters
from reer.curation.mixture import Mixture
from reer.curation.source_thinking import ThinkingSource
from reer.curation.transforms import Categories, Reflection, TrajectoryLength
from reer.data.bundled import BundledTexts
from reer.data.hub import HubSource
from reer.data.jsonl import JsonlSource
from reer.data.public import PublicRows
from reer.data.several import SeveralSources
from reer.models.local.checkpoints import FolderModel, HubModel, PackageModel, TinyModel
from reer.models.local.model import LocalModel
from reer.models.local.reward import RewardModel
from reer.models.scripted import ScriptedModel
from reer.models.services.anthropic import AnthropicServer
from reer.models.services.openai import ChatServer
from reer.models.services.scoring_servers import ScoringServer
from reer.parts import build, kinds_of
from reer.prompts import Prompts
from reer.search.cost import CostAssumptions
from reer.search.methods import BestOfN, MultiStart, RandomSearch, SegmentSearch
from reer.training.matching import Match
from reer.training.recipe import Recipe

SCORER_MODEL = "scorer_model"
ENGINE = "engine"  # what local models refer to; no part of an experiment
DESIGN = "design"  # chooses the arms of a command; no part of an arm
FrozenPlan = dict[str, Any]  # a composed experiment as plain data: JSON, and `kind` for each part's class
PARTS: dict[str, dict[str, type]] = {
    "checkpoint": {"hub": HubModel, "package": PackageModel, "folder": FolderModel, "tiny": TinyModel},
    "model": {
        "local": LocalModel,
        "scripted": ScriptedModel,
        "server": ChatServer,
        "anthropic": AnthropicServer,
        "scoring": ScoringServer,
        "reward": RewardModel,
    },
    "source": {"bundled": BundledTexts, "jsonl": JsonlSource, "hub": HubSource, "several": SeveralSources},
    "prompts": {"prompts": Prompts, "released": ReleasedPrompts},
    "scorer": {"scorer": ScorerRole, "judge": JudgingScorerRole, "reward": RewardScorerRole},
    "thinking": {
        "thinking": ThinkingSource,
        "mismatched": MismatchedThinking,
        "shuffled": ShuffledThinking,
        "filler": FillerThinking,
    },
    "search": {"segment": SegmentSearch, "random": RandomSearch, "multi_start": MultiStart, "best_of_n": BestOfN},
    "reflection": {"reflection": Reflection},
    "filters": {"filters": Filters},
    "trajectory": {"trajectory": TrajectoryLength},
    "categories": {"categories": Categories},
    "data": {"mixture": Mixture},
    "match": {"match": Match},
    "public": {"public": PublicRows},
    "train": {"recipe": Recipe},
    "benchmark": {
        "writing": WritingPrompts,
        "longbench_write": LongBenchWrite,
        "hellobench": HelloBench,
        "writingbench": WritingBench,
        "rubrics": Rubrics,
        "lm_eval": LmEval,
    },
    "answers": {"answers": AnswerSource},
    "answering": {
        "answering": Answering,
        "without": WithoutThinking,
        "truncated": TruncatedThinking,
        "swapped": SwappedThinking,
        "budgeted": BudgetedThinking,
    },
    "judge": {"judge": Judge, "judge_per_benchmark": JudgePerBenchmark, "judge_panel": JudgePanel},
    "embedding": {"embedding": TextEmbedding},
    "reliability": {"reliability": ReliabilityChecks},
    "runtime": {"runtime": Runtime},
    "tracking": {"tracking": Tracking},
    "estimate": {"estimate": CostAssumptions},
    DESIGN: {"design": Design},
}

OF_ONE_CLASS = ("generator", "scale", "budget", "pairwise", "taxonomy", "contract")
"""Keys of config.yaml whose part always has the same class."""


@cache
def kinds() -> dict[str, type]:
    """Every class that a configuration may name, by its name."""
    return kinds_of([Experiment, *(cls for group in PARTS.values() for cls in group.values())])


def experiment_from(plan: Mapping[str, Json]) -> Experiment:
    """The typed experiment of a plan, every value checked. Raises InputError naming the key."""
    return build({key: value for key, value in plan.items() if key != COMPOSED_OF}, kinds(), "", Experiment)
