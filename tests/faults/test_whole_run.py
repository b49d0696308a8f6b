"""The whole smoke run, training and W&B's files included: killed at a few fault points, and at other widths."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.faults.harness import places
from tests.faults.injection import Fault, Point

pytestmark = pytest.mark.slow
KEPT = ("rows.jsonl", "model.safetensors", "scores.json")


def smoke(root: Path, fault: Fault | None = None, *overrides: str) -> int:
    """The exit code of a smoke run with a fault, in a process of its own."""
    root.mkdir(exist_ok=True)
    asked = json.dumps(fault and dataclasses.asdict(fault))
    command = [sys.executable, "-m", "tests.faults.whole", str(root / "counts.json"), asked, str(root)]
    own = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    done = subprocess.run(
        [*command, "run", "scale=smoke", *overrides], cwd=REPOSITORY, env=own, capture_output=True, text=True
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def content(root: Path) -> dict[str, bytes]:
    """The rows, scores and weights of every complete stage."""
    files = [file for record in root.glob("store/*/*/record.json") for file in record.parent.rglob("*")]
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files if file.name in KEPT}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "uninterrupted"
    assert smoke(root) == 0
    return root


@pytest.mark.parametrize("point", ["write", "append", "rename", "record", "unlink"])
def test_fault_01_the_whole_run_killed_at_its_middle_ends_with_the_same_bytes(
    uninterrupted: Path, tmp_path: Path, point: Point
) -> None:
    """SIGKILL in the middle of a whole smoke run, training included: the same command ends with the rows, scores and
    weights of an uninterrupted run."""
    counts = json.loads((uninterrupted / "counts.json").read_text())
    _, middle, _ = places(counts[point])
    assert smoke(tmp_path / "root", Fault(point=point, number=middle, kind="kill after")) == -signal.SIGKILL
    assert smoke(tmp_path / "root") == 0
    assert content(tmp_path / "root") == content(uninterrupted)


@pytest.mark.parametrize("width", [1, 3])
def test_fault_36_a_whole_run_at_any_width_has_the_same_bytes(uninterrupted: Path, tmp_path: Path, width: int) -> None:
    """However many searches run side by side, the rows, scores and weights of a whole smoke run are the same."""
    assert smoke(tmp_path / "root", None, f"runtime.width={width}", f"runtime.device.generate_rows={width}") == 0
    assert content(tmp_path / "root") == content(uninterrupted)
