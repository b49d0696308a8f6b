"""Provenance: which code, packages and machine made a result."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "lm-eval", "accelerate", "hydra-core", "wandb")


@dataclass(frozen=True)
class Provenance:
    """What made a result. `git` is the commit, with `-dirty` for uncommitted changes; None outside a checkout."""

    git: str | None
    python: str
    packages: Mapping[str, str]
    platform: str


@cache
def provenance() -> Provenance:
    """The provenance of what this process makes."""
    return Provenance(_git(), platform.python_version(), _versions(), platform.platform())


def _git() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _versions() -> dict[str, str]:
    versions: dict[str, str] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
