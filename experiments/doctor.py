"""Checks of this machine against a configuration: each shows what was found, what is wanted, and how to fix it.

`reer doctor` shows all checks; a run stops at the first that fails, before any model is loaded.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from evals.benchmark import JudgedBenchmark
from evals.judging.judge import Judge
from evals.lm_eval.harness import LmEval
from experiments.experiment import Experiment, Role, Runtime
from experiments.planning.calibration import read_calibration
from experiments.planning.costs import Costs, training_cost_of
from experiments.planning.machine import Load, engine_load, loads, missing_command
from experiments.planning.serving import Serving
from experiments.revisions import is_commit
from experiments.store import verification
from experiments.store.disk import disk_errors
from experiments.store.provenance import PACKAGES, hardware
from experiments.tracking.destination import has_key
from reer.data.hub import HubSource
from reer.data.pairs import Source
from reer.data.public import PublicRows
from reer.data.several import SeveralSources
from reer.errors import Incomplete, InputError
from reer.models.engines.commands import missing
from reer.models.http.client import Endpoint
from reer.models.local.checkpoints import Checkpoint
from reer.models.local.model import LocalModel
from reer.models.local.reward import RewardModel
from reer.models.local.weights import Head
from reer.secrets import key_in
from reer.training.launch import kernel_available

ENGINE_SHARE = 0.9  # of a GPU: what vLLM and SGLang take where nothing is stated
IFEVAL = ("langdetect", "immutabledict", "nltk")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check and its outcome; `advice` says how to fix a failure."""

    what: str
    found: str
    wanted: str
    ok: bool
    advice: str = ""


def required(exp: Experiment, today: Callable[[], date] = date.today) -> Iterator[Check]:
    """Checks that a run cannot start without; all of them are cheap."""
    parallelism, lora = exp.runtime.parallelism, exp.train.lora
    try:
        steps = parallelism.accumulation(exp.train.global_batch)
        found, ok, advice = f"{parallelism.micro_batch} x {parallelism.processes} processes x {steps}", True, ""
    except InputError as error:
        found, ok, advice = f"{parallelism.micro_batch} x {parallelism.processes} processes", False, str(error)
    yield Check(what="optimizer step", found=found, wanted=f"{exp.train.global_batch} examples", ok=ok, advice=advice)
    yield Check(
        what="attention kernel",
        found="installed" if kernel_available(parallelism.attention) else "not installed",
        wanted=parallelism.attention,
        ok=kernel_available(parallelism.attention),
        advice="pip install flash-attn, or runtime.parallelism.attention=sdpa runtime.parallelism.padding_free=false",
    )
    if lora and lora.quantized:
        there = find_spec("bitsandbytes") is not None
        yield Check(
            what="4-bit weights",
            found="installed" if there else "not installed",
            wanted="bitsandbytes",
            ok=there,
            advice=".requirements/install qlora",
        )
    if lora and parallelism.sharding == "full":
        advice = "adapters train beside a copy of the weights on each device: set runtime.parallelism.sharding=none"
        yield Check(what="sharding", found="full", wanted="none", ok=False, advice=advice)
    cost = training_cost_of(exp)
    if cost and parallelism.device_gib is not None:
        yield Check(
            what="memory of a device",
            found=f"about {cost.device_gib:.0f} GiB",
            wanted=f"at most {parallelism.device_gib:g} GiB",
            ok=cost.device_gib <= parallelism.device_gib,
            advice="use more devices with sharding=full, train=lora or qlora, a smaller micro_batch or train_tokens",
        )
    yield from _weights(exp)
    yield _prompts(exp)
    yield from _keys(exp)
    yield from _lives(exp, today())
    yield from _tasks(exp)
    yield from _pins(exp)
    yield _disk(exp)
    if exp.runtime.device.name.startswith("cuda"):
        yield _devices(exp)


