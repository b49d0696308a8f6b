"""What a training asks of its devices, by arithmetic: steps, tokens, memory on each, hours.

Nothing is measured here. Bytes: full training holds fp32 weights, gradients and Adam's two moments (16 a parameter,
split over all processes where the parallelism shards); adapters hold theirs over frozen weights. Activations are what
transformers' decoder layers keep for the backward pass: one vector a layer with recomputation, about ten hidden and
four intermediate ones without. The head's logits exist for a chunk of rows at a time (TRL 1.16's loss).
"""

from __future__ import annotations

from dataclasses import dataclass

from reer.models.local.size import Size
from reer.search.cost import CostAssumptions
from reer.training.parallelism import Parallelism
from reer.training.recipe import Recipe, steps_of

GIB = 2**30
HEAD_ROWS = 1024
RUNTIME_GIB = 1.5  # CUDA's context and libraries, or Python's
NF4_BYTES = 0.52  # 4 bits and their doubly quantised scales


@dataclass(frozen=True)
class TrainingSetSize:
    """What is trained on: rows of an epoch, their tokens together, and the tokens of the longest."""

    rows: int
    tokens: int
    longest: int


@dataclass(frozen=True)
class TrainingCost:
    """Of a whole training; memory is that of one device at its fullest, by what takes it."""

    steps: int
    tokens: int
    gib: dict[str, float]
    device_hours: float

    @property
    def device_gib(self) -> float:
        return sum(self.gib.values())


def training_cost(
    recipe: Recipe, parallelism: Parallelism, size: Size, load: TrainingSetSize, e: CostAssumptions
) -> TrainingCost:
    """The cost of training a model of this size on this load."""
    tokens = round(load.tokens * recipe.epochs)
    work = (6 if recipe.lora is None else 4) * size.parameters * tokens  # frozen weights need no gradients of their own
    width = 2 if recipe.precision == "bfloat16" else 4
    gib = {
        **{what: count / GIB for what, count in _states(recipe, parallelism, size).items()},
        "activations": _activations(parallelism, size, load.longest * parallelism.micro_batch) * width / GIB,
        "head": HEAD_ROWS * size.vocabulary * (4 + 4 + width) / GIB,
        "runtime": RUNTIME_GIB,
    }
    return TrainingCost(steps_of(load.rows, recipe), tokens, gib, work / (e.train_tflops * 1e12) / 3600)


def _states(recipe: Recipe, parallelism: Parallelism, size: Size) -> dict[str, float]:
    """Bytes of weights, gradients and optimizer states on one device."""
    width = 2 if recipe.precision == "bfloat16" else 4
    if recipe.lora is None:
        shards = parallelism.processes if parallelism.sharding == "full" else 1
        gathered = (2 * size.layer_parameters + size.embedding_parameters) * width if shards > 1 else 0
        return {"weights and optimizer": 16 * size.parameters / shards, "gathered layers": gathered}
    linear = NF4_BYTES if recipe.lora.quantized else width
    frozen = size.layers * size.layer_parameters * linear + size.embedding_parameters * width
    return {"frozen weights": frozen, "adapters": 16 * size.adapter_parameters(recipe.lora.rank)}


def _activations(parallelism: Parallelism, size: Size, tokens: int) -> float:
    """Numbers kept for the backward pass of a micro batch."""
    inside = tokens * (10 * size.hidden + 4 * size.intermediate)
    return size.layers * tokens * size.hidden + inside if parallelism.recompute_activations else size.layers * inside
