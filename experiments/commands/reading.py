"""Verbs that show results: tables, the page, and where a number comes from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.commands.app import OUTPUTS, AsJson, Root, Scale, app, current_runs
from reer.errors import InputError

if TYPE_CHECKING:
    from experiments.report.compare import Comparison
    from experiments.report.exports.tables import Form

Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", help="Arms or runs (full, full/smoke/s1); default all.")
]
Baseline = Annotated[str | None, typer.Option("--baseline", help="The arm that the others are compared with.")]
Seeds = Annotated[str | None, typer.Option("--seed", metavar="<int,...>", help="Only these seeds: 0, or 0,1.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print a line for each arm and measure.")]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print a card with a digest for each number.")]
AsLatex = Annotated[bool, typer.Option("--latex", help="Print a table for a paper.")]


@app.command()
def compare(
    names: Names = None,
    root: Root = OUTPUTS,
    scale: Scale = None,
    seed: Seeds = None,
    baseline: Baseline = None,
    json: AsJson = False,
    csv: AsCsv = False,
    markdown: AsMarkdown = False,
    latex: AsLatex = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Add coverage, all confounds, hygiene, the judge, each seed.")
    ] = False,
) -> None:
    """Show the arms side by side, with paired differences.

    The baseline is the run that is configured like it, whatever it is called.
    p-values are corrected for the arms that are shown.

    \b
      reer compare
      reer compare full short_trajectories --scale smoke --all
      reer compare --baseline no_iterative_search --csv
    """
    from experiments.report import console, terminal

    form = _form(json=json, csv=csv, markdown=markdown, latex=latex)
    comparisons = _compared(names, root, scale, seed, baseline, quietly=form is not None)
    if form is not None:
        from experiments.report.exports.tables import render

        console.document(render(comparisons, form))
        return
    for comparison in comparisons:
        terminal.comparison(comparison)
    for comparison in comparisons if everything else ():
        terminal.details(comparison)


@app.command(name="table")
def write_table(
    names: Names = None,
    root: Root = OUTPUTS,
    scale: Scale = None,
    seed: Seeds = None,
    baseline: Baseline = None,
    out: Annotated[Path | None, typer.Option(help="The file to write: .md, .tex, .csv or .json.")] = None,
    json: AsJson = False,
    csv: AsCsv = False,
    markdown: AsMarkdown = False,
    latex: AsLatex = False,
) -> None:
    """Write the arms as a table for a paper or a card.

    The card is Markdown with a digest for each number; `reer where DIGEST` says
    what made it. The form is that of the file's ending, or of the option.

    \b
      reer table
      reer table --latex
      reer table --out ablations.tex
    """
    from experiments.report import console
    from experiments.report.exports.tables import render
    from reer.files import write_atomic

    form = _form(json=json, csv=csv, markdown=markdown, latex=latex) or _form_of(out)
    text = render(_compared(names, root, scale, seed, baseline, quietly=True), form)
    if out is None:
        console.document(text)
    else:
        write_atomic(out, text)
        console.line(f"table: {out}")


@app.command()
def where(
    cell: Annotated[list[str], typer.Argument(metavar="CELL", help="RUN MEASURE, or a DIGEST.")],
    root: Root = OUTPUTS,
    json: AsJson = False,
) -> None:
    """Say what produced a number.

    Run, stage results, code, judge, scored items, files to read, and the command
    that repeats it. A digest is one that `reer table` prints.

    \b
      reer where full/smoke/s0 writing/quality
    """
    from experiments.report import console, terminal
    from experiments.report.exports.where import where as sources_of

    found = sources_of(current_runs(root, None, console.aside).results, cell, root)
    if json:
        console.data(found)
        return
    for source in found:
        terminal.source(source)


@app.command()
def bridge(
    old: Annotated[str, typer.Argument(help="A run graded by the old judge.")],
    new: Annotated[str, typer.Argument(help="The same answers graded by the new judge.")],
    root: Root = OUTPUTS,
    published: Annotated[float | None, typer.Option(help="A score of the old judge to place on the new scale.")] = None,
    json: AsJson = False,
) -> None:
    """Put scores of one judge on the scale of another.

    Both graded the same answers. A line with errors in both judges, its 95 %
    intervals, and their agreement, for each measure.

    \b
      reer bridge full+judge=gpt_55 full+judge=claude_46_sonnet --published 7.2
    """
    from experiments.bridge import show_bridges, stored_bridges
    from experiments.report import console

    found = stored_bridges(old, new, root)
    if not json:
        show_bridges(f"{new} on {old}", found, root, published)
        return
    placed = [None if published is None else one.bridge.placed(published) for one in found]
    console.data([{**asdict(one), "placed": at} for one, at in zip(found, placed, strict=True)])


@app.command()
def agreement(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run whose answers people have graded.")],
    labels: Annotated[Path, typer.Option(help="JSONL: benchmark, item, answer or answer_sha256, grade.")],
    root: Root = OUTPUTS,
    json: AsJson = False,
) -> None:
    """Show how well a judge's scores agree with grades by people.

    Each row of the file is one grade: the item's id, the answer that was graded
    or its sha256, and the grade on any scale. Rank correlations and ICC with
    95 % intervals for each measure; rows that are left out are counted.

    \b
      reer agreement full/smoke/s0 --labels labels.jsonl
    """
    from experiments.agreement import agreement_of, show_agreement
    from experiments.report import console

    found = agreement_of(name, labels, root)
    console.data(found) if json else show_agreement(found)


@app.command()
def report(
    root: Root = OUTPUTS,
    scale: Scale = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; default ROOT/report.html.")] = None,
    wandb: Annotated[bool, typer.Option("--wandb", help="Bring the rows of all arms in W&B up to date, too.")] = False,
) -> None:
    """Write the comparison of the arms as one HTML page.

    \b
      reer report --out page.html
      reer report --wandb
    """
    from experiments.report import console as show
    from experiments.report.arms import selected
    from experiments.report.compare import compare as compare_results
    from experiments.report.page.page import write_html

    runs = current_runs(root, scale)
    show.where(write_html(compare_results(selected(runs.results)), out or root / "report.html", runs.left_out))
    if wandb:
        from experiments.tracking import sync

        sync.require_wandb()
        sync.sync_rows(runs.results)


def _compared(
    names: list[str] | None,
    root: Path,
    scale: str | None,
    seed: str | None,
    baseline: str | None,
    quietly: bool = False,
) -> list[Comparison]:
    """The comparisons of the runs that are asked for; `quietly` leaves the output to what is printed next."""
    from experiments.report import console
    from experiments.report.arms import selected
    from experiments.report.compare import compare as compare_results

    seeds = _seeds(seed)
    results = current_runs(root, scale, console.aside if quietly else console.line).results
    chosen = selected(results, names or (), seeds, baseline)
    return compare_results(chosen, baseline and baseline.split("/")[0])


def _seeds(text: str | None) -> tuple[int, ...]:
    """The seeds of `--seed`; none where it is not given. Raises InputError for anything but numbers."""
    parts = text.split(",") if text is not None else ()
    if wrong := [part for part in parts if not part.strip().isdecimal()]:
        raise InputError(f"--seed {text}: {wrong[0].strip()!r} is no seed; want numbers such as 0 or 0,1")
    return tuple(int(part) for part in parts)


def _form(*, json: bool, csv: bool, markdown: bool, latex: bool) -> Form | None:
    """The form that one option asks for. Raises InputError for several."""
    given: tuple[tuple[Form, bool], ...] = (("json", json), ("csv", csv), ("markdown", markdown), ("latex", latex))
    asked: list[Form] = [form for form, wanted in given if wanted]
    if len(asked) > 1:
        raise InputError(f"{' and '.join(f'--{form}' for form in asked)}: want one of them")
    return asked[0] if asked else None


def _form_of(out: Path | None) -> Form:
    """The form of a file by its ending; a card where nothing says otherwise. Raises InputError for another ending."""
    endings: dict[str, Form] = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}
    if out is None:
        return "markdown"
    if out.suffix not in endings:
        raise InputError(f"--out {out}: want a file that ends in {', '.join(endings)}; or name the form with --latex")
    return endings[out.suffix]
