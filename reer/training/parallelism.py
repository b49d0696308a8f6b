"""How a training is distributed over devices. Never part of a result's identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from reer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Parallelism:
    """How one optimizer step is distributed over processes, and what each of them keeps in memory."""

    micro_batch: PositiveInt
    """Examples that one process computes at a time."""

    checkpoint_steps: PositiveInt
    """Optimizer steps between two checkpoints."""

    recompute_activations: bool
    """Recompute activations in the backward pass: less memory, about a third more time."""

    devices: PositiveInt = 1
    """Processes on each node, one for each device."""

    nodes: PositiveInt = 1

    sharding: Literal["none", "full"] = "none"
    """`full` splits weights, gradients and optimizer states over all processes (FSDP2); `none` copies them to each."""

    attention: Literal["sdpa", "flash_attention_2"] = "sdpa"
    """The attention kernel."""

    padding_free: bool = False
    """Concatenate the examples of a micro batch instead of padding them; needs a variable-length kernel."""

    device_gib: PositiveFloat | None = None
    """Memory of one device in GiB, where it is known."""

    start: tuple[str, ...] = ()
    """The command that starts another command once on each node, e.g. Slurm's srun with its options."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.padding_free and self.attention == "sdpa":
            raise InputError(
                "runtime.parallelism: padding_free concatenates examples, which attend to each other under "
                "attention=sdpa. Set attention=flash_attention_2 or padding_free=false"
            )
        if self.nodes > 1 and not self.start:
            raise InputError(
                f"runtime.parallelism: {self.nodes} nodes need `start`, the command that starts another once on each "
                "node, e.g. [srun, --nodes=2, --ntasks-per-node=1]"
            )

    @property
    def processes(self) -> int:
        """The number of processes on all nodes."""
        return self.devices * self.nodes

    def accumulation(self, global_batch: int) -> int:
        """Gradient accumulation steps for optimizer steps of exactly `global_batch` examples.

        Raises InputError if `global_batch` is not a multiple of what all processes compute at a time.
        """
        steps, rest = divmod(global_batch, self.micro_batch * self.processes)
        if rest or not steps:
            raise InputError(
                f"train.global_batch {global_batch} is no multiple of runtime.parallelism.micro_batch "
                f"{self.micro_batch} x {self.processes} processes; choose a micro_batch that divides it"
            )
        return steps
