"""compose → check → run: the jobs of one command, each from its frozen plan.

The job of a single run is done in this process; each job of a sweep has a process of its own, so that arms share no
GPU context, no caches and no W&B run, and one that fails does not stop the others.
"""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from experiments.config.choices import CONF, conf_folders
from experiments.config.parts import experiment_from
from experiments.contracts.check import require_before_training
from experiments.contracts.confounds import confounds
from experiments.experiment import Experiment
from experiments.metrics import training
from experiments.pipeline import pipeline
from experiments.report import console as show
from experiments.report.progress import Progress
from experiments.report.summary import summary
from experiments.store.failures import Attempt, Failure, reason_of
from experiments.store.fingerprint import Json
from experiments.store.overlap import Overlap
from experiments.store.runs import (
    Result,
    beside_baseline,
    is_current,
    read_result,
    readable_result,
    write_lock,
    write_result,
)
from experiments.store.step import Artifact, Step, StepName, Steps
from experiments.store.store import Monitor, Store
from experiments.sweeps.checks import check_all, pin, preflight
from experiments.sweeps.jobs import (
    DONE,
    FAILED,
    Job,
    Outcome,
    ends,
    freeze,
    launch,
    launched_elsewhere,
    require_unchanged,
)
from experiments.sweeps.logs import followed
from experiments.tracking.tracker import NullTracker, Tracker
from experiments.tracking.wandb_run import is_mirrored, open_tracking
from reer.errors import InputError
from reer.models.shared import kept
from reer.processes import asked_to_end, handling

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from experiments.config.sweep import Launcher


def run(overrides: Sequence[str], multirun: bool, config_dir: Path | None = None) -> Outcome:
    """Compose and check every job, freeze the plans, then run them. Raises InputError before any work."""
    from experiments.config.compose import compose_jobs  # the process of a job composes nothing, and needs no Hydra

    composed = compose_jobs(overrides, multirun, config_dir)
    plans = [pin(plan) for plan in composed.plans]
    if not composed.is_sweep and not composed.launcher.is_basic:
        raise InputError(f"hydra/launcher={composed.launcher.name}: has no effect on one run; add -m, or leave it out")
    check_all(plans, composed.launcher)
    root = Path(plans[0]["runtime"]["root"])
    if not composed.is_sweep:
        result = execute(plans[0])
        summary(result)
        return Outcome((result,), (), root)
    jobs = freeze(plans)
    return Outcome(*ends(jobs, _codes(jobs, composed.launcher)), root)


def _codes(jobs: Sequence[Job], launcher: Launcher) -> list[int | None]:
    """Run the jobs that have something to do. Returns the exit code of each job, None where none is known."""
    waiting = [job for job in jobs if not _has_nothing_to_do(job.exp)]
    if launcher.is_basic:
        for job in waiting:
            with followed({"": job.log}, lambda _, text: show.errors.print(show.escape(text), soft_wrap=True)):
                launch(job, is_alone=True)
    elif waiting:
        logs = {job.exp.run_name: job.log for job in waiting}
        with followed(logs, lambda arm, text: show.paragraph(f"[{arm}] {text}")):
            _launched_by_hydra(waiting, launcher)
    return [job.code() if job in waiting else DONE for job in jobs]


def execute(plan: Mapping[str, Json], frozen: Mapping[str, str] | None = None) -> Result:
    """Run one experiment to its result; what the store holds is not computed again. `frozen` are the fingerprints that
    its steps had when its sweep began."""
    exp = experiment_from(plan)
    steps = preflight(exp)
    with Attempt(exp.folder) as attempt, kept():
        if frozen is not None:
            require_unchanged(steps, frozen)
        done = read_result(exp.folder)
        write_lock(exp, steps, plan)
        complete = all(Store(root=exp.runtime.store, runtime=exp.runtime).find(step) for step in steps.values())
        tracked = done.tracked if done and complete and is_current(done, steps) and is_mirrored(exp) else None
        tracker = NullTracker() if tracked else open_tracking(exp, plan, steps)
        exit_code = FAILED
        try:
            artifacts = _build(exp, steps, tracker, attempt)
            result = write_result(exp, artifacts, tracked or tracker.where or _tracked_meanwhile(exp, steps), confounds)
            tracker.result(result)
            exit_code = DONE
        except BaseException as error:
            tracker.failed(Failure(attempt.stage, reason_of(error)))
            if asked_to_end():
                tracker.preempting()
            raise
        finally:
            with handling([signal.SIGINT], signal.SIG_DFL):  # a second Ctrl-C does not wait for W&B
                tracker.finish(exit_code)
    return result


def _tracked_meanwhile(exp: Experiment, steps: Steps) -> str | None:
    """Where another process has mirrored this very run while it was built here."""
    result = read_result(exp.folder)
    return result.tracked if result and is_current(result, steps) else None


