"""compose → check → run: the jobs of one command, each from its frozen plan.

The job of a single run is done in this process; each job of a sweep has a process of its own, so that arms share no
GPU context, no caches and no W&B run, and one that fails does not stop the others.
"""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from evals.benchmark import JudgedBenchmark
from experiments import doctor
from experiments.choices import CONF, conf_folders
from experiments.config import BASIC, FrozenPlan, compose_jobs, experiment_from, register, search_path_override
from experiments.experiment import Experiment
from experiments.pipeline import pipeline
from experiments.report import console as show
from experiments.report.measures import confounds
from experiments.report.progress import Progress
from experiments.report.summary import summary
from experiments.revisions import commit_on_hub, pinned
from experiments.store.failures import Attempt, Failure, forget_failure, read_failure, reason_of, write_failure
from experiments.store.fingerprint import Json
from experiments.store.runs import (
    Result,
    beside_baseline,
    check_name,
    is_current,
    read_result,
    readable_result,
    write_lock,
    write_result,
)
from experiments.store.step import Artifact, Step, StepName, Steps
from experiments.store.store import Monitor, Store
from experiments.tracking.tracker import NullTracker, Tracker
from experiments.tracking.wandb_run import is_mirrored, open_tracking
from reer.errors import InputError
from reer.files import write_json
from reer.processes import Terminated, handling, run_child

DONE, FAILED, WRONG_INPUT, INCOMPLETE = 0, 1, 2, 3  # exit codes of a job, and of a command


@dataclass(frozen=True)
class Unfinished:
    """A job that ended without a result: its exit code, and why."""

    run_name: str
    code: int
    failure: Failure


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


def run(overrides: Sequence[str], multirun: bool, config_dir: Path | None = None) -> Outcome:
    """Compose and check every job, freeze the plans, then run them. Raises InputError before any work."""
    jobs = compose_jobs(overrides, multirun, config_dir)
    plans = [pin(plan) for plan in jobs.plans]
    check_all(plans)
    if not jobs.is_sweep:
        summary(execute(plans[0]))
        codes: list[int | None] = [DONE]
    elif jobs.launcher == BASIC:
        codes = [DONE if _has_nothing_to_do(plan) else launch(plan) for plan in plans]
    else:
        arguments = ["-m", *overrides, *search_path_override(conf_folders(config_dir))]
        codes = _launched_by_hydra(arguments, plans)
    return Outcome(*ends(plans, codes), Path(plans[0]["runtime"]["root"]))


def pin(plan: FrozenPlan) -> FrozenPlan:
    """The plan with every hub data set at a commit; says so in a line for each one that is resolved now."""

    def lookup(repo: str, revision: str) -> str:
        commit = commit_on_hub(repo, revision)
        show.line(f"{repo}: revision {revision!r} is commit {commit}; kept for all runs in {root / 'revisions.json'}")
        return commit

    root = Path(plan["runtime"]["root"])
    return pinned(plan, root, lookup)


def check_all(plans: Sequence[FrozenPlan]) -> None:
    """Every mistake that can be found in any job before the first starts. Raises InputError."""
    names: dict[str, list[str]] = {}
    for plan in plans:
        exp = experiment_from(plan)
        steps = [step.fingerprint for step in preflight(exp).values()]
        if names.setdefault(exp.run_name, steps) != steps:
            raise InputError(f"two different jobs of this command are called {exp.run_name!r}; leave out name=")


def preflight(exp: Experiment) -> Steps:
    """Every mistake that can be found before any work: names, keys, files, judges, parallelism. Returns the steps."""
    steps = pipeline(exp)
    check_name(exp, steps)
    judges = [exp.judge] if exp.reliability.second is None else [exp.judge, exp.reliability.second]
    for benchmark in exp.benchmark.values():
        if isinstance(benchmark, JudgedBenchmark):
            benchmark.items()
            for judge in judges:
                judge.require_grades_of(benchmark)
                judge.require_prices(exp.budget.usd)
    doctor.require(exp)
    return steps


def execute(plan: Mapping[str, Json]) -> Result:
    """Run one experiment to its result; what the store holds is not computed again."""
    exp = experiment_from(plan)
    steps = preflight(exp)
    with Attempt(exp.folder) as attempt:
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
            if isinstance(error, Terminated):
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
    with Progress(exp.run_name, len(names)) as progress:

        def started(step: Step) -> None:
            attempt.stage = str(names[step.fingerprint])
            progress.started(names[step.fingerprint])

        def ended(step: Step, artifact: Artifact, cached: bool) -> None:
            progress.ended(names[step.fingerprint], artifact, cached)
            tracker.stage(names[step.fingerprint], artifact)

        def curve(_: str, row: Mapping[str, float]) -> None:
            tracker.curve(attempt.stage, row)

        monitor = Monitor(progress=progress.advance, curve=curve, started=started, ended=ended)
        store = Store(
            root=exp.runtime.store,
            runtime=exp.runtime,
            monitor=monitor,
            judgements=exp.runtime.judgements_folder,
            budget_usd=exp.budget.usd,
        )
        artifacts: dict[StepName, Artifact] = {}
        for name, step in steps.items():
            attempt.stage = str(name)
            try:
                artifacts[name] = store.build(step)
            except SystemExit as stop:  # a library may not end a run as if it had succeeded
                raise SystemExit(f"a library ended the process: {stop.code}") from stop
        return artifacts


