"""The search on a real Ray cluster of two nodes on this machine, one of which is killed half-way."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.experiment import Cluster, Experiment
from experiments.store.step import StepName
from experiments.workers.ray_cluster import search_on_ray
from experiments.workers.search_job import Results
from tests.conftest import REPOSITORY
from tests.fakes.plans import compose
from tests.fakes.searches import bytes_of, job_of, material

ON_RAY = Cluster(address="", actors=2, cpus_per_actor=1, gpus_per_actor=0, pairs_per_task=4)


@pytest.fixture(scope="module")
def x() -> Experiment:
    return compose("scale=smoke", "tracking=silent")


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="Ray is an extra: .requirements/install ray")
    from ray.cluster_utils import Cluster as Nodes

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)  # an actor takes a processor: each node has one of the two
    ray.init(address=nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.mark.slow
def test_a_node_lost_half_way_costs_nothing_but_time(two_nodes: Any, x: Experiment, tmp_path: Path) -> None:
    pairs, drafts = material(x, 120)
    with job_of(x, tmp_path / "here").open() as models:
        here = models.run(pairs, drafts, 0.0, lambda _: None)
    lost: list[str] = []

    def kill_one_node(result: Any) -> None:
        if not lost:
            (other,) = two_nodes.worker_nodes
            two_nodes.remove_node(other, allow_graceful=False)
        lost.append(result.pair_id)

    job = job_of(x, tmp_path / "there")
    there, calls, noise = search_on_ray(job, ON_RAY, pairs, drafts, lambda measure: measure(), kill_one_node)
    assert len(two_nodes.worker_nodes) == 0
    assert sorted(set(lost)) == sorted(drafts)
    assert bytes_of(there) == bytes_of(here)
    assert calls > 0
    assert noise == 0.0


def test_the_same_search_in_parts_is_the_same_search(x: Experiment, tmp_path: Path) -> None:
    pairs, drafts = material(x, 12)
    with job_of(x, tmp_path / "whole").open() as models:
        whole = models.run(pairs, drafts, 0.0, lambda _: None)
    parts: Results = {}
    for start in range(0, len(drafts), 5):
        chosen = dict(list(drafts.items())[start : start + 5])
        with job_of(x, tmp_path / "parts").open() as models:
            parts |= models.run(pairs, chosen, 0.0, lambda _: None)
    assert bytes_of(parts) == bytes_of(whole)


def test_where_a_search_runs_is_no_part_of_what_it_is(x: Experiment) -> None:
    from experiments.pipeline import pipeline

    elsewhere = replace(x, runtime=replace(x.runtime, cluster=ON_RAY))
    assert pipeline(elsewhere)[StepName("refine")].fingerprint == pipeline(x)[StepName("refine")].fingerprint
