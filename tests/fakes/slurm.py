"""A Slurm allocation of two nodes that are both this machine: fake `srun` and `scontrol` on the PATH."""

import json
import os
from pathlib import Path

import pytest

from reer.models.placement import Nodes

NODES = ("localhost", "127.0.0.1")
ON_NODES = Nodes(count=2, start=("srun", "--nodelist={node}", "--nodes=1", "--ntasks=1", "--overlap"))
SRUN = """#!/usr/bin/env python3
import json, os, sys
with open({log!r}, "a") as stream:
    stream.write(json.dumps(sys.argv[1:]) + "\\n")
command = sys.argv[1:]
while command[0].startswith("--"):
    del command[0]
os.execvp(command[0], command)
"""


class Allocation:
    """The allocation, and what its srun was given."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "srun.jsonl"

    @property
    def lines(self) -> list[list[str]]:
        """The arguments of each call of srun."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def allocated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Allocation:
    """An allocation whose programs lie in a folder."""
    allocation = Allocation(folder)
    _program(folder / "srun", SRUN.format(log=str(allocation.log)))
    _program(folder / "scontrol", "#!/bin/sh\nprintf '%s\\n' " + " ".join(NODES) + "\n")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[1-2]")
    return allocation


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
