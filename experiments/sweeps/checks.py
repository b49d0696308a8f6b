"""What can be found wrong before any work: a command stops there, before its first job."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from evals.benchmark import JudgedBenchmark
from evals.judging.panel import members_of
from evals.judging.per_benchmark import judge_of
from experiments import doctor
from experiments.config.parts import FrozenPlan, experiment_from
from experiments.experiment import Experiment
from experiments.pipeline import pipeline
from experiments.report import console as show
from experiments.revisions import Lookup, commit_on_hub, is_commit, model_commit_on_hub, pinned
from experiments.stages import data
from experiments.store.runs import check_name
from experiments.store.step import Steps
from experiments.store.store import Store
from reer.data.hub import HubSource
from reer.data.pairs import Source, selected
from reer.data.rows import Problems
from reer.data.several import SeveralSources
from reer.errors import InputError

if TYPE_CHECKING:
    from experiments.config.sweep import Launcher

SIDE_BY_SIDE = "joblib"  # Hydra's launcher for arms side by side on one machine


def pin(plan: FrozenPlan) -> FrozenPlan:
    """The plan with every data set and model of the hub at a commit; says so in a line for each one that is resolved
    now."""

    def said(lookup: Lookup) -> Lookup:
        def resolved(repo: str, revision: str) -> str:
            commit = lookup(repo, revision)
            if is_commit(commit):
                kept = root / "revisions.json"
                show.line(f"{repo}: revision {revision!r} is commit {commit}; kept for all runs in {kept}")
            return commit

        return resolved

    root = Path(plan["runtime"]["root"])
    return pinned(plan, root, said(commit_on_hub), models=said(model_commit_on_hub))


def check_all(plans: Sequence[FrozenPlan], launcher: Launcher) -> None:
    """Every mistake that can be found in any job before the first starts. Raises InputError."""
    if launcher.is_of_slurm and shutil.which("sbatch") is None:
        raise InputError(
            f"hydra/launcher={launcher.name}: there is no Slurm on this machine (no sbatch on the PATH); run this "
            "command on a login node of the cluster, or take hydra/launcher=submitit_local"
        )
    names: dict[str, list[str]] = {}
    read = set[str]()  # fingerprints of steps whose files have been read here
    for plan in plans:
        exp = experiment_from(plan)
        _check_slots(exp, launcher)
        steps = preflight(exp)
        fingerprints = [step.fingerprint for step in steps.values()]
        if names.setdefault(exp.run_name, fingerprints) != fingerprints:
            raise InputError(f"two different jobs of this command are called {exp.run_name!r}; leave out name=")
        _check_rows(exp, steps, read)


def preflight(exp: Experiment) -> Steps:
    """Every mistake that can be found before any work: names, keys, files, judges, parallelism. Returns the steps."""
    steps = pipeline(exp)
    check_name(exp, steps)
    second = [] if exp.reliability.second is None else [exp.reliability.second]
    for benchmark in exp.benchmarks.values():
        if isinstance(benchmark, JudgedBenchmark):
            benchmark.items()
            for judge in (*members_of(judge_of(exp.judge, benchmark.name)).values(), *second):
                judge.require_meant_for(benchmark)
                judge.require_form_of(benchmark)
                judge.require_prices(exp.budget.usd)
    if exp.runtime.cluster is not None and find_spec("ray") is None:
        raise InputError(
            "runtime.cluster: the search on a cluster wants ray, which is not installed; pip install ray[data]"
        )
    doctor.require(exp)
    return steps


def _check_slots(exp: Experiment, launcher: Launcher) -> None:
    """Raise InputError for GPU slots that nothing would use, and for one that two arms would share."""
    slots = [str(slot) for slot in exp.runtime.gpu_slots]
    if slots and launcher.name != SIDE_BY_SIDE:
        raise InputError(
            f"runtime.gpu_slots: has no effect with hydra/launcher={launcher.name}; add hydra/launcher={SIDE_BY_SIDE}, "
            "or leave it out"
        )
    gpus = [gpu.strip() for slot in slots for gpu in slot.split(",")]
    if len(set(gpus)) < len(gpus):
        raise InputError(f"runtime.gpu_slots: want each GPU in one slot, got {', '.join(gpus)}")


def _is_here(source: Source) -> bool:
    """Whether all rows of a source are on this machine."""
    if isinstance(source, SeveralSources):
        return all(_is_here(part.source) for part in source.parts.values())
    return not isinstance(source, HubSource)


def _check_rows(exp: Experiment, steps: Steps, read: set[str]) -> None:
    """Read the rows of files on this machine that no stage has read yet, by the rules of the stage that will. Raises
    InputError for a bad row, and where no row is left."""
    store = Store(root=exp.runtime.store, runtime=exp.runtime)
    pairs, public = steps.get(data.pairs.named()), steps.get(data.public.named())
    if pairs and _is_here(exp.source) and pairs.fingerprint not in read and not store.find(pairs):
        problems = Problems(exp.source.on_bad_row)
        selected(exp.source, exp.scale.selection, problems)
        read.add(pairs.fingerprint)
    if public and not exp.public.repo and public.fingerprint not in read and not store.find(public):
        if next(exp.public.samples(Problems(exp.public.on_bad_row)), None) is None:
            raise InputError(f"public={exp.public.name}: no row is left of {exp.public.path}; give another file")
        read.add(public.fingerprint)
