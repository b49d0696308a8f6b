"""Engines on the nodes of a Slurm allocation: srun starts them, each with its own GPUs, and they end with the run."""

import sys
from pathlib import Path
from typing import cast

import pytest

from reer.errors import InputError
from reer.models.engines.commands import launch_of, missing
from reer.models.engines.nodes import node_names
from reer.models.engines.session import EngineSession
from reer.models.placement import Engines, Nodes, Placement
from tests.fakes.calls import completions
from tests.fakes.engines import device, processes, replica, soon, tiny
from tests.fakes.http import request
from tests.fakes.plans import compose
from tests.fakes.slurm import NODES, ON_NODES, allocated


def test_srun_is_given_the_node_the_gpus_of_the_replica_and_then_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm2x8 has three generators of two GPUs on each node: the fifth is the second one of the second node."""
    allocated(tmp_path, monkeypatch)
    engines = compose("runtime=slurm2x8").runtime.device_for("generator").engines
    assert engines.nodes is not None
    assert (engines.nodes.count, engines.replicas) == (2, 6)
    engines = Engines(vllm=(sys.executable, "serve"), placement=engines.placement, nodes=engines.nodes)
    launch = launch_of(replica(tmp_path, 4, "node2"), engines)
    line = " ".join(launch.command)
    assert line.startswith("srun --nodelist=node2 --nodes=1 --ntasks=1 --overlap")
    assert f"env CUDA_VISIBLE_DEVICES=2,3 {sys.executable} serve /weights" in line
    assert "--host 0.0.0.0 --port 8000" in line
    assert "--tensor-parallel-size 2" in line
    assert "a key" not in line
    assert launch.environment["VLLM_API_KEY"] == "a key"
    assert replica(tmp_path, 4, "node2").url == "http://node2:8000"


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_each_node_serves_its_replicas_until_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    slurm = allocated(tmp_path, monkeypatch)
    there = device(nodes=ON_NODES, logs=str(tmp_path / "logs"), placement=Placement(replicas=1))
    with tiny("vllm" if engine == "vllm" else "sglang").open(there) as opened:
        session = cast(EngineSession, opened)
        hosts = [url.removeprefix("http://").partition(":")[0] for url in session.serving.urls]
        assert hosts == list(NODES)
        assert len(completions(session, [request(f"q{n}") for n in range(8)])) == 8
        assert len(processes()) == 2
    assert soon(lambda: processes() == [])
    assert {line[0] for line in slurm.lines} == {f"--nodelist={node}" for node in NODES}, "started side by side"
    assert all("/v1/completions" in log.read_text() or "/generate" in log.read_text() for log in logs(tmp_path))
    assert not list((tmp_path / "logs").glob("reer-engine-*")), "the private folder beside the logs is gone"


def logs(folder: Path) -> list[Path]:
    found = list((folder / "logs").glob("*.log"))
    assert len(found) == 2
    return found


def test_a_run_outside_an_allocation_or_in_one_of_another_size_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
    with pytest.raises(InputError, match="want 2 nodes of a Slurm allocation, but SLURM_JOB_NODELIST is not set"):
        node_names(ON_NODES)
    allocated(tmp_path, monkeypatch)
    assert node_names(ON_NODES) == NODES
    with pytest.raises(InputError, match="want 3 nodes, the allocation has 2"):
        node_names(Nodes(count=3, start=ON_NODES.start))


def test_a_machine_without_srun_is_named_and_so_is_a_command_without_a_node() -> None:
    engines = Engines(vllm=(sys.executable,), nodes=Nodes(count=2, start=("no-such-srun", "{node}")))
    assert "no program 'no-such-srun' on this machine" in missing("vllm", engines)
    with pytest.raises(InputError, match=r"want a command with \{node\}"):
        Nodes(count=2, start=("srun",))
