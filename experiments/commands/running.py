"""Verbs that run something, or show what would run."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.commands.app import OUTPUTS, AsJson, ConfigDir, Multirun, Overrides, app, existing
from reer.errors import InputError

if TYPE_CHECKING:
    from experiments.sweeps.jobs import Outcome


@app.command()
def run(
    overrides: Overrides = None,
    multirun: Multirun = False,
    cfg: Annotated[str | None, typer.Option("--cfg", help="`job` prints the composed configuration; no run.")] = None,
    info: Annotated[
        str | None, typer.Option("--info", help="Print how Hydra composes: defaults-tree, searchpath, ...; no run.")
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Run an experiment, an arm or a sweep.

    Without overrides: the main experiment with a 135M model, on this machine.
    Stages that the store holds are not computed again; the same command resumes
    an interrupted run.

    \b
      reer run
      reer run experiment=NAME scale=SCALE
      reer run sweep=ablations scale=smoke
      reer run -m experiment=full,short_trajectories seed=0,1
      reer run -m 'experiment=glob(no_*)' 'seed=range(0,3)'
      reer run design=leave_one_out seed=0,1
    """
    from experiments import run as jobs

    given = list(overrides or ())
    if cfg is not None and info is not None:
        raise InputError("--cfg and --info: want one of them")
    if cfg is not None:
        if cfg != "job":
            raise InputError(f"--cfg {cfg}: want --cfg job; Hydra's own settings are shown by --info config")
        jobs.show_plans(given, multirun, config_dir)
    elif info is not None:
        wanted = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
        if info not in wanted:
            raise InputError(f"--info {info}: want one of {', '.join(wanted)}")
        if multirun:
            raise InputError("--info and -m: want one of them; --cfg job -m prints the configuration of every job")
        jobs.show_info(info, given, config_dir)
    else:
        raise typer.Exit(_present(jobs.run(given, multirun, config_dir)))


def _present(outcome: Outcome) -> int:
    """The arms side by side, the HTML page, and why each other job has no result. Returns the exit code."""
    from experiments.report import console as show
    from experiments.report import terminal
    from experiments.report.compare import compare as compare_results
    from experiments.report.page.page import report_name, write_html

    if outcome.results:
        comparisons = compare_results(outcome.results)
        if len(outcome.results) + len(outcome.unfinished) > 1:
            for comparison in comparisons:
                terminal.comparison(comparison)
        left_out = [f"{job.run_name}: failed: {job.failure.headline}" for job in outcome.unfinished]
        show.where(write_html(comparisons, outcome.root / report_name(outcome.results), left_out))
    for job in outcome.unfinished:
        show.error(f"{job.run_name} did not finish: {job.failure}" + (f"; log: {job.log}" if job.log else ""))
    if outcome.unfinished:
        show.line("Finished work is kept; rerun the same command to resume what did not finish")
    return outcome.code


@app.command()
def plan(
    overrides: Overrides = None,
    multirun: Multirun = False,
    config_dir: ConfigDir = None,
    stages: Annotated[bool, typer.Option("--stages", help="Also the stages of each arm of a sweep.")] = False,
    detect: Annotated[
        list[str] | None,
        typer.Option("--detect", metavar="[MEASURE=]SIZE", help="What to buy so that a difference is detected."),
    ] = None,
    as_json: AsJson = False,
    actual: Annotated[
        str | None, typer.Option("--actual", metavar="NAME", help="What a finished run took, beside its plan.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", help="With --actual: the runtime.root of the run (default outputs).", callback=existing),
    ] = None,
) -> None:
    """Show what a command would run and cost. Nothing runs.

    The arms of a design, then what the store lacks: calls, tokens, device-hours,
    hours on the clock and money, of each arm alone and of what it adds to the
    others; and what another engine would take. `reer calibrate` measures the
    rates of this machine. Then, for each measure, the smallest difference that
    two arms would show, from the noise of finished runs under the same root.

    \b
      reer plan sweep=ablations scale=paper
      reer plan -m seed=0,1,2 --detect writing/quality=0.3
      reer plan design=factorial seed=0,1,2
      reer plan --actual full/laptop/s0
    """
    if actual is not None:
        if overrides or multirun or stages or config_dir or detect or as_json:
            raise InputError("--actual: want nothing but --root with it; the plan is the one that the run froze")
        _actual(actual, root or OUTPUTS)
        return
    if root is not None:
        raise InputError("--root: want it together with --actual; a plan takes runtime.root=FOLDER")
    from experiments.config.compose import compose_jobs
    from experiments.config.parts import experiment_from
    from experiments.doctor import retirements
    from experiments.plan import make_plan
    from experiments.planning.detection import Wanted
    from experiments.report import console
    from experiments.report.plan_tables import plan_as_json, show_plan
    from experiments.revisions import pinned

    jobs = compose_jobs(list(overrides or ()), multirun, config_dir)
    plans = [pinned(plan, Path(plan["runtime"]["root"])) for plan in jobs.plans]
    experiments = [experiment_from(plan) for plan in plans]
    ending = dict.fromkeys(line for exp in experiments for line in retirements(exp))
    made = make_plan(experiments, jobs.arms, jobs.design.factors, Wanted.parse(detect or ()))
    if as_json:
        plan_as_json(made)
        return
    for line in ending:
        console.line(line)
    for line in dict.fromkeys(f"{role}: {judge.name}" for exp in experiments for role, judge in exp.judges.items()):
        console.line(line)
    show_plan(made, stages)