def _weights(exp: Experiment) -> Iterator[Check]:
    """Weights, whoever uses them: all tensors must be there before any stage works with one of them. A hub that cannot
    be asked is no fault yet: all that needs the weights may be in the store."""
    judges = {role: judge.model for role, judge in _judges(exp).items()}
    models = {"generator": exp.generator.model, "scorer": exp.scorer.model, "student": exp.student, **judges}
    users = defaultdict[tuple[Checkpoint, Head], list[str]](list)
    for role, model in models.items():
        if isinstance(model, LocalModel | RewardModel):
            users[model.checkpoint, "reward" if isinstance(model, RewardModel) else "causal"].append(role)
    if exp.embedding.checkpoint is not None:
        users[exp.embedding.checkpoint, "base"].append("embedding")
    for (checkpoint, head), roles in users.items():
        found, advice = "all there", ""
        try:
            checkpoint.require(head)
        except InputError as error:
            found, advice = "not all there", str(error)
        except Incomplete:
            found = "not on this machine, and the hub cannot be asked"
        yield Check(
            what=f"weights of {', '.join(roles)}", found=found, wanted="every tensor", ok=not advice, advice=advice
        )


def _prompts(exp: Experiment) -> Check:
    """The prompts can be read, and ask for reflection as the experiment does."""
    try:
        exp.prompts.with_triggers(exp.reflection.triggers)
        found, advice = "readable", ""
    except InputError as error:
        found, advice = "not usable", str(error)
    return Check(what=f"prompts {exp.prompts.name}", found=found, wanted="their texts", ok=not advice, advice=advice)


def _keys(exp: Experiment) -> Iterator[Check]:
    judges = _judges(exp)
    models = {"generator": exp.generator.model, "scorer": exp.scorer.model, **{r: j.model for r, j in judges.items()}}
    folder = exp.runtime.judgements_folder
    for role, model in models.items():
        if isinstance(model, Endpoint) and model.key_variable:
            present, problem = _key_state(model.key_variable)
            # A judge's own records may be all that the run needs; those of another judge replace none of its answers.
            recorded = not present and role in judges and _has_judgements(folder, judges[role].model_name)
            missing = problem or "not set"
            state = "set" if present else f"{missing}, but its judgements are on record" if recorded else missing
            advice = f"set the environment variable {model.key_variable} to your key for {model.base_url}"
            yield Check(
                what=f"{role}'s key", found=state, wanted=model.key_variable, ok=present or recorded, advice=advice
            )


def _key_state(variable: str) -> tuple[bool, str]:
    """Whether an environment variable holds a key, and what is wrong with one that no server takes."""
    try:
        return bool(key_in(variable)), ""
    except InputError as error:
        return False, str(error)


def _judges(exp: Experiment) -> dict[str, Judge]:
    """The judges of an experiment by role."""
    second = exp.reliability.second
    return exp.judges | ({} if second is None else {"second judge": second})


def _lives(exp: Experiment, today: date) -> Iterator[Check]:
    """A retired judge can be asked nothing; its records may be all that the run needs."""
    folder = exp.runtime.judgements_folder
    for role, judge in _judges(exp).items():
        if (notice := judge.retirement(today)) is not None:
            recorded = notice.over and _has_judgements(folder, judge.model_name)
            advice = f"judge={judge.life.instead}" if judge.life and judge.life.instead else "choose another judge"
            yield Check(
                what=f"{role}'s model",
                found=f"{notice.text}{'; its judgements are on record' if recorded else ''}",
                wanted="a model that is served",
                ok=recorded or not notice.over,
                advice=advice,
            )


def retirements(exp: Experiment, today: Callable[[], date] = date.today) -> list[str]:
    """A sentence for each judge whose model is, or soon will be, retired. Raises InputError where one has to be asked
    that is retired already."""
    checks = list(_lives(exp, today()))
    for check in checks:
        if not check.ok:
            raise InputError(f"{check.what}: {check.found}; what it has judged stays on record")
    return [f"{check.what}: {check.found}" for check in checks]


def _has_judgements(folder: Path, judge: str) -> bool:
    """Whether a folder of records holds an answer of this judge, named as its records name it."""
    needle = json.dumps(judge, ensure_ascii=False).encode()
    for file in folder.glob("*.jsonl"):
        with file.open("rb") as lines:
            if any(needle in line and _judge_of(line) == judge for line in lines):
                return True
    return False


def _judge_of(line: bytes) -> str | None:
    try:
        return json.loads(line)["judge"]
    except (ValueError, KeyError, TypeError):
        return None  # torn or foreign


