"""Verbs that show results: tables and the page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.app import Root, Scale, app, current_results


@app.command()
def compare(root: Root = Path("outputs"), scale: Scale = None) -> None:
    """Show the arms side by side, with paired differences.

    \b
      reer compare --scale smoke
    """
    from experiments.report import terminal
    from experiments.report.compare import compare as compare_results

    for comparison in compare_results(current_results(root, scale)):
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
    from experiments.report.page.page import write_html

    show.where(write_html(compare_results(current_results(root, scale)), out or root / "report.html"))
