"""The estimated cost of a training: optimizer steps, tokens, memory of a device, device-hours.

Nothing is measured here. Full training holds fp32 weights, gradients and Adam's two moments (16 bytes for each
parameter, split over all processes when sharded); adapters hold theirs beside frozen weights. Activations are what
transformers' decoder layers keep for the backward pass: one vector for each layer with recomputation, about ten hidden
and four intermediate ones without. The logits exist for a chunk of rows at a time (the loss of TRL 1.16).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from reer.models.local.size import Size
from reer.training.parallelism import Parallelism
from reer.training.recipe import Recipe, steps_of

GIB = 2**30
HEAD_ROWS = 1024
RUNTIME_GIB = 1.5  # CUDA's context and libraries, or Python's
NF4_BYTES = 0.52  # 4 bits and their doubly quantised scales, for each weight
ADAM_BYTES = 16  # fp32 weight, gradient and two moments, for each trained parameter


@dataclass(frozen=True)
class TrainingSetSize:
    """The size of a training set. `longest` is the token count of its longest row."""

    rows: int
    tokens: int
    longest: int


@dataclass(frozen=True, kw_only=True)
class DeviceMemory:
    """Peak memory of one device by use, in GiB."""

    trained_weights: float
    """Trained weights with their gradients and optimizer states."""

    frozen_weights: float = 0.0
    """Weights under adapters."""

    gathered_layers: float = 0.0
    """Layers that sharded training gathers for computation."""

    activations: float
    head: float
    runtime: float = RUNTIME_GIB

    @property
    def total(self) -> float:
        return sum(self.by_use().values())

    def by_use(self) -> dict[str, float]:
        """The uses that take any memory, by readable name."""
        values = {item.name.replace("_", " "): getattr(self, item.name) for item in fields(self)}
        return {use: gib for use, gib in values.items() if gib}


@dataclass(frozen=True)
class TrainingCost:
    """The cost of a whole training; `memory_gib` is that of one device."""

    steps: int
    tokens: int
    memory_gib: DeviceMemory
    device_hours: float

    @property
    def device_gib(self) -> float:
        return self.memory_gib.total


def training_cost(
    recipe: Recipe, parallelism: Parallelism, size: Size, rows: TrainingSetSize, train_tflops: float
) -> TrainingCost:
    """The cost of training a model of this size on a training set of this size, where a device sustains `train_tflops`
    (see `CostAssumptions`)."""
    tokens = round(rows.tokens * recipe.epochs)
    operations = operations_per_parameter(recipe) * size.parameters * tokens
    hours = operations / (train_tflops * 1e12) / 3600
    return TrainingCost(steps_of(rows.rows, recipe), tokens, _memory(recipe, parallelism, size, rows.longest), hours)


def operations_per_parameter(recipe: Recipe) -> int:
    """Forward 2, backward 4 operations for each weight and token; frozen weights need no gradients of their own."""
    return 6 if recipe.lora is None else 4


def _memory(recipe: Recipe, parallelism: Parallelism, size: Size, longest: int) -> DeviceMemory:
    width = 2 if recipe.precision == "bfloat16" else 4
    activations = _activations(parallelism, size, longest * parallelism.micro_batch) * width / GIB
    head = HEAD_ROWS * size.vocabulary * (4 + 4 + width) / GIB
    if recipe.lora is None:
        shards = parallelism.processes if parallelism.sharding == "full" else 1
        gathered = (2 * size.layer_parameters + size.embedding_parameters) * width if shards > 1 else 0
        return DeviceMemory(
            trained_weights=ADAM_BYTES * size.parameters / shards / GIB,
            gathered_layers=gathered / GIB,
            activations=activations,
            head=head,
        )
    linear_bytes = NF4_BYTES if recipe.lora.quantized else width
    frozen = size.layers * size.layer_parameters * linear_bytes + size.embedding_parameters * width
    return DeviceMemory(
        trained_weights=ADAM_BYTES * size.adapter_parameters(recipe.lora.rank) / GIB,
        frozen_weights=frozen / GIB,
        activations=activations,
        head=head,
    )


def _activations(parallelism: Parallelism, size: Size, tokens: int) -> float:
    """The count of numbers kept for the backward pass of a micro batch."""
    inside = tokens * (10 * size.hidden + 4 * size.intermediate)
    return size.layers * tokens * size.hidden + inside if parallelism.recompute_activations else size.layers * inside
