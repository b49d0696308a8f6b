"""The jobs of a sweep: each arm is frozen before the first one starts, and runs in a process of its own.

Arms then share no GPU context, no caches and no W&B run, and one that fails does not stop the others. A job leaves its
log and its exit code in its folder, because it may run on another machine.
"""

from __future__ import annotations

import json
import signal
import sys
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from experiments.config.parts import FrozenPlan, experiment_from
from experiments.experiment import Experiment
from experiments.pipeline import pipeline
from experiments.store.failures import Failure, forget_failure, read_failure, write_failure
from experiments.store.records import read_object
from experiments.store.runs import Result, fingerprints, read_result
from experiments.store.step import Steps
from reer.errors import InputError
from reer.files import write_json
from reer.processes import Terminated, run_child

DONE, FAILED, WRONG_INPUT, INCOMPLETE = 0, 1, 2, 3  # exit codes of a job, and of a command
PATIENCE = 1.0  # seconds between two looks for a free slot


@dataclass(frozen=True)
class Job:
    """One arm of a sweep as it was when the sweep began: its plan, and the fingerprint of each of its steps."""

    plan: FrozenPlan
    steps: Mapping[str, str]
    folder: Path

    @property
    def exp(self) -> Experiment:
        return experiment_from(self.plan)

    @property
    def file(self) -> Path:
        """The frozen job itself."""
        return self.folder / "job.json"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def code_file(self) -> Path:
        """The exit code of the job's process, once that has ended."""
        return self.folder / "code.json"

    def code(self) -> int | None:
        """The exit code of the job's process; None where it has not ended, or never started."""
        return json.loads(self.code_file.read_text(encoding="utf-8")) if self.code_file.exists() else None


@dataclass(frozen=True)
class Unfinished:
    """A job that ended without a result: its exit code, why, and where its output is."""

    run_name: str
    code: int
    failure: Failure
    log: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """The results of a command, its jobs that have none, and the root folder of the first."""

    results: tuple[Result, ...]
    unfinished: tuple[Unfinished, ...]
    root: Path

    @property
    def code(self) -> int:
        """The exit code of the command: that of its worst job. A job that failed is worse than one whose input is
        wrong, and that than one which is incomplete."""
        codes = {job.code for job in self.unfinished}
        if codes - {WRONG_INPUT, INCOMPLETE}:
            return FAILED
        return min(codes, default=DONE)


def freeze(plans: Sequence[FrozenPlan]) -> list[Job]:
    """Write every job of a sweep to a new folder under the root, before the first of them starts."""
    started = f"{time.strftime('%Y-%m-%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
    sweep = Path(plans[0]["runtime"]["root"]).resolve() / "sweeps" / started
    jobs = [
        Job(plan, fingerprints(pipeline(experiment_from(plan))), sweep / f"{number:02}")
        for number, plan in enumerate(plans, start=1)
    ]
    for job in jobs:
        write_json(job.file, {"plan": job.plan, "steps": job.steps})
    return jobs


def read_job(file: Path) -> Job:
    """A frozen job. Raises InputError for a torn file."""
    content = read_object(file)
    plan, steps = content.get("plan"), content.get("steps")
    if not isinstance(plan, dict) or not isinstance(steps, dict):
        raise InputError(f"{file}: is no job of a sweep; start the sweep again")
    return Job(plan, {name: str(value) for name, value in steps.items()}, file.parent)


def require_unchanged(steps: Steps, frozen: Mapping[str, str]) -> None:
    """Raise InputError where a step is no longer what it was when the sweep began."""
    now = fingerprints(steps)
    changed = [name for name in now if now[name] != frozen.get(name)]
    if changed:
        raise InputError(
            f"what step {changed[0]} is made of (a file that it reads, or its code) was changed after the sweep had "
            "begun, so this arm would not be comparable with the others; rerun the same command"
        )


def launch(job: Job, *, is_alone: bool) -> int:
    """Run a frozen job in a process of its own and return its exit code. Its messages go to its log; where it is not
    alone on the terminal, so does everything else. Raises KeyboardInterrupt or Terminated once that process has ended,
    where a signal asked this one to end."""
    exp = job.exp
    exp.folder.mkdir(parents=True, exist_ok=True)
    forget_failure(exp.folder)
    with ExitStack() as open_:
        log = open_.enter_context(job.log.open("ab"))
        slot = open_.enter_context(free_slot(exp))
        command = [sys.executable, "-m", "experiments.cli", "job", str(job.file)]
        command += [] if slot is None else ["--gpus", slot]
        code = run_child(command, stdout=None if is_alone else log, stderr=log)
    if code and read_failure(exp.folder) is None:
        write_failure(exp.folder, Failure("", _how_it_ended(code)))
    write_json(job.code_file, code)
    return code


def launched_elsewhere(job: Job) -> None:
    """Run a job as one of Hydra's launchers starts it, in a process of the launcher's. Where the launcher handles the
    signal that ended the job (submitit: it queues the job again), it gets that signal once the job has saved its
    work."""
    try:
        launch(job, is_alone=False)
    except Terminated as stop:
        if stop.number is not None and callable(signal.getsignal(stop.number)):
            signal.raise_signal(stop.number)
        raise


@contextmanager
def free_slot(exp: Experiment) -> Generator[str | None]:
    """The GPUs of a slot of `runtime.gpu_slots` that no other job under this root has; waits for one. None where no
    slots are stated."""
    slots = [str(slot) for slot in exp.runtime.gpu_slots]
    if not slots:
        yield None
        return
    slot, lock = _acquired(Path(exp.runtime.root) / "sweeps" / "slots", slots)
    try:
        yield slot
    finally:
        lock.release()


def _acquired(folder: Path, slots: Sequence[str]) -> tuple[str, FileLock]:
    """A slot that is free, with its lock, which the system frees if this process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        for slot in slots:
            lock = FileLock(folder / f"{slot}.lock")
            with suppress(Timeout):
                lock.acquire(timeout=0)
                return slot, lock
        time.sleep(PATIENCE)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code}; the reason is in its log"
    killed = signal.Signals(-code)
    memory = "; the system kills a process so when memory runs out" if killed == signal.SIGKILL else ""
    return f"its process was ended by {killed.name}{memory}"


def ends(jobs: Sequence[Job], codes: Sequence[int | None]) -> tuple[tuple[Result, ...], tuple[Unfinished, ...]]:
    """The results of the jobs that ended well, and the others. A job whose process failed has no result here, whatever
    an earlier one left in its folder."""
    results: list[Result] = []
    unfinished: list[Unfinished] = []
    for job, code in zip(jobs, codes, strict=True):
        folder = job.exp.folder
        result = read_result(folder) if code == DONE else None
        if result is not None and {str(name): step.fingerprint for name, step in result.steps.items()} == job.steps:
            results.append(result)
        else:
            why = "its launcher did not start it, or lost it" if code is None else "it left no result of this sweep"
            failure = read_failure(folder) or Failure("", why)
            log = job.log if job.log.exists() else None
            unfinished.append(Unfinished(job.exp.run_name, code or FAILED, failure, log))
    return tuple(results), tuple(unfinished)
