"""A training as plain records: its recipe, the job that a process receives, and the outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from reer.errors import InputError
from reer.processes import Terminated
from reer.training.chat_format import ChatFormat
from reer.training.parallelism import Parallelism
from reer.types import item_seed

OnLog = Callable[[Mapping[str, float]], None]
"""Receives each row of the training curve as it is logged."""


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters on every linear layer, merged into the weights when training ends."""

    rank: PositiveInt

    alpha: PositiveInt
    """Adapters are scaled by alpha / rank."""

    dropout: Annotated[float, Field(ge=0, lt=1)]

    quantized: bool = False
    """Keep the frozen weights in 4 bits (NF4, QLoRA) while training."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The optimization: what an optimizer step is and how many there are, whatever the parallelism."""

    method: Literal["full", "lora"]
    """Train all weights, or adapters."""

    epochs: PositiveFloat

    learning_rate: PositiveFloat
    """The peak learning rate."""

    schedule: Literal["constant", "constant_with_warmup", "cosine", "linear"]

    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]
    """Share of all steps in which the learning rate rises to its peak."""

    weight_decay: NonNegativeFloat

    global_batch: PositiveInt
    """Examples in one optimizer step, over all processes."""

    precision: Literal["float32", "bfloat16"]
    """`bfloat16` is autocast over float32 weights in full training, and the type of frozen weights under adapters."""

    chat_format: ChatFormat

    lora: Lora | None = None
    """Present exactly if the method is `lora`."""

    repetition: NonNegativeInt = 0
    """Which random draws of training and of the trained model's answers belong to a seed: 1 repeats an arm at the same
    seed with others, so that what chance alone makes of it can be seen."""

    def __post_init__(self) -> None:
        if (self.method == "lora") != (self.lora is not None):
            raise InputError(
                f"train.method is {self.method!r} with train.lora {self.lora}; set train.lora exactly if the method "
                "is 'lora'"
            )

    def seed_of(self, seed: int) -> int:
        """The seed of training and answers at this seed of the experiment."""
        return item_seed(seed, "repetition", self.repetition) if self.repetition else seed


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training as plain data, so that other processes can receive it."""

    student: str
    """The student's folder."""

    rows: str
    """The file of rendered rows."""

    recipe: Recipe

    seed: int

    parallelism: Parallelism

    work: str
    """The folder for checkpoints, the model and messages between processes."""

    @property
    def checkpoints(self) -> Path:
        return Path(self.work) / "checkpoints"

    @property
    def model(self) -> Path:
        """Where the trained model is saved."""
        return Path(self.work) / "model"

    @property
    def stop_request(self) -> Path:
        """A file whose presence asks the training to save and stop at the end of its step."""
        return Path(self.work) / "STOP"


@dataclass(frozen=True)
class Trained:
    """The outcome of a training."""

    folder: Path
    """The trained model."""

    curve: tuple[dict[str, float], ...]
    """One row for each optimizer step."""

    steps: int

    resumed_from: int
    """The optimizer step of the checkpoint that the training resumed from, 0 if it did not resume."""


class Stopped(Terminated):
    """The training has stopped on request and saved a checkpoint; the next run resumes from it."""


def steps_of(rows: int, recipe: Recipe) -> int:
    """Optimizer steps of a training. The last step of each epoch takes the remaining rows."""
    return math.ceil(-(-rows // recipe.global_batch) * recipe.epochs)
