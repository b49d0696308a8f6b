"""The verbs: run, rerun, plan, doctor, fetch, status, compare, report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import doctor
from experiments.experiment import Experiment
from experiments.job import guarded
from experiments.plan import judge_costs
from experiments.report import terminal as show
from experiments.report.compare import compare
from experiments.report.html import report_name, write_html
from experiments.stages import evaluation, synthesis, training
from experiments.store.runs import Result, all_results, find_run, read_result
from experiments.store.step import Step
from experiments.store.store import Store
from reer.training.cost import TrainingSetSize

ABOUT = """REER ablations: search, train, judge, compare.

  reer run                              the main experiment, on this machine
  reer run experiment=NAME scale=SCALE  one arm at one scale
  reer run sweep=ablations              the six arms of the paper
  reer run -m experiment=full,short_trajectories seed=0,1
  reer plan [as run]                    what is cached, what would run, what it would cost
  reer fetch [BENCHMARK]                what can be downloaded; a benchmark's own data and judge prompts
  reer doctor [as run]                  whether this machine can do it, and what to mend
  reer adopt source=deepwriting         take over the thinking a data set came with, in the place of a search
  reer rerun NAME                       repeat one run from its frozen plan
  reer compare, reer report             the arms side by side, in the terminal or as HTML
  reer pairwise ARM BASELINE judge=…    which run's answers a judge prefers, in both orders
  reer status                           the runs that are here
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `reer`. Returns 0, 1 if an arm failed, 2 for bad input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return guarded(lambda: _verb(given))


