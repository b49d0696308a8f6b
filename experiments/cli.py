"""The verbs: run, rerun, plan, status, compare, report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import show
from experiments.job import quiet_libraries
from experiments.record import Result, all_results, find_run
from reer.types import InputError

ABOUT = """REER ablations: search, train, judge, compare.

  reer run                              the main experiment, on this machine
  reer run experiment=NAME scale=SCALE  one arm at one scale
  reer run sweep=ablations              the six arms of the paper
  reer run -m experiment=full,short_trajectories seed=0,1
  reer plan [as run]                    what is cached, what would run
  reer rerun NAME                       repeat one run from its frozen plan
  reer compare, reer report             the arms side by side, in the terminal or as HTML
  reer status                           the runs that are here
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `reer`. Returns 0, 1 if an arm failed, 2 for bad input."""
    quiet_libraries()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _verb(arguments)
    except InputError as error:
        show.error(str(error))
        return 2
    except KeyboardInterrupt:
        show.error("interrupted; nothing is lost, the same command goes on from here")
        return 130


def _verb(arguments: Sequence[str]) -> int:
    verb, rest = (arguments[0], list(arguments[1:])) if arguments else ("--help", [])
    if verb == "run":
        return _run(rest)
    if verb == "plan":
        return _plan(rest)
    parser = argparse.ArgumentParser("reer", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("run", "plan"):
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


def _run(arguments: Sequence[str]) -> int:
    from experiments.run import run

    results, missing = run(arguments)
    if results:
        root = Path(results[0].steps["render"]["path"]).parents[2]
        if len(results) + len(missing) > 1:
            _tables(results)
        show.where(_write_report(results, root / _report_name(results)))
    for name in missing:
        show.error(f"{name} did not finish; the same command goes on from here")
    return 1 if missing else 0


def _report_name(results: Sequence[Result]) -> str:
    return "report.html" if len(results) > 1 else f"report-{results[0].run_name.replace('/', '-')}.html"


def _plan(arguments: Sequence[str]) -> int:
    from experiments.config import compose_plans, experiment_from
    from experiments.pipeline import pipeline
    from experiments.store import Store

    plans = compose_plans(
        [a for a in arguments if not a.startswith("-")], "-m" in arguments or "--multirun" in arguments
    )
    claimed: dict[str, str] = {}
    rows: list[tuple[str, list[tuple[str, str]]]] = []
    executions = 0
    for plan in plans:
        x = experiment_from(plan)
        store, cells = Store(x.runtime.store, x.runtime), []
        for name, step in pipeline(x).steps.items():
            executions += 1
            status = store.status(step)
            if status != "cached":
                owner = claimed.setdefault(step.fingerprint, x.name)
                status = status if owner == x.name else f"with {owner}"
            cells.append((name, status))
        rows.append((f"{x.name} s{x.seed}", cells))
    cached = sum(status == "cached" for _, cells in rows for _, status in cells)
    show.plan(rows, {"stages in all": executions, "cached": cached, "to compute": len(claimed)})
    return 0


def _rerun(parsed: argparse.Namespace) -> int:
    from experiments.run import rerun

    result = rerun(find_run(parsed.root / "runs", parsed.name, parsed.scale, parsed.seed))
    show.summary(result)
    show.where(_write_report([result], parsed.root / _report_name([result])))
    return 0


def _results(parsed: argparse.Namespace) -> list[Result]:
    found = all_results(parsed.root / "runs")
    return [result for result in found if parsed.scale in (None, result.scale)]


def _status(parsed: argparse.Namespace) -> int:
    runs = [path.parent for path in sorted((parsed.root / "runs").glob("*/*/s*/plan.json"))]
    rows = [("/".join(run.parts[-3:]), "finished" if (run / "result.json").exists() else "unfinished") for run in runs]
    show.table("runs", ("run", "state"), rows)
    return 0


def _compare(parsed: argparse.Namespace) -> int:
    _tables(_results(parsed))
    return 0


def _tables(results: Sequence[Result]) -> None:
    from experiments.report import compare

    for comparison in compare(results):
        show.comparison(comparison)


def _report(parsed: argparse.Namespace) -> int:
    show.where(_write_report(_results(parsed), parsed.out or parsed.root / "report.html"))
    return 0


def _write_report(results: Sequence[Result], path: Path) -> Path:
    from experiments.report import compare, write_html

    return write_html(compare(results), path)


if __name__ == "__main__":
    sys.exit(main())
