"""What can be known before any work stops a command before its first job."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fakes.commands import reer

SOLUTION = "\n\n".join(["The harbour wakes slowly, and a man comes down with a bucket. " * 2] * 2)


def rows(folder: Path, *lines: dict[str, str]) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"source.path={file}"


def refused(root: Path, *overrides: str) -> str:
    done = reer(root, "run", "-m", "scale=smoke", "tracking=silent", *overrides)
    assert done.code == 2, done.text
    assert not root.exists(), "nothing is written, no job started"
    return done.text


def test_a_limit_that_no_solution_passes_stops_the_whole_sweep(tmp_path: Path) -> None:
    limits = "scale.min_words=20,390"  # the job that could run is the first
    text = refused(tmp_path / "out", limits, "source=jsonl", rows(tmp_path, {"query": "q", "answer": SOLUTION}))
    assert "no pairs are left of this source (solution_too_short 1)" in text


def test_a_bad_row_of_a_file_stops_a_sweep(tmp_path: Path) -> None:
    source = rows(tmp_path, {"query": "q", "answer": SOLUTION}, {"query": "q", "text": "b"})
    text = refused(tmp_path / "out", "source=jsonl", source)
    assert "rows.jsonl:2" in text


def test_a_file_that_is_missing_stops_a_sweep(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "out", "public=jsonl", "public.path=nowhere.jsonl")


def test_a_judge_without_its_key_stops_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert "ANTHROPIC_API_KEY" in refused(tmp_path / "out", "judge=claude_45_sonnet")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["runtime.gpu_slots=[0,1]"], "has no effect with hydra/launcher=basic; add hydra/launcher=joblib"),
        (["runtime.gpu_slots=[0,1]", "hydra/launcher=submitit_local"], "no effect with hydra/launcher=submitit_local"),
        (["runtime.gpu_slots=[0,'0,1']", "hydra/launcher=joblib"], "want each GPU in one slot, got 0, 0, 1"),
    ],
)
def test_slots_that_nothing_uses_are_refused(overrides: list[str], message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path / "out", *overrides)


@pytest.mark.skipif(find_spec("hydra_plugins.hydra_ray_launcher") is not None, reason="Ray's launcher is installed")
@pytest.mark.parametrize(
    ("launcher", "brings"),
    [
        ("ray", "pip install hydra-ray-launcher==1.2.2 brings ray, with .requirements/install ray"),
        ("slurm", ".requirements/install launchers installs others"),
    ],
)
def test_a_launcher_that_is_not_installed_says_what_brings_it(launcher: str, brings: str, tmp_path: Path) -> None:
    message = refused(tmp_path / "out", "seed=0,1", f"hydra/launcher={launcher}")
    assert f"hydra/launcher={launcher}: no such choice; want one of basic" in message
    assert brings in message
