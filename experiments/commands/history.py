"""Verbs about runs that exist: their state, and their repetition."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.app import Root, Scale, app


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
    from experiments.report.compare import compare as compare_results
    from experiments.report.page.page import report_name, write_html
    from experiments.report.summary import summary
    from experiments.store.runs import find_run, read_plan

    result = jobs.execute(read_plan(find_run(root / "runs", name, scale, seed) / "plan.json"))
    summary(result)
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
