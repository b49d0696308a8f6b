"""What W&B shows as the configuration of a run: at most `MOST_KEYS` columns by which runs are grouped and filtered.

Long texts, such as prompts and the taxonomy, are a hash here; the file `plan.json` of the W&B run holds the whole plan.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping

import psutil

from experiments.config.choices import composed_of
from experiments.experiment import Experiment
from experiments.store.fingerprint import Json, encode, fingerprint
from experiments.store.provenance import provenance
from experiments.store.step import Steps
from experiments.tracking.destination import Destination

MOST_KEYS = 120
Settings = dict[str, object]


def settings_of(exp: Experiment, plan: Mapping[str, Json], steps: Steps, to: Destination) -> Settings:
    """The configuration of a W&B run, nested; W&B joins the keys by dots."""
    composed = composed_of(plan)
    return {
        "arm": exp.name,
        "baseline": exp.baseline,
        "seed": exp.seed,
        "scale": exp.scale.name,
        "study": to.group,
        "choices": {**composed.choices, "benchmark": "+".join(exp.benchmark)},
        "overrides": " ".join(composed.overrides),
        "search": _numbers(plan["search"]),
        "train": _numbers(plan["train"]),
        "limits": _numbers(plan["scale"]),
        "sha": {part: fingerprint(encode(getattr(exp, part))) for part in ("taxonomy", "prompts")},
        "code": _code(),
        "env": {"python": platform.python_version(), **provenance().packages},
        "hardware": hardware(),
        "fingerprint": {"_".join(filter(None, name)): step.fingerprint for name, step in steps.items()},
    }


def _numbers(part: Json) -> dict[str, float]:
    """The numbers of a part of a plan."""
    values = part if isinstance(part, dict) else {}
    return {key: value for key, value in values.items() if isinstance(value, int | float)}


def _code() -> Settings:
    described = provenance().git or ""
    return {"commit": described.removesuffix("-dirty") or None, "dirty": described.endswith("-dirty")}


def hardware() -> Settings:
    """The machine, without its name."""
    gpus = _gpus()
    return {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpu": gpus[0] if gpus else "none",
        "gpus": len(gpus),
    }


def _gpus() -> list[str]:
    """The names of NVIDIA GPUs. Their tool is asked because a run whose stages are all stored never imports torch."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.strip().splitlines()
