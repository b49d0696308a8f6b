"""The self-test: many worlds, in two processes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from experiments.config.parts import FrozenPlan
from experiments.selftest.outcome import WorldOutcome, outcome_of
from experiments.selftest.run import Arms, prepared, run_world
from experiments.selftest.world import drawn_world

PROCESSES = 2
SEEDS = (0, 1, 2)  # of the trainings in each world
MEMORY = Path("/dev/shm")  # a file system in memory, where there is one: the store waits for the disk


def outcomes(plans: Sequence[FrozenPlan], worlds: Sequence[int]) -> Iterator[WorldOutcome]:
    """The outcome of each world, given by its seed, as it comes. `plans` are those of the real arms."""
    memory = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="reer-selftest-", dir=memory) as folder:
        arms = prepared(plans, Path(folder) / "shared")
        pool = ProcessPoolExecutor(min(PROCESSES, len(worlds)), get_context("spawn"))
        try:
            waiting = [pool.submit(outcome_in, seed, arms, Path(folder), SEEDS) for seed in worlds]
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
