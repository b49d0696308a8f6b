"""The command line: one function per verb. What a verb needs is imported when it runs, so `--help` stays fast."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from reer.errors import Incomplete, InputError
from reer.processes import Terminated, ended_by_requests, prepare_streams

if TYPE_CHECKING:
    from experiments.config import FrozenPlan
    from experiments.experiment import Experiment
    from experiments.run import Outcome
    from experiments.store.runs import Result

INTERRUPTED, TERMINATED = 130, 143
REFUSED_FLAG = "--experimental-rerun"  # of Hydra


class _Verbs(TyperGroup):
    """Ends a verb in good order when a signal asks for it, with another exit code than after Ctrl-C."""

    def invoke(self, ctx: typer.Context) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            with ended_by_requests():
                return super().invoke(ctx)
        except Terminated:
            raise typer.Exit(TERMINATED) from None


app = typer.Typer(
    name="reer",
    cls=_Verbs,
    help="REER ablations: search for thinking, fine-tune, judge, compare.\n\n"
    "Start with `reer run` (minutes on a laptop), then `reer run sweep=ablations`.",
    epilog="Exit codes: 0 done; 1 a job failed; 2 wrong input; 3 incomplete, rerun the same command to resume; "
    "130 interrupted; 143 ended by a signal.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _complete_override(incomplete: str) -> Iterator[str]:
    """Completions of an override: group names, then the choices of a group."""
    from experiments.choices import choice_names, conf_folders, groups

    folders = conf_folders()
    key, separator, _ = incomplete.partition("=")
    if separator:
        yield from (f"{key}={name}" for name in choice_names(key.lstrip("+~").partition("@")[0], folders))
    else:
        yield from (f"{name}=" for name in groups(folders))


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="OVERRIDE",
        help="GROUP=CHOICE or KEY=VALUE in Hydra's syntax; see `reer choices`.",
        autocompletion=_complete_override,
    ),
]
Multirun = Annotated[bool, typer.Option("-m", "--multirun", help="Run every combination of comma-separated values.")]
ConfigDir = Annotated[
    Path | None,
    typer.Option("--config-dir", help="A folder of your own YAML choices, added to the project's (or set REER_CONF)."),
]
Root = Annotated[Path, typer.Option("--root", help="The runtime.root of the runs.")]
Scale = Annotated[str | None, typer.Option("--scale", help="Only runs at this scale.")]


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
    from experiments.report.html import report_name, write_html

    if outcome.results:
        comparisons = compare_results(outcome.results)
        if len(outcome.results) + len(outcome.unfinished) > 1:
            for comparison in comparisons:
                terminal.comparison(comparison)
        show.where(write_html(comparisons, outcome.root / report_name(outcome.results)))
    for job in outcome.unfinished:
        show.error(f"{job.run_name} did not finish: {job.failure}")
    if outcome.unfinished:
        show.line("Finished work is kept; rerun the same command to resume what did not finish")
    return outcome.code


@app.command()
def plan(overrides: Overrides = None, multirun: Multirun = False, config_dir: ConfigDir = None) -> None:
    """Show what a command would run and cost. Nothing runs.

    For every arm and stage: cached, will run, or shared with another arm; calls,
    tokens, device-hours and money, in total and for what is left to do.

    \b
      reer plan sweep=ablations scale=paper
    """
    from experiments.config import experiment_from
    from experiments.plan import make_plan
    from experiments.report.plan_tables import show_plan

    show_plan(make_plan([experiment_from(plan) for plan in _composed(overrides, multirun, config_dir)]))


@app.command()
def doctor(
    overrides: Overrides = None,
    store: Annotated[bool, typer.Option("--store", help="Check everything under runtime.root instead.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="With --store: move what is damaged aside.")] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Check this machine against a configuration. Nothing runs.

    Each check shows what was found, what is wanted and how to fix it. Exit code 1
    if a check fails. With --store, every stored file is compared with its
    checksum. Add --repair while nothing runs: damaged results and lines are
    moved aside, and the same run command computes only those again.

    \b
      reer doctor scale=single_gpu
      reer doctor --store runtime.root=outputs
      reer doctor --store --repair runtime.root=outputs
    """
    from experiments import doctor as checks
    from experiments.report import console as show

    exp = _one(overrides, config_dir)
    if store:
        raise typer.Exit(0 if checks.store_is_intact(exp.runtime, repair=repair, say=show.line) else 1)
    if repair:
        raise InputError("--repair: want it together with --store")
    rows = [*checks.required(exp), *checks.informational(exp)]
    show.table(
        "doctor",
        ("", "check", "found", "wanted", "what to do"),
        [("ok" if row.ok else "FAIL", row.what, row.found, row.wanted, "" if row.ok else row.advice) for row in rows],
    )
    raise typer.Exit(0 if all(row.ok for row in rows) else 1)


