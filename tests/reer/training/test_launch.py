"""A training on several processes is the training of one, and stops and goes on like it."""

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reer.errors import InputError
from reer.training.launch import command, fine_tune
from reer.training.parallelism import Parallelism
from reer.training.recipe import Stopped
from tests.fakes.training import FULL, job_of, train, weights

BATCH = replace(FULL, global_batch=4, epochs=60, learning_rate=2e-4)  # long enough to be stopped on the way
TWO = Parallelism(micro_batch=1, checkpoint_steps=100, recompute_activations=False, devices=2)


def test_two_processes_take_the_steps_of_one_though_stopped_on_the_way(rows: Any, tmp_path: Path) -> None:
    seen: list[float] = []

    def on_log(row: Mapping[str, float]) -> None:
        seen.append(row["step"])
        if row["step"] == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    one = train(rows, tmp_path / "one", BATCH, replace(TWO, micro_batch=2, devices=1))
    with pytest.raises(Stopped, match="stopped at step"):
        fine_tune(job_of(rows, tmp_path / "two", BATCH, TWO), on_log)
    two = fine_tune(job_of(rows, tmp_path / "two", BATCH, TWO), lambda _: None)
    assert seen == [float(step) for step in range(1, two.resumed_from + 1)]
    assert 1 <= two.resumed_from < two.steps == one.steps == 120
    for mine, theirs in zip(two.curve, one.curve, strict=True):
        for what in ("loss", "grad_norm", "num_tokens", "examples"):
            assert mine[what] == pytest.approx(theirs[what], rel=1e-3), what
    apart = [(weights(one.folder)[name] - tensor).abs().max() for name, tensor in weights(two.folder).items()]
    assert max(map(float, apart)) < 1e-3


def test_weights_that_would_not_be_split_are_refused(rows: Any, tmp_path: Path) -> None:
    """Splitting them wants GPUs; on a CPU accelerate would quietly keep a copy in each process."""
    job = job_of(rows, tmp_path, BATCH, replace(TWO, sharding="full"))
    with pytest.raises(InputError, match="sharding=full, but accelerate runs MULTI_CPU here"):
        fine_tune(job, lambda _: None)


def test_a_launch_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    job = job_of([], tmp_path, BATCH, TWO)
    Path(job.rows).unlink()
    with pytest.raises(RuntimeError, match=r"(?s)2 processes ended with code.*launch\.log.*FileNotFoundError"):
        fine_tune(job, lambda _: None)


def test_a_node_starts_trls_fsdp2_and_several_start_it_once_on_each() -> None:
    node = Parallelism(2, 100, True, devices=8, sharding="full")
    words = command(node, "bfloat16", Path("/w/job.json"), "127.0.0.1", 29500)
    assert words[words.index("--config_file") + 1].endswith("accelerate_configs/fsdp2.yaml")
    assert words[words.index("--num_processes") + 1] == "8"
    assert words[words.index("--mixed_precision") + 1] == "bf16"
    assert words[-2:] == ["reer.training.launch", "/w/job.json"]
    nodes = replace(node, nodes=2, start=("srun", "--nodes=2"))
    *start, shell, flag, line = command(nodes, "bfloat16", Path("/w/a job.json"), "node-1", 29500)
    assert (start, shell, flag) == (["srun", "--nodes=2"], "bash", "-c")
    assert "--num_processes 16 --num_machines 2" in line
    assert '--machine_rank "$SLURM_NODEID"' in line
    assert line.endswith("--module reer.launch '/w/a job.json'")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"padding_free": True}, "see each other"),
        ({"nodes": 2}, "want `start`"),
        ({"devices": 0}, "devices and nodes >= 1"),
    ],
)
def test_impossible_layouts_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Parallelism(1, 1, False, **settings)
