"""Where the servers of an engine run and how they are started. None of this identifies a result."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from reer.errors import InputError

EngineName = Literal["transformers", "vllm", "vllm_cached", "sglang"]
"""What computes with a model's weights: transformers in this process, or a server that the run starts and stops."""
ServerEngine = Literal["vllm", "vllm_cached", "sglang"]
"""`vllm_cached` is a vLLM that also scores with its prefix cache."""
Precision = Literal["float32", "bfloat16", "fp8"]
"""What weights are in. In `fp8` an engine rounds the weights of linear maps, as it loads them, and their inputs, as it
computes, to 8 bits; embeddings, output head and KV cache stay in bfloat16."""
Software = Literal["vllm", "sglang"]
"""What is installed to start an engine."""
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
OF_THE_MODEL = ("quantization", "kv-cache-dtype", "dtype", "load-format", "hf-overrides", "speculative")
"""Options of the engines that change numbers: they would have to be part of the model's identity."""
OF_THE_RUN = ("host", "port", "api-key", "served-model-name", "generation-config")
"""Options that the run sets itself."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The part of a machine that serves one model."""

    gpus: tuple[NonNegativeInt, ...] = ()
    """GPUs by their position among those that the run sees, shared equally by the replicas; (): all that it sees."""
    replicas: PositiveInt = 1
    """Servers of the same model. Requests about one pair go to one of them."""
    memory_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of a GPU's memory that a server takes; None: the engine's own default, which leaves no room for a
    second model."""
    context_tokens: PositiveInt | None = None
    """The longest prompt with its completion; None: what the model allows. A smaller one leaves room for more requests
    at once."""
    calls: PositiveInt = 64
    """Calls in flight at once, per replica."""
    tokens: PositiveInt | None = None
    """Tokens of the calls in flight at once, per replica: prompts with the longest completions that they may get. As
    many as the KV cache holds keep the shared beginnings of the pairs at work in it; None: no bound beside `calls`."""

    def __post_init__(self) -> None:
        if len(self.gpus) % self.replicas:
            raise InputError(
                f"placement: {len(self.gpus)} GPUs for {self.replicas} replicas; want as many for each replica: set "
                "gpus to a multiple of replicas"
            )
        if len(set(self.gpus)) < len(self.gpus):
            raise InputError(f"placement: gpus {list(self.gpus)} names a GPU twice; want each one once")

    @property
    def gpus_per_replica(self) -> int:
        """GPUs that share the weights of one replica; 1 where none are stated."""
        return max(1, len(self.gpus) // self.replicas)

    def gpus_of(self, replica: int) -> tuple[int, ...]:
        """The GPUs of a replica, counted from 0."""
        share = len(self.gpus) // self.replicas
        return self.gpus[replica * share : (replica + 1) * share]


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """The nodes of a Slurm allocation. Each has all the placements, with as many replicas and the same GPUs; they share
    the file system of weights and logs."""

    count: PositiveInt
    start: tuple[str, ...]
    """The command that starts another one on one node, whose name takes the place of `{node}`: srun with its
    options."""

    def __post_init__(self) -> None:
        if not any("{node}" in part for part in self.start):
            raise InputError(
                f"engines.nodes.start: want a command with {{node}} in the place of a node's name, such as "
                f"[srun, '--nodelist={{node}}', --nodes=1, --ntasks=1, --overlap], got {list(self.start)}"
            )

    def on(self, node: str) -> tuple[str, ...]:
        """The command that starts another one on this node."""
        return tuple(part.replace("{node}", node) for part in self.start)


@dataclass(frozen=True, kw_only=True)
class Engines:
    """How engines are started on this machine, and where. An engine lives in an environment of its own: its command may
    name that environment's program or interpreter, and options that change no number."""

    vllm: tuple[str, ...] = ("vllm", "serve")
    """The command that starts a vLLM server, for `vllm_cached` too, without the model and the options that the run
    sets."""
    sglang: tuple[str, ...] = ("python3", "-m", "sglang.launch_server")
    """The same for SGLang."""
    placement: Placement = Placement()
    nodes: Nodes | None = None
    """The nodes that replicas are spread over; None: this machine alone."""
    start_seconds: Seconds = 1800.0
    """How long a server may take to load its model."""
    answer_seconds: Seconds = 7200.0
    """How long one call may take, waiting inside the engine included."""
    restarts: NonNegativeInt = 3
    """How often a replica that died is started again."""
    logs: str | None = None
    """The folder of the engines' logs; None: `engines` in the root of the run."""

    def __post_init__(self) -> None:
        for engine, command in (("vllm", self.vllm), ("sglang", self.sglang)):
            if not command or command[0].startswith("--"):
                raise InputError(f"engines.{engine}: want the command that starts the server, got {list(command)}")
            for option in command:
                _refuse_option(engine, option)

    @property
    def replicas(self) -> int:
        """Servers of one model, on all nodes."""
        return self.placement.replicas * (self.nodes.count if self.nodes else 1)

    def program(self, engine: ServerEngine) -> tuple[str, ...]:
        """The part of an engine's command before its options."""
        return tuple(takewhile(lambda part: not part.startswith("--"), self._command(engine)))

    def options(self, engine: ServerEngine) -> tuple[str, ...]:
        """The options that an engine's command states."""
        return self._command(engine)[len(self.program(engine)) :]

    def _command(self, engine: ServerEngine) -> tuple[str, ...]:
        return self.vllm if software(engine) == "vllm" else self.sglang


def software(engine: ServerEngine) -> Software:
    """What an engine's servers run."""
    return "sglang" if engine == "sglang" else "vllm"


def _refuse_option(engine: str, option: str) -> None:
    name = option.lstrip("-").replace("_", "-").partition("=")[0]
    if option.startswith("--") and name.startswith(OF_THE_MODEL):
        raise InputError(
            f"engines.{engine}: {option} changes the model's numbers, and would not be part of its identity; leave it "
            "out, and choose a model that states its precision (dtype=fp8 for 8 bits)"
        )
    if option.startswith("--") and name in OF_THE_RUN:
        raise InputError(f"engines.{engine}: {option} is set by the run itself; leave it out")
