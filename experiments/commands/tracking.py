"""The verb that brings W&B up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from experiments.commands.app import OUTPUTS, Root, Scale, app, current_runs


@app.command()
def sync(
    root: Root = OUTPUTS,
    scale: Scale = None,
    rows: Annotated[bool, typer.Option("--rows", help="Also recompute every arm's row of the table.")] = False,
    view: Annotated[bool, typer.Option("--view", help="Also make or update the saved view and the report.")] = False,
) -> None:
    """Send to W&B what was tracked offline.

    Each directory is sent on its own; what has arrived is not sent again.

    \b
      reer sync
      reer sync --rows --view
    """
    from experiments.report import console as show
    from experiments.report.arms import selected
    from experiments.tracking import sync as tracking

    tracking.require_wandb()
    arrivals = list(tracking.sync(root))
    for arrival in arrivals:
        where = f"not sent: {arrival.problem}" if arrival.problem else f"{arrival.rows} rows at {arrival.address}"
        show.line(f"{arrival.run_name}: {where}")
    if not arrivals:
        show.line("W&B has every run that was tracked here")
    results = selected(current_runs(root, scale).results) if rows or view else []
    if rows:
        for row in tracking.sync_rows(results):
            show.line(f"{row.run_name}: {'its row is in W&B' if row.sent else 'its row is sent with its run'}")
    if view:
        from experiments.tracking.view import save_views

        for address in save_views(root, results):
            show.line(address)
    if any(arrival.problem for arrival in arrivals):
        raise typer.Exit(3)