def _build(exp: Experiment, steps: Steps, tracker: Tracker, attempt: Attempt) -> dict[StepName, Artifact]:
    names = {step.fingerprint: name for name, step in steps.items()}
    with Progress(exp.run_name, len(names)) as progress, Overlap(steps.values()) as overlap:

        def started(step: Step) -> None:
            attempt.stage = str(names[step.fingerprint])
            progress.started()

        def ended(step: Step, artifact: Artifact, cached: bool) -> None:
            progress.ended(names[step.fingerprint], artifact, cached)
            tracker.stage(names[step.fingerprint], artifact, cached)

        def curve(_: str, row: Mapping[str, float]) -> None:
            tracker.curve(attempt.stage, row)

        monitor = Monitor(progress=progress.advance, curve=curve, started=started, ended=ended)
        store = Store(
            root=exp.runtime.store,
            runtime=exp.runtime,
            monitor=monitor,
            judgements=exp.runtime.judgements_folder,
            budget_usd=exp.budget.usd,
            run=exp.run_name,
            overlap=overlap,
        )
        artifacts: dict[StepName, Artifact] = {}
        for name, step in steps.items():
            attempt.stage = str(name)
            if name == training.TRAIN.named():
                require_before_training(exp, artifacts)
            try:
                artifacts[name] = store.build(step)
            except SystemExit as stop:  # a library may not end a run as if it had succeeded
                raise SystemExit(f"a library ended the process: {stop.code}") from stop
        return artifacts


def _has_nothing_to_do(exp: Experiment) -> bool:
    """Whether a job has ended before and would change nothing; says so in a line. It saves a process, which spends
    seconds on imports."""
    result = readable_result(exp.folder)
    if result is None or not is_current(result, pipeline(exp)) or result.why_stale():
        return False
    if not is_mirrored(exp) or result.confounds != beside_baseline(exp, result, confounds):
        return False
    show.line(f"{exp.run_name}: finished, nothing to do")
    return True


def _launched_by_hydra(jobs: Sequence[Job], launcher: Launcher) -> None:
    """Run the jobs by one of Hydra's launchers. It composes nothing of an experiment, wherever a job runs: all that it
    gets is the number of a job that is frozen."""
    from hydra.core.config_store import ConfigStore

    folder, settings, slots = str(jobs[0].folder.parent), dict(launcher.settings), jobs[0].exp.runtime.gpu_slots
    if slots and settings["n_jobs"] == -1:
        settings["n_jobs"] = len(slots)
    content = {
        "defaults": [
            "_self_",
            {"override hydra/launcher": "chosen"},
            {"override hydra/job_logging": "none"},
            {"override hydra/hydra_logging": "none"},
        ],
        "number": 0,
        "hydra": {"sweep": {"dir": folder, "subdir": "."}, "output_subdir": None, "job": {"chdir": False}},
    }
    ConfigStore.instance().store(name="jobs", node=content)
    ConfigStore.instance().store(group="hydra/launcher", name="chosen", node=settings)
    numbers = ",".join(map(str, range(len(jobs))))
    with contextlib.suppress(SystemExit):  # of a launcher that lost a job; what its jobs have left tells which
        _hydra(None, "jobs", ["-m", f"number={numbers}"], lambda cfg: launched_elsewhere(jobs[cfg["number"]]))


def show_plans(overrides: Sequence[str], multirun: bool, config_dir: Path | None) -> None:
    """`--cfg job`: the composed configuration of every job as YAML; nothing runs."""
    from experiments.config.compose import compose_jobs

    for plan in compose_jobs(overrides, multirun, config_dir).plans:
        show.line(f"# {plan['name']}\n{yaml.safe_dump(plan, sort_keys=False, allow_unicode=True)}---")


def show_info(what: str, overrides: Sequence[str], config_dir: Path | None) -> None:
    """`--info WHAT`: Hydra's own account of composition, without the schemas that no user chooses; nothing runs."""
    from experiments.config.compose import compose_jobs, search_path_override
    from experiments.config.schema import register

    compose_jobs(overrides, False, config_dir)
    register()
    given = [f"--info={what}", *overrides, *search_path_override(conf_folders(config_dir))]
    with _captured() as text:
        _hydra(CONF, "config", given, lambda _: None)
    show.line("\n".join(line for line in text.getvalue().split("\n") if "_schema" not in line))


@contextlib.contextmanager
def _captured() -> Iterator[io.StringIO]:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        yield text


def _hydra(folder: Path | None, config: str, arguments: Sequence[str], task: Callable[[DictConfig], object]) -> None:
    """Hydra's own main with these arguments: for its launchers and for `--info`."""
    import hydra

    before = sys.argv
    sys.argv = ["reer run", *arguments]
    try:
        hydra.main(config_path=folder and str(folder), config_name=config, version_base="1.3")(task)()
    finally:
        sys.argv = before
