"""compose → check → run. `python -m experiments.run` is the same as `reer run`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from experiments.config import CONF, compose_plans, experiment_from, register
from experiments.job import execute, guarded, preflight
from experiments.pipeline import pipeline
from experiments.report import terminal as show
from experiments.report.compare import compare
from experiments.report.html import report_name, write_html
from experiments.store.fingerprint import encode, fingerprint
from experiments.store.runs import Result, is_current, read_result
from reer.errors import InputError
from reer.files import write_json


def run(arguments: Sequence[str]) -> tuple[list[Result], list[str]]:
    """Compose and check every job of the command, then let Hydra launch them. Returns results and the names of jobs
    that have none. Arguments that only ask Hydra to show something are Hydra's alone."""
    shown = " ".join(arguments).find("--cfg job") >= 0  # Hydra's own --cfg knows no multirun
    plain = [a for a in arguments if a not in ("-m", "--multirun")]
    multirun = len(plain) < len(arguments)
    overrides = [a for a in plain if not a.startswith("-") and not (shown and a == "job")]
    if not shown and overrides != plain:
        _hydra(arguments, lambda cfg: None)
        return [], []
    plans = compose_plans(overrides, multirun)
    if shown:
        for plan in plans:
            show.line(f"# {plan['name']}\n{yaml.safe_dump(plan, sort_keys=False, allow_unicode=True)}---")
        return [], []
    check_all(plans)
    if multirun and not any(o.startswith("tracking.group=") for o in overrides):
        arguments = [*arguments, f"tracking.group=sweep-{fingerprint(encode(sorted(overrides)))[:6]}"]
    alone: list[dict[str, Any]] = []
    _hydra(arguments, lambda cfg: _job(cfg, alone))
    for plan in alone:
        show.summary(execute(plan))
    return _outcome(plans)


def check_all(plans: Sequence[dict[str, Any]]) -> None:
    """Everything that can be known to be wrong with any job, before the first starts. Raises InputError."""
    names: dict[str, list[str]] = {}
    for plan in plans:
        x = experiment_from(plan)
        steps = [step.fingerprint for step in preflight(x).values()]
        if names.setdefault(x.run_name, steps) != steps:
            raise InputError(f"two different jobs of this command are called {x.run_name!r}; leave out name=")


def _outcome(plans: Sequence[dict[str, Any]]) -> tuple[list[Result], list[str]]:
    results, missing = [], []
    for plan in plans:
        x = experiment_from(plan)
        result = read_result(x.folder)
        if result is not None and is_current(result, pipeline(x)):
            results.append(result)
        else:
            missing.append(x.run_name)
    return results, missing


def _hydra(arguments: Sequence[str], task: Callable[[Any], None]) -> None:
    """Hydra's own main on these arguments: its launchers, `--cfg`, `--info` and shell completion."""
    import hydra

    register()
    before = sys.argv
    sys.argv = ["reer run", *arguments]
    try:
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(task)()
    finally:
        sys.argv = before


def _job(cfg: Any, alone: list[dict[str, Any]]) -> None:
    """One job of Hydra's: in a process of its own if it is one of a sweep, else left for this one."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra_cfg = HydraConfig.get()
    (plan,) = compose_plans(list(hydra_cfg.overrides.task), multirun=True)
    if hydra_cfg.mode == RunMode.MULTIRUN:
        launch(plan)
    else:
        alone.append(plan)


def launch(plan: dict[str, Any]) -> int:
    """Run a plan in a process of its own; a failure stays that process's, so the other arms go on. SIGTERM is passed on
    to it, and ends the sweep."""
    x = experiment_from(plan)
    x.folder.mkdir(parents=True, exist_ok=True)
    path = Path(x.folder / "launch.json")
    write_json(path, plan)
    child = subprocess.Popen([sys.executable, "-m", "experiments.job", str(path.resolve())])
    told: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        told.append(number)
        child.send_signal(number)

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        code = child.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    if told:  # a sweep that is asked to stop begins no further arm
        raise KeyboardInterrupt
    return code


def rerun(folder: Path) -> Result:
    """Repeat one run from its frozen plan."""
    result = execute(json.loads((folder / "plan.json").read_text(encoding="utf-8")))
    show.summary(result)
    return result


def main(arguments: Sequence[str]) -> int:
    """Run, then show arms side by side and write the page. Returns 1 if a job did not finish."""
    results, missing = run(arguments)
    if results:
        comparisons = compare(results)
        if len(results) + len(missing) > 1:
            for comparison in comparisons:
                show.comparison(comparison)
        root = next(Path(step.path) for step in results[0].steps.values()).parents[2]
        show.where(write_html(comparisons, root / report_name(results)))
    for name in missing:
        show.error(f"{name} did not finish; the same command goes on from here")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
