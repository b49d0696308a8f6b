"""Tests see neither the checkout's outputs nor the user's home, caches and keys, and leave all of them unchanged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.fakes.isolation import snapshot

SECRETS = {
    "OPENAI_API_KEY": "user-key",
    "ANTHROPIC_API_KEY": "user-key",
    "WANDB_API_KEY": "user-key",
    "HF_TOKEN": "user-key",
    "HUGGING_FACE_HUB_TOKEN": "user-key",
    "AWS_SECRET_ACCESS_KEY": "user-key",
}
PROBE = """
import os
from pathlib import Path

from reer.models.local.checkpoints import cache_folder


def test_nothing_of_the_user_is_visible():
    assert "user-key" not in os.environ.values()
    assert not Path("outputs").exists()
    assert not any(file.is_file() for place in (Path.home(), cache_folder()) for file in place.rglob("*"))


def test_files_written_at_the_default_places_reach_none_of_the_users():
    for folder in (Path("outputs/store"), Path.home() / ".cache" / "x", cache_folder(), Path(os.environ["HF_HOME"])):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "written").write_text("by a test")


def test_the_files_of_one_test_are_not_those_of_the_next():
    assert not Path("outputs").exists()
"""
CULPRIT = """
from tests.conftest import OUTPUTS


def test_that_writes_to_the_outputs_of_the_checkout():
    (OUTPUTS / "canary").write_text("overwritten")
"""


def run_in_a_checkout(root: Path, probe: str) -> subprocess.CompletedProcess[str]:
    """Run one test file under this project's conftest, in a checkout and for a user that both have files and keys."""
    checkout, home = root / "checkout", root / "home"
    (checkout / "tests" / "fakes").mkdir(parents=True)
    for name in ("conftest.py", "fakes/isolation.py", "fakes/commands.py", "fakes/workers.py"):
        shutil.copy(REPOSITORY / "tests" / name, checkout / "tests" / name)
    shutil.copy(REPOSITORY / "pyproject.toml", checkout)
    for package in ("reer", "evals", "experiments", "conf"):
        (checkout / package).symlink_to(REPOSITORY / package)
    (checkout / "tests" / "test_probe.py").write_text(probe)
    for file in (checkout / "outputs" / "canary", home / ".cache" / "reer" / "canary", home / ".cache" / "canary"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("the user's")
    environment = os.environ | SECRETS | {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    environment |= {"REER_CACHE": str(home / ".cache" / "reer"), "HF_HOME": str(home / ".cache" / "huggingface")}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_probe.py"]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)


@pytest.fixture(autouse=True)
def _no_named_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REER_TEST_CACHE", raising=False)


def test_tests_see_nothing_of_the_user_and_change_nothing(tmp_path: Path) -> None:
    done = run_in_a_checkout(tmp_path, PROBE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    assert list(snapshot(tmp_path / "checkout" / "outputs")) == ["canary"]
    assert sorted(snapshot(tmp_path / "home")) == [".cache/canary", ".cache/reer/canary"]


def test_a_test_that_writes_to_the_outputs_of_the_checkout_fails_the_session(tmp_path: Path) -> None:
    done = run_in_a_checkout(tmp_path, CULPRIT)
    assert "1 passed" in done.stdout
    assert done.returncode == 1
    assert "the tests wrote to" in done.stdout
    assert "canary" in done.stdout


def test_a_cache_of_models_is_used_only_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = "import os\n\n\ndef test_cache():\n    assert os.environ['REER_CACHE'] == '/named'\n"
    assert run_in_a_checkout(tmp_path / "unnamed", probe).returncode == 1
    monkeypatch.setenv("REER_TEST_CACHE", "/named")
    assert run_in_a_checkout(tmp_path / "named", probe).returncode == 0