def _tasks(exp: Experiment) -> Iterator[Check]:
    """Packages that lm-eval's own tasks import only when they score, after the training."""
    for benchmark in exp.benchmark.values():
        if isinstance(benchmark, LmEval) and "ifeval" in benchmark.tasks:
            missing = [name for name in IFEVAL if find_spec(name) is None]
            found = "installed" if not missing else f"{', '.join(missing)} not installed"
            advice = ".requirements/install ifeval, or leave ifeval out of benchmark.lm_eval.tasks"
            yield Check(what="task ifeval", found=found, wanted=", ".join(IFEVAL), ok=not missing, advice=advice)


def _pins(exp: Experiment) -> Iterator[Check]:
    """Data sets of the hub at a commit: a branch moves, and with it what a fingerprint means. A run resolves a branch
    itself where it may ask the hub."""
    for role, part in _data_sets(exp):
        if isinstance(part, HubSource | PublicRows) and part.repo:
            revision = part.revision or "none"
            online = bool(part.revision) and os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0")
            found = f"{revision}; the first run resolves it" if online and not is_commit(revision) else revision
            advice = (
                f"run once with network access, or set {role}.revision to a commit from "
                f"huggingface.co/datasets/{part.repo}/commits"
            )
            yield Check(
                what=f"{role}'s revision",
                found=found,
                wanted="a commit, 40 hex digits",
                ok=is_commit(revision) or online,
                advice=advice,
            )


def _data_sets(exp: Experiment) -> Iterator[tuple[str, Source | PublicRows]]:
    """The sources by the settings that hold them."""
    if isinstance(exp.source, SeveralSources):
        yield from ((f"source.parts.{name}.source", part.source) for name, part in exp.source.parts.items())
    else:
        yield "source", exp.source
    yield "public", exp.public


def _devices(exp: Experiment) -> Check:
    import torch

    found = torch.cuda.device_count()
    return Check(
        what="GPUs",
        found=str(found),
        wanted=str(exp.runtime.parallelism.devices),
        ok=found >= exp.runtime.parallelism.devices,
        advice="choose a runtime this machine has, e.g. runtime=laptop; `reer plan` and --cfg job work without",
    )


def _start_command(exp: Experiment) -> Iterator[Check]:
    """The program that starts others on the nodes of an allocation."""
    start = exp.runtime.parallelism.start
    if start:
        missing = missing_command(start)
        advice = f"run this on a machine that has {start[0]}, or set runtime.parallelism.start"
        found = "not on the PATH" if missing else "on the PATH"
        yield Check(what=start[0], found=found, wanted="on the PATH", ok=missing is None, advice=advice)


def _model_memory(exp: Experiment) -> Iterator[Check]:
    """The models of the search, which are open at the same time, on the devices that they share."""
    if exp.runtime.parallelism.device_gib is None:
        return
    room = exp.runtime.parallelism.device_gib
    for load in loads(Costs.of(exp)):
        yield Check(
            what=f"models on {load.place}",
            found=f"about {load.gib:.0f} GiB: weights {load.weights_gib:.0f}, KV cache {load.cache_gib:.0f}",
            wanted=f"at most {room:g} GiB",
            ok=load.gib <= room,
            advice="lower runtime.device.generate_rows, give the scorer a device of its own (runtime.scorer_device), "
            "choose smaller models, or put them behind servers",
        )


def _engines(exp: Experiment) -> Iterator[Check]:
    """The engines that the run starts: their programs, the GPUs they are placed on, and the memory they may take."""
    costs, found = Costs.of(exp), hardware().gpus
    roles: tuple[tuple[Role, object, Serving | None], ...] = (
        ("generator", exp.generator.model, costs.roles.generator),
        ("scorer", exp.scorer.model, costs.roles.scorer),
        ("student", exp.student, costs.roles.student),
    )
    for role, model, serving in roles:
        if serving is None or not isinstance(model, LocalModel) or model.engine == "transformers":
            continue
        engines = exp.runtime.device_for(role).engines
        advice = missing(model.engine, engines)
        yield Check(
            what=f"{role}'s engine",
            found="not on the PATH" if advice else "on the PATH",
            wanted=engines.program(model.engine)[0],
            ok=not advice,
            advice=advice,
        )
        gpus = engines.placement.gpus
        yield Check(
            what=f"{role}'s GPUs",
            found=str(len(found)),
            wanted=f"GPUs {', '.join(map(str, gpus))}" if gpus else "any",
            ok=not gpus or max(gpus) < len(found),
            advice=f"set gpus in runtime.placements.{role} to GPUs of this machine, with replicas to match",
        )
        yield from _engine_memory(exp, role, engine_load(serving, costs))