def _has_nothing_to_do(plan: FrozenPlan) -> bool:
    """Whether a job has ended before and would change nothing; says so in a line. It saves a process, which spends
    seconds on imports."""
    exp = experiment_from(plan)
    result = readable_result(exp.folder)
    if result is None or not is_current(result, pipeline(exp)) or result.why_stale():
        return False
    if not is_mirrored(exp) or result.confounds != beside_baseline(exp, result, confounds):
        return False
    show.line(f"{exp.run_name}: finished, nothing to do")
    return True


def launch(plan: FrozenPlan) -> int:
    """Run a frozen plan in a process of its own and return its exit code. Raises KeyboardInterrupt or Terminated once
    that process has ended, where a signal asked this one to end."""
    exp = experiment_from(plan)
    exp.folder.mkdir(parents=True, exist_ok=True)
    forget_failure(exp.folder)
    path = exp.folder / "launch.json"
    write_json(path, plan)
    code = run_child([sys.executable, "-m", "experiments.cli", "job", str(path.resolve())])
    if code and read_failure(exp.folder) is None:
        write_failure(exp.folder, Failure("", _how_it_ended(code)))
    return code


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code}; the reason is in its output above"
    killed = signal.Signals(-code)
    memory = "; the system kills a process so when memory runs out" if killed == signal.SIGKILL else ""
    return f"its process was ended by {killed.name}{memory}"


def _launched_by_hydra(arguments: Sequence[str], plans: Sequence[FrozenPlan]) -> list[int | None]:
    """Run the plans by one of Hydra's launchers. Returns the exit code of each job, None where none is known: the jobs
    may run on other machines, so they leave their codes in files."""
    folder = Path(plans[0]["runtime"]["root"]).resolve() / "sweeps" / uuid.uuid4().hex
    files = [folder / f"{number}.json" for number in range(len(plans))]

    def task() -> None:
        number = _job_number()
        write_json(files[number], launch(plans[number]))

    _hydra(arguments, task)
    return [json.loads(file.read_text(encoding="utf-8")) if file.exists() else None for file in files]


def ends(plans: Sequence[FrozenPlan], codes: Sequence[int | None]) -> tuple[tuple[Result, ...], tuple[Unfinished, ...]]:
    """The results of the jobs that ended well, and the others. A job whose process failed has no result here, whatever
    an earlier one left in its folder."""
    results: list[Result] = []
    unfinished: list[Unfinished] = []
    for plan, code in zip(plans, codes, strict=True):
        exp = experiment_from(plan)
        result = read_result(exp.folder) if code == DONE else None
        if result is not None and is_current(result, pipeline(exp)):
            results.append(result)
        else:
            unknown = Failure("", _why_none(code, result))
            unfinished.append(Unfinished(exp.run_name, code or FAILED, read_failure(exp.folder) or unknown))
    return tuple(results), tuple(unfinished)


def _why_none(code: int | None, result: Result | None) -> str:
    if code is None:
        return "its launcher did not start it, or lost it"
    if result is not None:
        return (
            "a file that it reads was changed after the sweep had begun, so its result is not comparable with those of "
            "the other arms; rerun the same command"
        )
    return "it left no result"


def show_plans(overrides: Sequence[str], multirun: bool, config_dir: Path | None) -> None:
    """`--cfg job`: the composed configuration of every job as YAML; nothing runs."""
    for plan in compose_jobs(overrides, multirun, config_dir).plans:
        show.line(f"# {plan['name']}\n{yaml.safe_dump(plan, sort_keys=False, allow_unicode=True)}---")


def show_info(what: str, overrides: Sequence[str], config_dir: Path | None) -> None:
    """`--info WHAT`: Hydra's own account of composition, without the schemas that no user chooses; nothing runs."""
    compose_jobs(overrides, False, config_dir)
    given = [f"--info={what}", *overrides, *search_path_override(conf_folders(config_dir))]
    with _captured() as text:
        _hydra(given, lambda: None)
    show.line("\n".join(line for line in text.getvalue().split("\n") if "_schema" not in line))


@contextlib.contextmanager
def _captured() -> Iterator[io.StringIO]:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        yield text


def _hydra(arguments: Sequence[str], task: Callable[[], object]) -> None:
    """Hydra's own main with these arguments: for its launchers and for `--info`."""
    import hydra

    register()
    before = sys.argv
    sys.argv = ["reer run", *arguments]
    try:
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(lambda _: task())()
    finally:
        sys.argv = before


def _job_number() -> int:
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get().job.num
