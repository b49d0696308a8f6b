"""Commands in processes of their own, which tests send signals to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.conftest import REPOSITORY

PATIENCE = 60.0  # seconds until what a test waits for counts as never happening


def started(command: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    """A command in a process group of its own, as a terminal starts it: Ctrl-C is not ignored, and no W&B process of
    the tests is inherited. Its output goes to a file."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("WANDB_SERVICE", None)
    with output.open("wb") as stream:
        return subprocess.Popen(
            command,
            cwd=output.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )


def reer_process(root: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """`reer run ARGUMENTS` in a process of its own; its output goes to `output.txt` beside the root."""
    command = [sys.executable, "-m", "experiments.cli", "run", *arguments, f"runtime.root={root}"]
    return started(command, root.parent / "output.txt")


def until(happened: Callable[[], bool], what: str) -> None:
    """Wait until something has happened. Fails the test when it never does."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"this did not happen in {PATIENCE} s: {what}"
        time.sleep(0.02)


def running(word: str) -> list[int]:
    """The processes, other than this one, that have a word on their command line."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if word.encode() in line and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found
