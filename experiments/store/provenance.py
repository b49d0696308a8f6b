"""Provenance: which code, packages, machine and servers made a result."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast

from reer.models.protocols import RemoteModel
from reer.secrets import redacted

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "lm-eval", "accelerate", "hydra-core", "wandb")


@dataclass(frozen=True)
class Hardware:
    """The machine: its processor and how many of them this process may use, and the names of its GPUs, one each."""

    cpu: str
    cpus: int
    gpus: tuple[str, ...]


@dataclass(frozen=True)
class Provenance:
    """What made a result. `git` is the commit, with `-dirty` for uncommitted changes; None outside a checkout."""

    git: str | None
    python: str
    packages: Mapping[str, str]
    platform: str
    changes: str | None = None
    """A digest of the uncommitted changes; None where there are none."""
    hardware: Hardware | None = None
    """None in records that were written before it was noted."""


@cache
def provenance() -> Provenance:
    """The provenance of what this process makes."""
    here = ["git", "-C", str(Path(__file__).parent)]
    changed = _output([*here, "diff", "HEAD"])
    return Provenance(
        git=_output([*here, "describe", "--always", "--dirty", "--abbrev=12"]),
        python=platform.python_version(),
        packages=_versions(),
        platform=platform.platform(),
        changes=hashlib.sha256(changed.encode()).hexdigest()[:12] if changed else None,
        hardware=hardware(),
    )


def hardware() -> Hardware:
    """The machine at hand."""
    return Hardware(_cpu(), _cpus(), _gpus())


def servers(values: object) -> tuple[str, ...]:
    """`MODEL at URL` for every model behind a server in a stage's arguments."""
    remote = [part for part in _parts(values) if isinstance(part, RemoteModel)]
    named = {f"{getattr(part, 'name', type(part).__name__)} at {part.base_url}" for part in remote}
    return tuple(sorted(map(redacted, named)))


def revisions(values: object) -> dict[str, str]:
    """`REPO@BRANCH` -> commit, for every model in a stage's arguments that is on the hub and named by a branch."""
    from reer.models.local.checkpoints import HubModel

    names = {part.name for part in _parts(values) if isinstance(part, HubModel)}
    return {name: commit for name in sorted(names) if (commit := commit_in_cache(name)) is not None}


def commit_in_cache(name: str) -> str | None:
    """The commit of a model's branch (`REPO@BRANCH`) in the local cache of the hub; None for a revision that is a
    commit itself, and for a model that is not there."""
    from huggingface_hub.constants import HF_HUB_CACHE

    repo, _, branch = name.rpartition("@")
    file = Path(HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "refs" / branch
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None


def _parts(value: object) -> Iterator[object]:
    """The dataclasses in a stage's arguments, at any depth."""
    if is_dataclass(value) and not isinstance(value, type):
        yield value
        for field in fields(value):
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in cast("Mapping[object, object]", value).values():
            yield from _parts(item)


def _output(command: Sequence[str]) -> str | None:
    """What a command prints; None where it is not installed or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _cpus() -> int:
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return len(allowed)


def _gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as torch names them where it has found them already, else as their driver
    does. torch is never imported for it."""
    torch, visible = sys.modules.get("torch"), os.environ.get("CUDA_VISIBLE_DEVICES")
    if torch is not None and torch.cuda.is_initialized():
        return tuple(torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count()))
    if visible == "":
        return ()
    chosen = [f"--id={visible}"] if visible else []
    names = _output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", *chosen])
    return gpus_of_driver() if names is None else tuple(names.splitlines())


def gpus_of_driver(folder: Path = Path("/proc/driver/nvidia/gpus")) -> tuple[str, ...]:
    """The GPUs that the files of the driver name, also where its tools are not installed."""
    lines = [line for file in sorted(folder.glob("*/information")) for line in file.read_text().splitlines()]
    return tuple(line.partition(":")[2].strip() for line in lines if line.startswith("Model:"))


def _versions() -> dict[str, str]:
    versions: dict[str, str] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