@app.command(name="import-thinking")
def import_thinking(overrides: Overrides = None, config_dir: ConfigDir = None) -> None:
    """Import the thinking a data set contains; no search.

    Reads the text before `</think>` in each solution of the source, as after a
    search. Then train on it with `reer run thinking=from_source`.

    \b
      reer import-thinking source=deepwriting
      reer import-thinking source=jsonl source.path=FILE
    """
    from experiments.config import compose_one, experiment_from
    from experiments.pipeline import synthetic_rows
    from experiments.report import console as show
    from experiments.run import pin
    from experiments.stages.synthesis import source_thinking
    from experiments.store.store import Store

    given = ["thinking=from_source", *(overrides or ())]
    exp = experiment_from(pin(compose_one(given, config_dir)))
    step = next(step for step in synthetic_rows(exp) if step.name == source_thinking.named())
    artifact = Store(root=exp.runtime.store, runtime=exp.runtime).build(step)
    show.line(f"thinking imported from {exp.source.name}: {artifact.metrics.headline()}")
    show.line(f"in {artifact.path}")
    show.line(f"Train on it: reer run {' '.join(given)}, or with sweep=ablations")


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(metavar="BENCHMARK|OVERRIDE", help="What to download.")] = None,
) -> None:
    """Download a benchmark's own data and judge prompts.

    Without a name: list what can be downloaded, with licence and size. Files come
    from the pinned commit of the benchmark's repository and are checked by sha256.

    \b
      reer fetch writingbench
      reer fetch writingbench benchmark.writingbench.data.folder=DIR
      reer fetch writingbench benchmark.writingbench.data.mirror=https://HOST
    """
    from experiments import fetch as downloads

    given = list(names or ())
    downloads.run([name for name in given if "=" not in name], [override for override in given if "=" in override])


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
def rerun(
    name: Annotated[str, typer.Argument(help="The run to repeat.")],
    root: Root = Path("outputs"),
    scale: Scale = None,
    seed: Annotated[int, typer.Option(help="The seed of the run.")] = 0,
) -> None:
    """Repeat a run from its frozen plan.

    \b
      reer rerun short_trajectories --scale smoke --seed 1
    """
    from experiments import run as jobs
    from experiments.report import console as show
    from experiments.report import terminal
    from experiments.report.compare import compare as compare_results
    from experiments.report.html import report_name, write_html
    from experiments.store.runs import find_run, read_plan

    result = jobs.execute(read_plan(find_run(root / "runs", name, scale, seed) / "plan.json"))
    terminal.summary(result)
    show.where(write_html(compare_results([result]), root / report_name([result])))


@app.command()
def status(root: Root = Path("outputs")) -> None:
    """List the runs and whether each has finished.

    \b
      reer status --root outputs
    """
    from experiments.report import console as show
    from experiments.store.runs import state_of

    runs = [path.parent for path in sorted((root / "runs").glob("*/*/s*/plan.json"))]
    if not runs:
        show.line(f"no runs in {root / 'runs'}; start one with: reer run")
        return
    show.table("runs", ("run", "state"), [("/".join(folder.parts[-3:]), state_of(folder)) for folder in runs])


@app.command()
def compare(root: Root = Path("outputs"), scale: Scale = None) -> None:
    """Show the arms side by side, with paired differences.

    \b
      reer compare --scale smoke
    """
    from experiments.report import terminal
    from experiments.report.compare import compare as compare_results

    for comparison in compare_results(_current_results(root, scale)):
        terminal.comparison(comparison)