def _verb(arguments: Sequence[str]) -> int:
    verb, rest = (arguments[0], list(arguments[1:])) if arguments else ("--help", [])
    if verb == "run":
        from experiments.run import main as run

        return run(rest)
    if verb == "plan":
        return _plan(rest)
    if verb == "fetch":
        from experiments.fetch import main as fetch

        return fetch(rest)
    if verb == "pairwise":
        from experiments.pairwise import pairwise

        return pairwise(rest)
    if verb in ("doctor", "adopt"):
        return {"doctor": _doctor, "adopt": _adopt}[verb](rest)
    parser = argparse.ArgumentParser("reer", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("run", "plan", "doctor", "adopt", "fetch", "pairwise"):
        verbs.add_parser(name, help="takes Hydra overrides, see above")
    for name in ("rerun", "status", "compare", "report"):
        verb_parser = verbs.add_parser(name)
        verb_parser.add_argument("--root", type=Path, default=Path("outputs"), help="runtime.root of the runs")
        verb_parser.add_argument("--scale", help="only runs at this scale")
        if name == "rerun":
            verb_parser.add_argument("name")
            verb_parser.add_argument("--seed", type=int, default=0)
        if name == "report":
            verb_parser.add_argument("--out", type=Path, help="where to write; default ROOT/report.html")
    parsed = parser.parse_args(arguments)
    return {"rerun": _rerun, "status": _status, "compare": _compare, "report": _report}[parsed.verb](parsed)


def _plan(arguments: Sequence[str]) -> int:
    from experiments.config import compose_plans, experiment_from
    from experiments.pipeline import pipeline

    plans = compose_plans(
        [a for a in arguments if not a.startswith("-")], "-m" in arguments or "--multirun" in arguments
    )
    claimed: dict[str, str] = {}
    searches: list[Experiment] = []
    trainings: list[tuple[Experiment, TrainingSetSize | None]] = []
    judged: list[Experiment] = []
    rows: list[tuple[str, list[tuple[str, str]]]] = []
    executions = 0
    for plan in plans:
        x = experiment_from(plan)
        store, cells = Store(x.runtime.store, x.runtime), []
        for name, step in pipeline(x).items():
            executions += 1
            status = store.status(step)
            if status != "cached":
                owner = claimed.setdefault(step.fingerprint, x.name)
                if name == synthesis.refine.named() and owner == x.name and x.scale.pairs:
                    searches.append(x)
                if name.stage == evaluation.grade.name and x not in judged:
                    judged.append(x)
                if name == training.train.named() and owner == x.name:
                    trainings.append((x, _rendered(store, step)))
                status = status if owner == x.name else f"with {owner}"
            cells.append((str(name), status))
        rows.append((f"{x.name} s{x.seed}", cells))
    cached = sum(status == "cached" for _, cells in rows for _, status in cells)
    show.plan(rows, {"stages in all": executions, "cached": cached, "to compute": len(claimed)})
    for x in searches:
        show.search_cost(x.run_name, x)
    for x, load in trainings:
        show.training_cost(x.run_name, x, load)
    for x in judged:
        for found in judge_costs(x):
            show.judge_cost(x.run_name, found)
    return 0


def _rendered(store: Store, train: Step) -> TrainingSetSize | None:
    """What a training would read, where it has been rendered already."""
    found = store.find(train.inputs["rendered"])
    if found is None:
        return None
    metrics = found.metrics
    if not isinstance(metrics, training.RenderMetrics | training.MatchMetrics):
        return None
    tokens = metrics.trained_tokens + metrics.masked_tokens
    return TrainingSetSize(metrics.rows, tokens, metrics.longest_row_tokens)


def _adopt(arguments: Sequence[str]) -> int:
    from experiments.config import compose_plans, experiment_from
    from experiments.pipeline import training_rows

    given = [a for a in arguments if not a.startswith("-")]
    (plan,) = compose_plans(["thinking=from_source", *given], multirun=False)
    x = experiment_from(plan)
    found = Store(x.runtime.store, x.runtime).build(training_rows(x)[synthesis.source_thinking.named()])
    show.line(f"{x.source.name}: {found.metrics.headline()}, used as the thinking of the pairs: {found.path}")
    show.line(f"Train on them: reer run {' '.join(['thinking=from_source', *given])}, or with sweep=ablations")
    return 0


def _doctor(arguments: Sequence[str]) -> int:
    from experiments.config import compose_plans, experiment_from

    (plan,) = compose_plans([a for a in arguments if not a.startswith("-")], multirun=False)
    x = experiment_from(plan)
    found = [*doctor.must_hold(x), *doctor.looks(x)]
    show.checks(found)
    show.training_cost(x.run_name, x, None)
    return 0 if all(check.ok for check in found) else 1


def _rerun(parsed: argparse.Namespace) -> int:
    from experiments.run import rerun

    result = rerun(find_run(parsed.root / "runs", parsed.name, parsed.scale, parsed.seed))
    show.where(write_html(compare([result]), parsed.root / report_name([result])))
    return 0


def _results(parsed: argparse.Namespace) -> list[Result]:
    """Results that stand. One whose stages were built anew since is left out, and said to be."""
    found = [r for r in all_results(parsed.root / "runs") if parsed.scale in (None, r.scale)]
    stale = {result.run_name: why for result in found if (why := _stale(result))}
    for run_name, why in stale.items():
        show.line(f"left out: {run_name}: {why}")
    return [result for result in found if result.run_name not in stale]


def _stale(result: Result) -> str:
    """Why a result no longer stands; empty where it does."""
    rebuilt = ", ".join(map(str, result.stale_steps()))
    return rebuilt and f"stale: {rebuilt} removed or rebuilt since; rerun"


def _status(parsed: argparse.Namespace) -> int:
    runs = [path.parent for path in sorted((parsed.root / "runs").glob("*/*/s*/plan.json"))]
    show.table("runs", ("run", "state"), [("/".join(run.parts[-3:]), _state(run)) for run in runs])
    return 0


def _state(run: Path) -> str:
    result = read_result(run)
    if result is None:
        return "unfinished"
    why = _stale(result)
    return f"finished; {why}" if why else "finished"


def _compare(parsed: argparse.Namespace) -> int:
    for comparison in compare(_results(parsed)):
        show.comparison(comparison)
    return 0


def _report(parsed: argparse.Namespace) -> int:
    show.where(write_html(compare(_results(parsed)), parsed.out or parsed.root / "report.html"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
