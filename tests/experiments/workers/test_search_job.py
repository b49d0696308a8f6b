"""A whole search with its replay: servers that answer in any order give the bytes of models in this process."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.experiment import Experiment
from experiments.workers.search_job import Results, SearchJob
from reer.calls import event_loop
from reer.errors import Incomplete
from reer.models.local.checkpoints import TinyModel
from reer.models.local.model import LocalModel
from reer.models.protocols import BatchProgress
from reer.models.replay import ReplayedConcurrentGenerator
from reer.search.methods import MultiStart, SegmentSearch
from reer.types import Pair
from tests.fakes.engines import device, tiny
from tests.fakes.plans import compose
from tests.fakes.searches import ServedModel, ServedSession, bytes_of, job_of, material, served
from tests.fakes.virtual_time import VirtualTimeLoop

Drafts = Mapping[str, tuple[str, ...]]


@pytest.fixture(scope="module")
def exp() -> Experiment:
    exp = compose("scale=smoke", "tracking=silent")
    return replace(exp, search=MultiStart(2, SegmentSearch(max_edits=3, n_candidates=2, threshold=0.0)))


@pytest.fixture(scope="module")
def work(exp: Experiment) -> tuple[dict[str, Pair], Drafts]:
    return material(exp, 6)


def on_engine(job: SearchJob, *options: str) -> SearchJob:
    """The job with both roles served by the fake engine."""
    job = replace(job, runtime=replace(job.runtime, device=device(*options)))
    model = tiny("sglang")
    return replace(job, generator=replace(job.generator, model=model), scorer=replace(job.scorer, model=model))


def searched(job: SearchJob, work: tuple[dict[str, Pair], Drafts]) -> tuple[Results, int]:
    with event_loop(VirtualTimeLoop), job.open() as models:
        return models.run(*work, 0.0, lambda _: None), models.calls


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("scorer", [True, False], ids=["both served", "scorer in process"])
def test_servers_that_answer_in_any_order_give_the_same_bytes(
    exp: Experiment, work: tuple[dict[str, Pair], Drafts], tmp_path: Path, seed: int, scorer: bool
) -> None:
    here, calls = searched(job_of(exp, tmp_path / "here"), work)
    there, calls_there = searched(served(job_of(exp, tmp_path / "there"), ServedModel(seed), scorer), work)
    assert bytes_of(there) == bytes_of(here)
    assert calls_there == calls > 50


def test_a_search_over_an_engine_waits_for_no_completion_of_another(
    exp: Experiment, work: tuple[dict[str, Pair], Drafts], tmp_path: Path
) -> None:
    """One of the first completions comes after 20 others; the bytes are those of a server that answers at once."""

    def searched_with(*options: str) -> tuple[str, list[str]]:
        job, done = on_engine(job_of(exp, tmp_path / "-".join(options)), *options), list[str]()
        with job.open() as models:
            assert isinstance(models.generator, ReplayedConcurrentGenerator)
            results = models.run(*work, 0.0, lambda result: done.append(result.pair_id))
        return bytes_of(results), done

    slow, done = searched_with("--delays", "--hold", "20")
    assert slow == searched_with()[0]
    assert done != list(work[1])


def test_a_search_without_an_answer_goes_on_where_it_stopped(
    exp: Experiment, work: tuple[dict[str, Pair], Drafts], tmp_path: Path
) -> None:
    """No call that was answered is made again, and the result is that of a search that was never interrupted."""
    whole, _ = searched(job_of(exp, tmp_path / "here"), work)
    job, sessions = job_of(exp, tmp_path / "there"), list[ServedSession]()
    for calls in (20, 20):
        with pytest.raises(Incomplete, match="no answer"):
            searched(served(job, ServedModel(0, calls, sessions.append)), work)
    resumed, _ = searched(served(job, ServedModel(0, opened=sessions.append)), work)
    uninterrupted = ServedModel(0, opened=sessions.append)
    searched(served(job_of(exp, tmp_path / "anywhere"), uninterrupted), work)
    assert bytes_of(resumed) == bytes_of(whole)
    assert sum(session.made for session in sessions[:3]) == sessions[3].made


def test_the_batches_of_a_generator_in_this_process_are_followed(
    exp: Experiment, work: tuple[dict[str, Pair], Drafts], tmp_path: Path
) -> None:
    job, batches = replace(job_of(exp, tmp_path), edit_tokens=2), list[BatchProgress]()
    (pair_id, draft), *_ = work[1].items()
    job = replace(job, generator=replace(job.generator, model=LocalModel(TinyModel())))
    with job.open(batches.append) as models:
        models.run(work[0], {pair_id: draft}, 0.0, lambda _: None)
    assert batches[0] == BatchProgress(rows=1, ended=0, tokens=1, left=job.draft_tokens - 1), (
        "the draft of the second start"
    )
