"""The verb with which the harness tests itself."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from experiments.commands.app import AsJson, app


@app.command()
def selftest(
    worlds: Annotated[int, typer.Option("--worlds", min=1, help="How many simulated worlds; 200 take minutes.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of the first world; the next ones follow.")] = 0,
    json: AsJson = False,
) -> None:
    """Run the pipeline in worlds with known effects, and say what it found.

    Students and judges are simulated; stages, store, judging, contracts and
    statistics are the real ones. Each world has ten sealed arms: effects of
    three sizes, none, a redundant, a dead and a leaking switch, a mislabelled
    arm, a judge that drifts and one that fails. Ends with 1 if anything misses
    what is wanted of it.

    \b
      reer selftest
      reer selftest --worlds 200 --json
    """
    from dataclasses import asdict

    from experiments.config.compose import compose_plans
    from experiments.report import console
    from experiments.selftest.arms import OVERRIDES
    from experiments.selftest.progress import counted
    from experiments.selftest.rates import rates
    from experiments.selftest.table import show
    from experiments.selftest.worlds import outcomes

    began, plans = time.monotonic(), compose_plans(OVERRIDES, multirun=False)
    came = counted(outcomes(plans, range(seed, seed + worlds)), worlds)
    found = sorted(came, key=lambda outcome: outcome.seed)
    over_all = rates(found, time.monotonic() - began)
    if json:
        console.data({"kept": over_all.kept, **asdict(over_all), "outcomes": found})
    else:
        show(over_all, found)
    raise typer.Exit(0 if over_all.kept else 1)
