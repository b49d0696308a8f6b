"""The self-test: many worlds, in two processes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from experiments.config.parts import FrozenPlan
from experiments.selftest.outcome import WorldOutcome, outcome_of
from experiments.selftest.run import Arms, prepared, run_world
from experiments.selftest.world import drawn_world

PROCESSES = 2
SEEDS = (0, 1, 2)  # of the trainings in each world
MEMORY = Path("/dev/shm")  # a file system in memory, where there is one: the store waits for the disk


def outcomes(
    plans: Sequence[FrozenPlan], worlds: Sequence[int], on_done: Callable[[int], None] = lambda done: None
) -> list[WorldOutcome]:
    """The outcome of each world, given by its seed, in this order; `on_done` is called with their number so far."""
    found: dict[int, WorldOutcome] = {}
    with tempfile.TemporaryDirectory(prefix="reer-selftest-", dir=_memory()) as folder:
        arms = prepared(plans, Path(folder) / "shared")
        with ProcessPoolExecutor(min(PROCESSES, len(worlds)), get_context("spawn")) as pool:
            for outcome in _done(pool, arms, Path(folder), worlds):
                found[outcome.seed] = outcome
                on_done(len(found))
    return [found[seed] for seed in worlds]


def _memory() -> Path | None:
    return MEMORY if MEMORY.is_dir() else None


def _done(pool: Executor, arms: Arms, folder: Path, worlds: Sequence[int]) -> Iterator[WorldOutcome]:
    waiting: list[Future[WorldOutcome]] = [pool.submit(outcome_in, seed, arms, folder, SEEDS) for seed in worlds]
    try:
        for future in as_completed(waiting):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def outcome_in(seed: int, arms: Arms, folder: Path, seeds: Sequence[int]) -> WorldOutcome:
    """The outcome of one world, whose files are removed."""
    root = folder / f"world-{seed}"
    outcome = outcome_of(run_world(drawn_world(seed, arms.learnt), arms, root, seeds))
    shutil.rmtree(root)
    return outcome
