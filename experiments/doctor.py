"""Whether this machine can do what a configuration asks: each check says what is there, what is wanted, what to do.

`reer doctor` shows them all; a run stops at the first that fails, before any model is loaded.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from evals.lm_harness import LmEval
from experiments.experiment import Experiment
from experiments.store import PACKAGES
from reer.launch import kernel_is_here
from reer.models.client import Served
from reer.public import PublicRows
from reer.sources.hub import HubSource
from reer.training_cost import Load, TrainingCost, training_cost
from reer.types import InputError

IFEVAL = ("langdetect", "immutabledict", "nltk")


@dataclass(frozen=True)
class Check:
    """One thing that must hold; `advice` says what to do where it does not."""

    what: str
    found: str
    wanted: str
    ok: bool
    advice: str = ""


def load_of(x: Experiment) -> Load:
    """The rows a training would have, from the scale's sizes and the estimate's lengths."""
    e = x.estimate
    sizes = x.data.choose(
        synthetic=(x.scale.synthetic_rows, e.query_tokens + e.thinking_tokens + e.solution_tokens),
        public=(x.scale.public_rows, e.public_tokens),
    )
    tokens = sum(rows * length for rows, length in sizes.values())
    return Load(sum(rows for rows, _ in sizes.values()), tokens, x.scale.train_tokens)


def training_cost_of(x: Experiment, load: Load | None = None) -> TrainingCost | None:
    """What its training would cost, None where the student's size is not stated."""
    size = x.student.size
    return size and training_cost(x.train, x.runtime.layout, size, load or load_of(x), x.estimate)


def must_hold(x: Experiment) -> Iterator[Check]:
    """What a run cannot begin without; costs no more than a look at each."""
    layout, lora = x.runtime.layout, x.train.lora
    try:
        steps = layout.accumulation(x.train.global_batch)
        found, ok, advice = f"{layout.micro_batch} x {layout.processes} processes x {steps}", True, ""
    except InputError as error:
        found, ok, advice = f"{layout.micro_batch} x {layout.processes} processes", False, str(error)
    yield Check("optimizer step", found, f"{x.train.global_batch} examples", ok, advice)
    yield Check(
        "attention kernel", "installed" if kernel_is_here(layout.attention) else "not installed", layout.attention,
        kernel_is_here(layout.attention),
        "pip install flash-attn, or runtime.layout.attention=sdpa runtime.layout.padding_free=false",
    )  # fmt: skip
    if lora and lora.quantized:
        there = find_spec("bitsandbytes") is not None
        yield Check("4-bit weights", "installed" if there else "not installed", "bitsandbytes", there,
                    "pip install -e '.[qlora]' -c constraints.txt")  # fmt: skip
    if lora and layout.sharding == "full":
        advice = "adapters train beside a copy of the weights on each device: set runtime.layout.sharding=none"
        yield Check("sharding", "full", "none", False, advice)
    cost = training_cost_of(x)
    if cost and layout.device_gib is not None:
        yield Check(
            "memory of a device", f"about {cost.device_gib:.0f} GiB", f"at most {layout.device_gib:g} GiB",
            cost.device_gib <= layout.device_gib,
            "take more devices with sharding=full, train=lora or qlora, a smaller micro_batch or scale.train_tokens",
        )  # fmt: skip
    yield from _keys(x)
    yield from _tasks(x)
    yield from _pins(x)
    yield _disk(x)
    if x.runtime.device.name.startswith("cuda"):
        yield _devices(x)


def _keys(x: Experiment) -> Iterator[Check]:
    roles = {"generator": x.generator.chat, "scorer": x.scorer.chat, "judge": x.judge.chat}
    if x.health.second is not None:
        roles["second judge"] = x.health.second.chat
    recorded = x.runtime.judgements_folder or x.runtime.store / "judgements"
    for role, chat in roles.items():
        if isinstance(chat, Served) and chat.key_variable:
            there = bool(os.environ.get(chat.key_variable))
            replayed = not there and "judge" in role and any(recorded.glob("*.jsonl"))  # records may be all it takes
            found = "set" if there else "not set, but judgements are on record" if replayed else "not set"
            advice = f"set the environment variable {chat.key_variable} to your key for {chat.base_url}"
            yield Check(f"{role}'s key", found, chat.key_variable, there or replayed, advice)


