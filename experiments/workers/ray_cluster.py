"""The search on a Ray cluster: Ray Data sends pairs to a pool of actors that keep their models loaded.

Ray only starts workers. Correctness comes from the replay, which all workers share on one file system: losing an actor
or a node costs the calls in flight, and its pairs are searched again elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import ModuleType

from experiments.experiment import Cluster
from experiments.workers.search_job import Results, SearchJob
from reer.errors import InputError
from reer.files import adapter
from reer.models.shared import release
from reer.search.driver import Failure
from reer.search.methods import Segments
from reer.types import Pair, Refinement


class Searcher:
    """A Ray actor that loads the models once and then searches batches of pairs."""

    def __init__(self, job: SearchJob, noise: float) -> None:
        self.noise = noise
        self.opened = job.open()
        self.models = self.opened.__enter__()  # closed only when the actor ends

    def __call__(self, batch: Mapping[str, Sequence[str]]) -> dict[str, list[str] | list[int]]:
        rows = [json.loads(row) for row in batch["row"]]
        pairs = {row["pair"]["id"]: adapter(Pair).validate_python(row["pair"]) for row in rows}
        drafts = {row["pair"]["id"]: tuple(row["segments"]) for row in rows}
        before = self.models.calls
        results = self.models.run(pairs, drafts, self.noise, lambda _: None)
        calls = [self.models.calls - before, *(0 for _ in rows[1:])]
        return {"result": [_to_json(result) for result in results.values()], "calls": calls}


def _to_json(result: Refinement | Failure) -> str:
    return json.dumps({"failed": isinstance(result, Failure), "row": asdict(result)}, ensure_ascii=False)


def _from_json(text: str) -> Refinement | Failure:
    content = json.loads(text)
    kind: type[Refinement] | type[Failure] = Failure if content["failed"] else Refinement
    return adapter(kind).validate_python(content["row"])


def search_on_ray(
    job: SearchJob,
    cluster: Cluster,
    pairs: Mapping[str, Pair],
    drafts: Mapping[str, Segments],
    noise: Callable[[Callable[[], float]], float],
    on_done: Callable[[Refinement | Failure], None],
) -> tuple[Results, int, float]:
    """Results in the order of the drafts, the number of model calls, and the scorer's noise. `noise` receives the
    function that measures it on the cluster. Raises InputError if Ray is not installed."""
    release()  # what this process keeps on a GPU, which Ray does not know of
    ray = _connected(cluster)
    resources = {"num_cpus": cluster.cpus_per_actor, "num_gpus": cluster.gpus_per_actor}
    measured = noise(lambda: ray.get(ray.remote(**resources)(_measure).remote(job, dict(pairs), dict(drafts))))
    rows = [{"row": json.dumps({"pair": asdict(pairs[i]), "segments": drafts[i]})} for i in drafts]
    blocks = max(1, -(-len(rows) // cluster.pairs_per_task))
    out = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        Searcher,
        fn_constructor_args=(job, measured),
        batch_size=cluster.pairs_per_task,
        compute=ray.data.ActorPoolStrategy(size=cluster.actors),
        **resources,
    )
    results: Results = {}
    calls = 0
    for row in out.iter_rows():
        result = _from_json(row["result"])
        results[result.pair_id] = result
        calls += int(row["calls"])
        on_done(result)
    return {pair_id: results[pair_id] for pair_id in drafts}, calls, measured


def _measure(job: SearchJob, pairs: dict[str, Pair], drafts: dict[str, Segments]) -> float:
    with job.open() as models:
        return models.noise(pairs, drafts)


def _connected(cluster: Cluster) -> ModuleType:
    """The `ray` module, connected to the cluster or to one started on this machine."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError("runtime=ray: Ray is not installed; run .requirements/install ray") from None
    if not ray.is_initialized():
        ray.init(address=cluster.address or None, log_to_driver=False, include_dashboard=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    return ray
