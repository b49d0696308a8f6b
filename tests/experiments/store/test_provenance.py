"""What a record says of the machine and the servers that made a result."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from huggingface_hub import constants

from experiments.store.provenance import gpus_of_driver, provenance, revisions, servers
from experiments.store.records import read_record
from reer.models.local.checkpoints import HubModel
from tests.fakes.stages import a_store, numbers


@pytest.fixture
def fresh_provenance(monkeypatch: pytest.MonkeyPatch) -> None:
    """provenance() is read again: its value is cached for each process."""
    provenance.cache_clear()
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def driver_tool(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An nvidia-smi of two GPUs that notes its arguments."""
    tool = folder / "nvidia-smi"
    names = "NVIDIA H100 80GB HBM3\\n" * 2
    tool.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\nprintf "{names}"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("fresh_provenance")
def test_gpus_are_named_one_each_as_far_as_this_process_may_use_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_tool(tmp_path, monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    machine = provenance().hardware
    assert machine is not None
    assert machine.gpus == ("NVIDIA H100 80GB HBM3",) * 2
    assert "--id=2,3" in (tmp_path / "asked").read_text()
    assert machine.cpus >= 1
    assert machine.cpu
    provenance.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    hidden = provenance().hardware
    assert hidden is not None
    assert hidden.gpus == ()
    assert "torch" not in sys.modules
    provenance.cache_clear()


def test_gpus_are_read_from_the_driver_where_its_tools_are_missing(tmp_path: Path) -> None:
    for slot, name in (("0000:01", "NVIDIA A100"), ("0000:02", "NVIDIA L4")):
        (tmp_path / slot).mkdir()
        (tmp_path / slot / "information").write_text(f"Model: \t\t {name}\nIRQ: 1\n")
    assert gpus_of_driver(tmp_path) == ("NVIDIA A100", "NVIDIA L4")
    assert gpus_of_driver(tmp_path / "none") == ()


@dataclass(frozen=True)
class Served:
    name: str
    base_url: str


@dataclass(frozen=True)
class Role:
    model: Served


def test_the_servers_of_a_stage_are_named_without_their_passwords() -> None:
    values = {"generator": Role(Served("qwen", "http://u:secret@host:8000/v1")), "seed": 3}
    assert servers(values) == ("qwen at http://[redacted]@host:8000/v1",)
    assert servers({"count": 3}) == ()


def test_a_branch_of_a_model_is_noted_with_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "models--owner--name/refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("a" * 40)
    models = {"student": HubModel("owner/name", "main"), "pinned": HubModel("owner/name", "b" * 40)}
    assert revisions(models) == {"owner/name@main": "a" * 40}


def test_a_record_holds_the_machine(tmp_path: Path) -> None:
    record = read_record(a_store(tmp_path).build(numbers(count=2)).path)
    assert record.provenance == provenance()
    assert record.provenance.hardware is not None
