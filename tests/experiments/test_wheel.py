"""The built wheel works in an empty folder, away from the checkout."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


def test_every_package_is_named_for_the_wheel() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {file.parent for name in ("reer", "evals", "experiments") for file in (REPOSITORY / name).rglob("*.py")}
    packages = {".".join(folder.relative_to(REPOSITORY).parts) for folder in folders}
    assert set(settings["packages"]) == packages | {"experiments.conf"}


@pytest.mark.slow
def test_the_installed_wheel_runs_smoke_in_an_empty_folder(tmp_path: Path) -> None:
    def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment
        done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    wheels, target, empty = tmp_path / "wheels", tmp_path / "target", tmp_path / "empty"
    empty.mkdir()
    build = ("-m", "pip", "wheel", str(REPOSITORY), "--no-build-isolation", "--no-deps", "-w", str(wheels))
    python(*build, cwd=tmp_path)
    (wheel,) = wheels.glob("*.whl")
    python("-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target), str(wheel), cwd=tmp_path)
    where = python("-c", "import experiments; print(experiments.__file__)", cwd=empty, PYTHONPATH=str(target))
    assert where.stdout.startswith(str(target))
    done = python("-m", "experiments.cli", "run", "scale=smoke", cwd=empty, PYTHONPATH=str(target))
    assert "HTML report" in done.stdout
    assert (empty / "outputs/runs/full/smoke/s0/result.json").exists()