def _tasks(x: Experiment) -> Iterator[Check]:
    """What lm-eval's own tasks import when they score, after the training."""
    for benchmark in x.benchmark.values():
        if isinstance(benchmark, LmEval) and "ifeval" in benchmark.tasks:
            missing = [name for name in IFEVAL if find_spec(name) is None]
            found = "installed" if not missing else f"{', '.join(missing)} not installed"
            advice = "pip install -e '.[ifeval]' -c constraints.txt, or leave ifeval out of benchmark.lm_eval.tasks"
            yield Check("task ifeval", found, ", ".join(IFEVAL), not missing, advice)


def _pins(x: Experiment) -> Iterator[Check]:
    """Data sets of the hub at a commit: a branch moves, and with it what a fingerprint stands for."""
    for role, part in (("source", x.source), ("public", x.public)):
        if isinstance(part, HubSource | PublicRows) and part.repo:
            revision = part.revision or "none"
            pinned = re.fullmatch(r"[0-9a-f]{40}", revision) is not None
            advice = f"look one up at huggingface.co/datasets/{part.repo}/commits and set {role}.revision=…"
            yield Check(f"{role}'s revision", revision, "a commit, 40 hex digits", pinned, advice)


def _devices(x: Experiment) -> Check:
    import torch

    found = torch.cuda.device_count()
    return Check(
        "GPUs", str(found), str(x.runtime.layout.devices), found >= x.runtime.layout.devices,
        "choose a runtime this machine has, e.g. runtime=laptop; `reer plan` and --cfg job work without",
    )  # fmt: skip


def looks(x: Experiment) -> Iterator[Check]:
    """What is good to know beside: packages, benchmark files, tracking."""
    for package in PACKAGES:
        try:
            yield Check(package, version(package), "installed", True)
        except PackageNotFoundError:
            yield Check(package, "not installed", "installed", False, "pip install -e . -c constraints.txt")
    for name, benchmark in x.benchmark.items():
        if hasattr(benchmark, "items"):
            yield _benchmark(name, benchmark)
    key = bool(os.environ.get("WANDB_API_KEY"))
    yield Check("W&B", "key set" if key else "no key: offline", x.tracking.mode, key or x.tracking.mode != "online",
                "wandb login, or tracking=offline")  # fmt: skip


def _benchmark(name: str, benchmark: object) -> Check:
    try:
        count = len(benchmark.items())  # pyright: ignore[reportAttributeAccessIssue]
    except InputError as error:
        return Check(f"benchmark {name}", "not readable", "its files", False, str(error))
    return Check(f"benchmark {name}", f"{count} items", "its files", True)


def _disk(x: Experiment) -> Check:
    """Two checkpoints and the one being written, with optimizer states, and the model."""
    root = Path(x.runtime.root).resolve()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free, size = shutil.disk_usage(there).free / 2**30, x.student.size
    lora, wanted = x.train.lora, 0.0
    if size is not None:
        trained = size.adapter_parameters(lora.rank) if lora else size.parameters
        state = 16 if x.runtime.layout.sharding == "full" else 12  # split weights are saved twice
        wanted = (3 * state * trained + 4 * size.parameters) / 2**30
    return Check("disk", f"{free:.0f} GiB free", f"about {wanted:.1f} GiB", free > wanted,
                 f"free some of {there}, or set runtime.root")  # fmt: skip


def require(x: Experiment) -> None:
    """Raise InputError for the first thing that must hold and does not."""
    for check in must_hold(x):
        if not check.ok:
            raise InputError(f"{check.what}: {check.found}, wanted {check.wanted}; {check.advice}")