@app.command()
def report(
    root: Root = Path("outputs"),
    scale: Scale = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; default ROOT/report.html.")] = None,
) -> None:
    """Write the comparison of the arms as one HTML page.

    \b
      reer report --out page.html
    """
    from experiments.report import console as show
    from experiments.report.compare import compare as compare_results
    from experiments.report.html import write_html

    show.where(write_html(compare_results(_current_results(root, scale)), out or root / "report.html"))


@app.command()
def choices(
    group: Annotated[str | None, typer.Argument(help="Only this group.")] = None, config_dir: ConfigDir = None
) -> None:
    """List every group, its choices and the default.

    A choice marked * is used where no override is given.

    \b
      reer choices
      reer choices search
    """
    from experiments.choices import choices as list_choices
    from experiments.choices import conf_folders
    from experiments.report.console import show_choices

    show_choices(list_choices(conf_folders(config_dir), group))


@app.command(hidden=True)
def job(plan_file: Annotated[Path, typer.Argument(help="A frozen plan.")]) -> None:
    """Run one frozen plan: the process of one job of a sweep."""
    from experiments import run as jobs
    from experiments.report import terminal
    from experiments.store.runs import read_plan

    terminal.summary(jobs.execute(read_plan(plan_file)))


def _composed(overrides: Sequence[str] | None, multirun: bool, config_dir: Path | None) -> list[FrozenPlan]:
    """The plans of a command that runs nothing; revisions are those resolved by earlier runs."""
    from experiments.config import compose_plans
    from experiments.revisions import pinned

    plans = compose_plans(list(overrides or ()), multirun, config_dir)
    return [pinned(plan, Path(plan["runtime"]["root"])) for plan in plans]


def _one(overrides: Sequence[str] | None, config_dir: Path | None) -> Experiment:
    from experiments.config import compose_one, experiment_from
    from experiments.revisions import pinned

    plan = compose_one(list(overrides or ()), config_dir)
    return experiment_from(pinned(plan, Path(plan["runtime"]["root"])))


def _current_results(root: Path, scale: str | None) -> list[Result]:
    """Results whose stages are unchanged. A stale result is left out, and a line says so."""
    from experiments.report import console as show
    from experiments.store.runs import all_results

    current = []
    for result in all_results(root / "runs"):
        if scale not in (None, result.scale):
            continue
        if reason := result.why_stale():
            show.line(f"left out: {result.run_name}: {reason}")
        else:
            current.append(result)
    return current


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `reer`. Returns the exit code; expected errors are printed without a traceback."""
    prepare_streams()
    from experiments.report import console
    from experiments.store.disk import disk_errors

    given = list(sys.argv[1:] if arguments is None else arguments)
    console.quiet_libraries()
    try:
        _refuse_pickle(given)
        with disk_errors(Path.cwd()):
            app(_verb_first(given) or ["--help"], prog_name="reer")
    except SystemExit as stop:
        return _code_of(stop)
    except InputError as error:
        console.error(str(error))
        return 2
    except Incomplete as error:
        console.error(str(error))
        return 3
    return 0


def _code_of(stop: SystemExit) -> int:
    """The exit code; what a library gave as a text instead of a code is an error, and shown."""
    from experiments.report import console

    if stop.code in (INTERRUPTED, TERMINATED):
        console.error("interrupted; finished work is kept, rerun the same command to resume")
    if isinstance(stop.code, str):
        console.error(stop.code)
        return 1
    return stop.code or 0


def _refuse_pickle(given: Sequence[str]) -> None:
    if any(argument.partition("=")[0] == REFUSED_FLAG for argument in given):
        raise InputError(
            f"{REFUSED_FLAG} is refused: it loads a pickle, which can run any code; repeat a run with: reer rerun NAME"
        )


def _verb_first(given: list[str]) -> list[str]:
    """The arguments with a `-m` that stands before the verb moved behind it."""
    return [*given[1:2], given[0], *given[2:]] if given[:1] in (["-m"], ["--multirun"]) else given


if __name__ == "__main__":
    sys.exit(main())
