"""The verb that says what a sweep supports of the paper's findings, and of one's own."""

from __future__ import annotations

from typing import Annotated

import typer

from experiments.commands.app import OUTPUTS, AsJson, ConfigDir, Root, Scale, app, current_runs
from reer.errors import InputError, near

Names = Annotated[list[str] | None, typer.Argument(metavar="CLAIM", help="Names of claims; default all.")]


@app.command()
def claims(
    names: Names = None,
    root: Root = OUTPUTS,
    scale: Scale = None,
    config_dir: ConfigDir = None,
    json: AsJson = False,
) -> None:
    """Say of each claim whether the runs support it.

    A claim is a finding of the paper as a statement over arms and measures; it is
    supported, contradicted or undecided. Your own are YAML files in the folder
    claims/ of --config-dir.

    \b
      reer claims
      reer claims search_matters --scale paper --json
    """
    from experiments.config.choices import conf_folders
    from experiments.report import console
    from experiments.report.arms import selected
    from experiments.report.claims.evidence import Evidence
    from experiments.report.claims.expressions import read_claims
    from experiments.report.claims.table import claims_table
    from experiments.report.claims.verdicts import judge_claims
    from experiments.report.compare import compare
    from experiments.report.page.study import studies

    known = {claim.name: claim for claim in read_claims(conf_folders(config_dir))}
    for name in names or ():
        if name not in known:
            raise InputError(f"no claim is called {name!r}{near(name, known)}; claims: {', '.join(known)}")
    asked = [known[name] for name in names or known]
    results = selected(current_runs(root, scale, console.aside if json else console.line).results)
    found = {study.scale: judge_claims(asked, Evidence(study.comparisons)) for study in studies(compare(results))}
    if json:
        console.data(found)
        return
    for at, verdicts in found.items():
        claims_table(at, verdicts)
