"""What is run automatically is what the README tells a newcomer to run."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)\n```", README.partition("Two commands\n")[2], re.DOTALL)[:2]


def run_ci(checkout: Path, readme: str) -> subprocess.CompletedProcess[str]:
    """`.ci/run` beside a README whose blocks are harmless."""
    (checkout / ".ci").mkdir(parents=True)
    (checkout / ".ci" / "run").write_bytes((REPOSITORY / ".ci" / "run").read_bytes())
    (checkout / "README.md").write_text(readme, encoding="utf-8")
    return subprocess.run(["bash", ".ci/run"], cwd=checkout, capture_output=True, text=True)


def test_both_blocks_are_run_in_their_order_as_printed(tmp_path: Path) -> None:
    readme = README.replace(BLOCKS[0], "echo first > order && pwd").replace(BLOCKS[1], "echo second >> order")
    done = run_ci(tmp_path / "checkout", readme)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "checkout" / "order").read_text() == "first\nsecond\n"
    assert "+ echo first > order && pwd" in done.stdout


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failing_block_fails_the_script_and_ends_it(tmp_path: Path, failing: int) -> None:
    commands = ["echo first >> order", "echo second >> order"]
    commands[failing] = "false && echo never >> order"
    readme = README.replace(BLOCKS[0], commands[0]).replace(BLOCKS[1], commands[1])
    assert run_ci(tmp_path / "checkout", readme).returncode != 0
    order = tmp_path / "checkout" / "order"
    assert (order.read_text() if order.exists() else "") == ("" if failing == 0 else "first\n")


def test_a_readme_without_the_blocks_is_an_error(tmp_path: Path) -> None:
    done = run_ci(tmp_path / "checkout", "# Project\n\n## Two commands\n\n```bash\nonly one\n```\n")
    assert done.returncode == 2
    assert "expected two" in done.stderr


def test_the_workflow_runs_the_readmes_test_line() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "tests.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["tests"]["steps"] if "run" in step]
    assert BLOCKS[1] in commands
    assert workflow[True] == ["push", "pull_request"]  # YAML reads the key `on` as true


def test_the_script_is_executable() -> None:
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)