def _engine_memory(exp: Experiment, role: Role, load: Load) -> Iterator[Check]:
    share, gib = exp.runtime.device_for(role).engines.placement.memory_share, exp.runtime.parallelism.device_gib
    if gib is not None:
        room = gib * (ENGINE_SHARE if share is None else share)
        yield Check(
            what=f"{role}'s memory",
            found=f"about {load.gib:.0f} GiB a GPU: weights {load.weights_gib:.0f}, longest draft {load.cache_gib:.1f}",
            wanted=f"at most {room:.0f} GiB",
            ok=load.gib <= room,
            advice=f"raise memory_share in runtime.placements.{role}, or give a replica more GPUs",
        )


def _rates(exp: Experiment) -> Check:
    """Whether `reer plan` has rates of this machine."""
    found = read_calibration(Path(exp.runtime.root))
    return Check(
        what="measured rates",
        found=f"{found.device}, {found.date}" if found else "none: plans use the table in conf/estimate",
        wanted="any",
        ok=True,
    )


def informational(exp: Experiment) -> Iterator[Check]:
    """Checks that are good to know: memory of the models, packages, benchmark files, tracking."""
    yield from _start_command(exp)
    yield from _model_memory(exp)
    yield from _engines(exp)
    yield _rates(exp)
    for package in PACKAGES:
        try:
            yield Check(what=package, found=version(package), wanted="installed", ok=True)
        except PackageNotFoundError:
            yield Check(
                what=package,
                found="not installed",
                wanted="installed",
                ok=False,
                advice=".requirements/install",
            )
    for name, benchmark in exp.benchmarks.items():
        if isinstance(benchmark, JudgedBenchmark):
            yield _benchmark(name, benchmark)
    key = has_key(os.environ)
    yield Check(
        what="W&B",
        found="key set" if key else "no key: offline",
        wanted=exp.tracking.mode,
        ok=key or exp.tracking.mode != "online",
        advice="wandb login, or tracking=offline",
    )


def _benchmark(name: str, benchmark: JudgedBenchmark) -> Check:
    try:
        count = len(benchmark.items())
    except InputError as error:
        return Check(what=f"benchmark {name}", found="not readable", wanted="its files", ok=False, advice=str(error))
    return Check(what=f"benchmark {name}", found=f"{count} items", wanted="its files", ok=True)


def _disk(exp: Experiment) -> Check:
    """Room for two checkpoints, the one being written, their optimizer states, and the model."""
    root = Path(exp.runtime.root).resolve()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free, size = shutil.disk_usage(there).free / 2**30, exp.student.checkpoint.size
    lora, wanted = exp.train.lora, 0.0
    if size is not None:
        trained = size.adapter_parameters(lora.rank) if lora else size.parameters
        state = 16 if exp.runtime.parallelism.sharding == "full" else 12  # split weights are saved twice
        wanted = (3 * state * trained + 4 * size.parameters) / 2**30
    return Check(
        what="disk",
        found=f"{free:.0f} GiB free",
        wanted=f"about {wanted:.1f} GiB",
        ok=free > wanted,
        advice=f"free some of {there}, or set runtime.root",
    )


def store_is_intact(runtime: Runtime, *, repair: bool, say: Callable[[str], None]) -> bool:
    """Compare everything under a root with its checksums, and say what is damaged, group by group. With `repair`, move
    it aside. False if damage is left. Raises Incomplete, or InputError, for an error of the disk."""
    left = 0
    with disk_errors(runtime.store):
        for group in verification.check(runtime):
            state = f"{len(group.damages)} damaged" if group.damages else "intact"
            say(f"{group.what}: {group.count} checked, {group.size / 2**20:.1f} MiB, {state}")
            for damage in group.damages:
                say(f"  {damage.path}: {damage.why}")
                if repair:
                    say(f"  {verification.repair(damage)}")
                left += not repair or damage.kind == "other version"
    return left == 0


def require(exp: Experiment) -> None:
    """Raise InputError for the first required check that fails."""
    for check in required(exp):
        if not check.ok:
            raise InputError(f"{check.what}: {check.found}, wanted {check.wanted}; {check.advice}")
