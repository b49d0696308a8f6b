"""On how many devices a training runs, and what one of them holds: never part of a result's identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from reer.errors import InputError


@dataclass(frozen=True)
class Parallelism:
    """How one optimizer step is spread: `devices` processes on each of `nodes` machines, `micro_batch` examples in one.

    `sharding` 'full' splits weights, gradients and optimizer states over all processes (FSDP2), 'none' keeps a copy in
    each. `attention` names the kernel; `padding_free` joins the examples of a micro batch end to end, which only a
    variable-length kernel may do. `device_gib` is the memory of one device where it is known, and `start` what starts
    a command once on each node (Slurm's srun with its options).
    """

    micro_batch: int
    checkpoint_steps: int
    recompute_activations: bool
    devices: int = 1
    nodes: int = 1
    sharding: Literal["none", "full"] = "none"
    attention: Literal["sdpa", "flash_attention_2"] = "sdpa"
    padding_free: bool = False
    device_gib: float | None = None
    start: tuple[str, ...] = ()

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if min(self.micro_batch, self.checkpoint_steps, self.devices, self.nodes) < 1:
            raise InputError(
                f"runtime.parallelism: want micro_batch, checkpoint_steps, devices and nodes >= 1, got {self}"
            )
        if self.padding_free and self.attention == "sdpa":
            raise InputError(
                "runtime.parallelism: padding_free joins examples end to end; with attention=sdpa they would see each "
                "other. Choose attention=flash_attention_2, or padding_free=false"
            )
        if self.nodes > 1 and not self.start:
            raise InputError(
                f"runtime.parallelism: {self.nodes} nodes want `start`, the command that starts another once on each "
                "node, e.g. [srun, --nodes=2, --ntasks-per-node=1]"
            )

    @property
    def processes(self) -> int:
        """Of all nodes together."""
        return self.devices * self.nodes

    def accumulation(self, global_batch: int) -> int:
        """Gradient accumulation steps so that a step has exactly `global_batch` examples.

        Raises InputError if that cannot be done.
        """
        steps, rest = divmod(global_batch, self.micro_batch * self.processes)
        if rest or not steps:
            raise InputError(
                f"train.global_batch {global_batch} is no multiple of runtime.parallelism.micro_batch "
                f"{self.micro_batch} x {self.processes} processes; choose a micro_batch that divides it"
            )
        return steps
