"""The command line inside the test process: a process of its own spends most of its time on imports."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from experiments.cli import main

TAKES_OVERRIDES = {"run", "plan", "doctor", "calibrate", "pairwise", "import-thinking", "judge"}


@dataclass(frozen=True)
class Done:
    """What a command returned and printed. `text` is both streams as words on one line, however they were wrapped."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return " ".join((self.out + self.err).split())


def reer(root: Path, *arguments: str) -> Done:
    """`reer ARGUMENTS` with this runtime.root."""
    composes = arguments[0] in TAKES_OVERRIDES and "--actual" not in arguments
    place = [f"runtime.root={root}"] if composes else ["--root", str(root)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*arguments, *place])
    return Done(code, out.getvalue(), err.getvalue())


def finished(root: Path, *arguments: str) -> Done:
    """The same, for a command that must end with exit code 0."""
    done = reer(root, *arguments)
    assert done.code == 0, f"{arguments}: exit code {done.code}\n{done.out}{done.err}"
    return done
