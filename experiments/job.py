"""The body of one job: a frozen plan in, a finished run out. `python -m experiments.job PLAN` is a process of its own,
so that arms of a sweep share no GPU context, no caches and no W&B run."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evals.benchmark import JudgedBenchmark
from experiments import doctor
from experiments.config import experiment_from
from experiments.experiment import Experiment
from experiments.pipeline import pipeline
from experiments.report import terminal as show
from experiments.report.confounds import confounds
from experiments.store.runs import Result, check_name, is_current, read_result, write_lock, write_result
from experiments.store.step import Artifact, Step, StepName, Steps
from experiments.store.store import Monitor, Store
from experiments.tracking.tracker import NullTracker, Tracker
from experiments.tracking.wandb_run import flat, open_tracking
from reer.errors import Incomplete, InputError


def preflight(x: Experiment) -> Steps:
    """Everything that can be known to be wrong before any work: names, keys, files, parallelism."""
    steps = pipeline(x)
    check_name(x, steps)
    for benchmark in x.benchmark.values():
        if isinstance(benchmark, JudgedBenchmark):
            benchmark.items()
    doctor.require(x)
    return steps


def execute(plan: Mapping[str, Any]) -> Result:
    """Run one experiment to its result; what is there already is not computed again."""
    x = experiment_from(plan)
    steps = preflight(x)
    done = read_result(x.folder)
    write_lock(x, steps, plan)
    complete = all(Store(x.runtime.store, x.runtime).find(step) for step in steps.values())
    tracked = done.tracked if done and complete and is_current(done, steps) else None
    tracker = NullTracker() if tracked else open_tracking(x, plan, steps)
    exit_code = 1
    try:
        artifacts = _build(x, steps, tracker)
        result = write_result(x, artifacts, tracked or tracker.where, confounds)
        tracker.summary(flat({label: asdict(pair) for label, pair in result.confounds.items()}, "confounds/"))
        exit_code = 0
    finally:
        tracker.finish(exit_code)
    return result


def _build(x: Experiment, steps: Steps, tracker: Tracker) -> dict[StepName, Artifact]:
    names = {step.fingerprint: name for name, step in steps.items()}
    with show.Progress(x.run_name, len(names)) as progress:

        def started(step: Step) -> None:
            progress.started(names[step.fingerprint])

        def ended(step: Step, artifact: Artifact, cached: bool) -> None:
            progress.ended(names[step.fingerprint], artifact, cached)
            tracker.stage(names[step.fingerprint], artifact)

        monitor = Monitor(progress=progress.advance, curve=tracker.curve, started=started, ended=ended)
        store = Store(x.runtime.store, x.runtime, monitor, x.runtime.judgements_folder, x.budget.usd)
        return {name: store.build(step) for name, step in steps.items()}


def main() -> int:
    """Entry point of the subprocess."""
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    show.summary(execute(plan))
    return 0


def guarded(verb: Callable[[], int]) -> int:
    """A verb's exit code: 2 for what the user can mend and 3 for work that stopped early, both told without a
    traceback; anything else keeps it."""
    quiet_libraries()
    try:
        return verb()
    except InputError as error:
        show.error(str(error))
        return 2
    except Incomplete as stop:
        show.error(str(stop))
        return 3
    except KeyboardInterrupt:
        show.error("interrupted; nothing is lost, the same command goes on from here")
        return 130


def quiet_libraries() -> None:
    """Our log lines, not the libraries' progress bars; idle OpenMP threads must not spin (they cost a busy machine
    up to seven times the time). Called before torch is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    for name in ("experiments", "reer", "evals"):
        logging.getLogger(name).setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(guarded(main))
