"""The entry point of `reer`. The verbs are in `commands/`; what a verb needs is imported when it runs, so `--help`
stays fast."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import typer.main

from experiments.commands import claims, history, reading, running, selftest, setup, tracking
from experiments.commands.app import INTERRUPTED, TERMINATED, app
from reer.errors import Incomplete, InputError
from reer.processes import prepare_streams

REFUSED_FLAG = "--experimental-rerun"  # of Hydra
VERBS = (running, reading, claims, history, tracking, setup, selftest)  # each adds its verbs to the application


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
            _command()(_verb_first(given) or ["--help"], prog_name="reer")
    except SystemExit as stop:
        return _code_of(stop)
    except InputError as error:
        console.error(str(error))
        return 2
    except Incomplete as error:
        console.error(str(error))
        return 3
    return 0


@cache
def _command() -> Callable[..., object]:
    """The application as click has it, which typer would build again from all verbs at each call."""
    return typer.main.get_command(app)


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
