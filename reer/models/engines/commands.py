"""The command line and the environment that start each engine's server.

Servers listen on the loopback interface, those of other nodes on all interfaces, and want a random key, because other
users reach them, too. The key is in no command line, which those users could read. Sampling defaults that a checkpoint
brings are switched off: every request states its own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import InstanceOf

from reer.errors import InputError
from reer.files import write_atomic
from reer.models.local.checkpoints import Checkpoint
from reer.models.placement import Engines, Precision, ServerEngine, software
from reer.models.services.scoring_servers import CACHE_OPTIONS

HOST = "127.0.0.1"
ALL_INTERFACES = "0.0.0.0"
SERVED_AS = "model"
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}  # weights are in a local folder
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class ServedModel:
    """A checkpoint and what computes with it: equal ones share their servers."""

    checkpoint: InstanceOf[Checkpoint]
    engine: ServerEngine
    dtype: Precision

    @property
    def name(self) -> str:
        return f"{self.checkpoint.name}/{self.dtype}/{self.engine}"


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start one replica."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    """Variables beside those of this process."""


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One server to start: the folder of the weights, the longest sequence in tokens, its number, port and key, and a
    private folder for its files. `node` is the machine that it runs on, '' for this one."""

    model: ServedModel
    weights: Path
    context_tokens: int
    number: int
    port: int
    key: str
    scratch: Path
    node: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.node or HOST}:{self.port}"


def launch_of(replica: Replica, engines: Engines) -> Launch:
    """The command and the environment of a replica. Raises InputError where the machine lacks the command."""
    if problem := missing(replica.model.engine, engines):
        raise InputError(problem)
    engine, place = replica.model.engine, engines.placement
    is_vllm = software(engine) == "vllm"
    own = _vllm(replica, engines) if is_vllm else _sglang(replica, engines)
    key = {"VLLM_API_KEY": replica.key} if is_vllm else {}
    command = (*engines.program(engine), *own, *engines.options(engine))  # vLLM wants the model before any option
    gpus = place.gpus_of(replica.number % place.replicas)
    if engines.nodes is None:
        return Launch(command=command, environment={**OFFLINE, **key, **_visible(gpus)})
    # srun sets the variable that shows GPUs for what it starts, so this replica's are set after it
    shown = ("env", f"{VISIBLE}={_listed(gpus)}") if gpus else ()
    return Launch(command=(*engines.nodes.on(replica.node), *shown, *command), environment={**OFFLINE, **key})


def missing(engine: ServerEngine, engines: Engines) -> str:
    """Why this machine cannot start an engine, in one sentence; '' where its program is there."""
    program, installed = engines.program(engine)[0], software(engine)
    if engines.nodes is not None and not shutil.which(engines.nodes.start[0]):
        return (
            f"engine {engine}: no program {engines.nodes.start[0]!r} on this machine, which is to start servers on "
            "nodes; run it inside an allocation, or choose a runtime of one machine, such as runtime=h100x8"
        )
    if shutil.which(program):
        return ""
    return (
        f"engine {engine}: no program {program!r} on this machine; install {installed} into an environment of its own "
        f"and name its command, e.g. runtime.device.engines.{installed}=[/path/to/{program},…], or choose "
        "engine=transformers"
    )


def _vllm(replica: Replica, engines: Engines) -> list[str]:
    place = engines.placement
    options = [str(replica.weights), "--served-model-name", SERVED_AS, *_address(replica)]
    options += [*_precision(replica.model), "--max-model-len", str(replica.context_tokens)]
    options += ["--generation-config", "vllm", "--seed", "0", "--tensor-parallel-size", str(place.gpus_per_replica)]
    if replica.model.engine == "vllm_cached":
        options += CACHE_OPTIONS
    if place.memory_share is not None:
        options += ["--gpu-memory-utilization", str(place.memory_share)]
    return options


def _sglang(replica: Replica, engines: Engines) -> list[str]:
    place, secret = engines.placement, replica.scratch / f"sglang-{replica.number}.yaml"
    write_atomic(secret, json.dumps({"api-key": replica.key}).encode())  # JSON is YAML; the folder is private
    options = ["--config", str(secret), "--model-path", str(replica.weights), "--served-model-name", SERVED_AS]
    options += [*_address(replica), *_precision(replica.model)]
    options += ["--context-length", str(replica.context_tokens), "--tp-size", str(place.gpus_per_replica)]
    options += ["--random-seed", "0", "--sampling-defaults", "openai", "--schedule-policy", "lpm"]
    if place.memory_share is not None:
        options += ["--mem-fraction-static", str(place.memory_share)]
    return options


def _precision(model: ServedModel) -> tuple[str, ...]:
    """The options of a precision, which both engines call the same; what is not rounded to 8 bits is in bfloat16."""
    return ("--dtype", "bfloat16", "--quantization", "fp8") if model.dtype == "fp8" else ("--dtype", model.dtype)


def _address(replica: Replica) -> tuple[str, ...]:
    return ("--host", ALL_INTERFACES if replica.node else HOST, "--port", str(replica.port))


def _visible(gpus: tuple[int, ...]) -> dict[str, str]:
    """The variable that shows a server its GPUs alone. Raises InputError for one that this process does not see."""
    if not gpus:
        return {}
    seen = os.environ.get(VISIBLE)
    if seen is None:
        return {VISIBLE: _listed(gpus)}
    names = [name.strip() for name in seen.split(",") if name.strip()]
    if max(gpus) >= len(names):
        raise InputError(
            f"placement: GPU {max(gpus)} is wanted, but {VISIBLE}={seen} shows {len(names)} to this run; name "
            f"GPUs below {len(names)}"
        )
    return {VISIBLE: ",".join(names[gpu] for gpu in gpus)}


def _listed(gpus: tuple[int, ...]) -> str:
    return ",".join(map(str, gpus))