def _actual(name: str, root: Path) -> None:
    """The planned and the actual seconds and tokens of a finished run."""
    from experiments.config.parts import experiment_from
    from experiments.history.plans import frozen_plan
    from experiments.planning.actual import planned_and_actual
    from experiments.report.plan_tables import show_planned_and_actual
    from experiments.store.runs import find_run, read_result

    folder = find_run(root / "runs", name)
    result = read_result(folder)
    if result is None:
        raise InputError(f"run {name}: has not finished; `reer status` shows what is missing")
    rows = planned_and_actual(experiment_from(frozen_plan(folder, root)), result)
    show_planned_and_actual(result.run_name, rows)


@app.command(name="import-thinking")
def import_thinking(overrides: Overrides = None, config_dir: ConfigDir = None) -> None:
    """Import the thinking a data set contains; no search.

    Reads the text before `</think>` in each solution of the source, as after a
    search. Then train on it with `reer run thinking=from_source`.

    \b
      reer import-thinking source=deepwriting
      reer import-thinking source=jsonl source.path=FILE
    """
    from experiments.config.compose import compose_one
    from experiments.config.parts import experiment_from
    from experiments.pipeline import synthetic_rows
    from experiments.report import console as show
    from experiments.stages.synthesis import source_thinking
    from experiments.store.store import Store
    from experiments.sweeps.checks import pin

    given = ["thinking=from_source", *(overrides or ())]
    exp = experiment_from(pin(compose_one(given, config_dir)))
    step = next(step for step in synthetic_rows(exp) if step.name == source_thinking.named())
    artifact = Store(root=exp.runtime.store, runtime=exp.runtime).build(step)
    show.line(f"thinking imported from {exp.source.name}: {artifact.metrics.headline()}")
    show.line(f"in {artifact.path}")
    show.line(f"Train on it: reer run {' '.join(given)}, or with sweep=ablations")


@app.command()
def pairwise(
    arm: Annotated[str, typer.Argument(help="A finished run.")],
    baseline: Annotated[str, typer.Argument(help="The finished run it is compared with.")],
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
) -> None:
    """Judge the answers of two runs head to head.

    Each pair of answers to an item is judged in both orders.

    \b
      reer pairwise short_trajectories full scale=smoke judge=scripted
    """
    from experiments import pairwise as head_to_head

    head_to_head.pairwise(arm, baseline, overrides or (), config_dir)


@app.command()
def judge(
    file: Annotated[
        Path, typer.Argument(help="Rows with an answer and the id or prompt of its item.", exists=True, dir_okay=False)
    ],
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
) -> None:
    """Judge answers that were made elsewhere, as a row beside the arms.

    The rows of FILE are {"id" or "prompt", "answer", optionally "thinking"}. The
    run is called by the file's name, and `reer compare` shows it with the arms of
    the same judge, benchmark and source.

    \b
      reer judge answers.jsonl benchmark=[writing] judge=claude_46_sonnet
      reer judge answers.jsonl benchmark=[rubrics] benchmark.rubrics.path=FILE
    """
    from experiments import run as jobs

    given = [f"name={file.stem}", "answers=file", f"answers.path='{file}'", *(overrides or ())]
    raise typer.Exit(_present(jobs.run(given, False, config_dir)))


@app.command(hidden=True)
def job(
    file: Annotated[Path, typer.Argument(help="A frozen job of a sweep.")],
    gpus: Annotated[str | None, typer.Option(help="The GPUs it may use, as CUDA_VISIBLE_DEVICES has them.")] = None,
) -> None:
    """Run one job of a sweep from its frozen plan: the body of its process."""
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    from experiments import run as jobs
    from experiments.report import console as show
    from experiments.sweeps.jobs import read_job

    began, frozen = time.monotonic(), read_job(file)
    result = jobs.execute(frozen.plan, frozen.steps)
    show.line(f"{result.run_name}: done in {time.monotonic() - began:.0f} s")
