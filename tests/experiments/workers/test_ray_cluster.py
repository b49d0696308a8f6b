"""The search on a real Ray cluster of two nodes on this machine, one of which is killed half-way."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.experiment import Cluster, Experiment
from experiments.store.step import StepName
from experiments.workers.ray_cluster import search_on_ray
from experiments.workers.search_job import Results, SearchJob
from reer.files import plain
from reer.models.scripted import ScriptedSession
from reer.search.draft import Drafter
from reer.types import Pair, content_id
from tests.conftest import REPOSITORY
from tests.fakes.plans import compose

TOPICS = ("harbour", "orchard", "station", "library", "mountain", "kitchen", "workshop", "theatre")
ON_RAY = Cluster(address="", actors=2, cpus_per_actor=1, gpus_per_actor=0, pairs_per_task=4)


@pytest.fixture(scope="module")
def x() -> Experiment:
    return compose("scale=smoke", "tracking=silent")


def job_of(x: Experiment, replay: Path) -> SearchJob:
    return SearchJob(
        generator=x.generator,
        scorer=x.scorer,
        search=x.search,
        prompts=x.prompts.with_triggers(x.reflection.triggers),
        rules=x.filters.draft,
        rewrites=x.filters.rewrite,
        draft_tokens=400,
        edit_tokens=200,
        runtime=x.runtime,
        replay=replay,
    )


def material(x: Experiment, count: int) -> tuple[dict[str, Pair], dict[str, tuple[str, ...]]]:
    texts = [f"Write about a {TOPICS[n % 8]} number {n}" for n in range(count)]
    body = "The morning is quiet and the work begins. " * 4
    pairs = [
        Pair(
            id=content_id(t),
            query=t,
            solution=f"{t}. {body}\n\nLater the {TOPICS[n % 8]} is busy. {body}",
            category="others",
            language="en",
            source="t",
        )
        for n, t in enumerate(texts)
    ]
    drafter = Drafter(
        generator=ScriptedSession(0),
        prompts=x.prompts.with_triggers(x.reflection.triggers),
        sampling=x.generator.sampling(400, stop=("</think>",)),
        rules=x.filters.draft,
        seed=0,
    )
    drafts, _ = drafter.first_drafts(pairs)
    return {pair.id: pair for pair in pairs}, {draft.pair_id: draft.segments for draft in drafts}


def bytes_of(results: Results) -> str:
    return "\n".join(json.dumps(plain(row), ensure_ascii=False) for row in results.values())


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
