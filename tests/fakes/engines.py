"""Managed servers of the fake engine, and the processes that belong to them."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from reer.models.engines.commands import Replica, ServedModel
from reer.models.local.checkpoints import TinyModel
from reer.models.local.model import LocalModel
from reer.models.placement import Engines, ServerEngine
from reer.models.protocols import Device

ENGINE = Path(__file__).with_name("engine.py")
PATIENCE = 20.0  # seconds


def engines(*options: str, **settings: Any) -> Engines:
    """The fake engine in place of both, with options that make it fail."""
    command = (sys.executable, "-P", str(ENGINE), *options)  # -P: beside it lies a module named http
    return Engines(vllm=command, sglang=command, **{"start_seconds": PATIENCE, **settings})


def device(*options: str, **settings: Any) -> Device:
    return Device("cpu", engines=engines(*options, **settings))


def tiny(engine: ServerEngine = "vllm", seed: int = 0) -> LocalModel:
    return LocalModel(TinyModel(seed=seed), "bfloat16" if engine == "sglang" else "float32", engine)


def replica(scratch: Path, number: int = 0, node: str = "") -> Replica:
    """A vLLM server that is described and not started."""
    return Replica(
        model=ServedModel(TinyModel(), "vllm", "bfloat16"),
        weights=Path("/weights"),
        context_tokens=4096,
        number=number,
        port=8000,
        key="a key",
        scratch=scratch,
        node=node,
    )


def processes(of: int | None = None) -> list[psutil.Process]:
    """The processes of fake engines that descend from a process, by default this one."""
    found = []
    for process in psutil.Process(of or os.getpid()).children(recursive=True):
        try:
            command = process.cmdline()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if command[2:3] == [str(ENGINE)]:
            found.append(process)
    return found


def soon(condition: Callable[[], bool]) -> bool:
    """Whether a condition holds within some seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
