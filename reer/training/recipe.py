"""What a training is, as plain records: its recipe, the job that is handed to a process, and its outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from reer.errors import InputError
from reer.training.chat_format import ChatFormat
from reer.training.parallelism import Parallelism

OnLog = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters on every linear layer; merged into the weights when training ends. `quantized` keeps the frozen
    weights in 4 bits (NF4, QLoRA) while training."""

    rank: int
    alpha: int
    dropout: float
    quantized: bool = False

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class Recipe:
    """What an optimizer step is. `global_batch` counts examples, whatever the parallelism of devices."""

    method: Literal["full", "lora"]
    epochs: float
    learning_rate: float
    schedule: Literal["constant", "constant_with_warmup", "cosine", "linear"]
    warmup_ratio: float
    weight_decay: float
    global_batch: int
    precision: Literal["float32", "bfloat16"]
    chat_format: ChatFormat
    lora: Lora | None = None

    def __post_init__(self) -> None:
        if self.epochs <= 0 or self.learning_rate <= 0 or self.global_batch < 1:
            raise InputError(f"train: want epochs > 0, learning_rate > 0 and global_batch >= 1, got {self}")
        if (self.method == "lora") != (self.lora is not None):
            raise InputError(
                f"train: method {self.method!r} with lora={self.lora}; lora settings go with method lora alone"
            )


@dataclass(frozen=True)
class Job:
    """A training as plain data, so that other processes can be given it: the student's folder, the file of rendered
    rows, and the folder to work in."""

    student: str
    rows: str
    recipe: Recipe
    seed: int
    parallelism: Parallelism
    work: str

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
    """Where the model is and how training went; `curve` has one row per optimizer step."""

    folder: Path
    curve: tuple[dict[str, float], ...]
    steps: int
    resumed_from: int


class Stopped(KeyboardInterrupt):
    """Training was asked to stop; it has saved a checkpoint and goes on from there next time."""


def steps_of(rows: int, recipe: Recipe) -> int:
    """Optimizer steps of a training: an epoch's last step takes what is left."""
    return math.ceil(-(-rows // recipe.global_batch) * recipe.epochs)
