"""A training on several processes takes the steps of a single process, and stops and resumes like it."""

import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from reer.errors import InputError
from reer.training.launch import command, fine_tune
from reer.training.parallelism import Parallelism
from reer.training.recipe import Stopped
from reer.training.sft import check_sharding
from tests.fakes.training import FULL, job_of, train, weights

BATCH = replace(FULL, global_batch=4, epochs=30, learning_rate=2e-4)  # long enough to be stopped before the end
TWO = Parallelism(micro_batch=1, checkpoint_steps=100, recompute_activations=False, devices=2)


def test_two_processes_take_the_steps_of_one_even_when_stopped_and_resumed(rows: Any, tmp_path: Path) -> None:
    logged: list[float] = []

    def on_log(row: Mapping[str, float]) -> None:
        logged.append(row["step"])
        if row["step"] == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    one = train(rows, tmp_path / "one", BATCH, replace(TWO, micro_batch=2, devices=1))
    with pytest.raises(Stopped, match="stopped at step"):
        fine_tune(job_of(rows, tmp_path / "two", BATCH, TWO), on_log)
    two = fine_tune(job_of(rows, tmp_path / "two", BATCH, TWO), lambda _: None)
    assert logged == [float(step) for step in range(1, two.resumed_from + 1)]
    assert 1 <= two.resumed_from < two.steps == one.steps == 60
    for ours, expected in zip(two.curve, one.curve, strict=True):
        for name in ("loss", "grad_norm", "num_tokens", "examples"):
            assert ours[name] == pytest.approx(expected[name], rel=1e-3), name
    differences = [(weights(one.folder)[name] - tensor).abs().max() for name, tensor in weights(two.folder).items()]
    assert max(map(float, differences)) < 1e-3


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_sharding_without_a_gpu_is_refused_before_any_process_starts(rows: Any, tmp_path: Path) -> None:
    job = job_of(rows, tmp_path, BATCH, replace(TWO, sharding="full"))
    with pytest.raises(InputError, match="sharding=full wants GPUs"):
        fine_tune(job, lambda _: None)
    assert not (tmp_path / "launch.log").exists()


@pytest.mark.parametrize(("sharding", "kind"), [("full", "MULTI_CPU"), ("none", "FSDP")])
def test_sharding_that_accelerate_does_otherwise_is_refused(sharding: str, kind: str) -> None:
    """FSDP2 needs GPUs; on a CPU accelerate would silently keep a copy of the weights in each process."""
    accelerator = SimpleNamespace(distributed_type=SimpleNamespace(value=kind))
    with pytest.raises(InputError, match=f"sharding={sharding}, but accelerate runs {kind} here"):
        check_sharding(cast(Any, SimpleNamespace(accelerator=accelerator)), replace(TWO, sharding=cast(Any, sharding)))


def test_a_launch_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    job = job_of([], tmp_path, BATCH, TWO)
    Path(job.rows).unlink()
    with pytest.raises(RuntimeError, match=r"(?s)2 processes exited with code.*launch\.log.*FileNotFoundError"):
        fine_tune(job, lambda _: None)


def test_a_node_starts_trls_fsdp2_and_several_start_it_once_on_each() -> None:
    node = Parallelism(micro_batch=2, checkpoint_steps=100, recompute_activations=True, devices=8, sharding="full")
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
    assert line.endswith("--module reer.training.launch '/w/a job.json'")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"padding_free": True}, "attend to each other"),
        ({"nodes": 2}, "need `start`"),
    ],
)
def test_contradicting_settings_of_parallelism_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Parallelism(micro_batch=1, checkpoint_steps=1, recompute_activations=False, **settings)


@pytest.mark.parametrize("field", ["micro_batch", "checkpoint_steps", "devices", "nodes"])
def test_a_count_below_one_is_refused_by_name(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        TypeAdapter(Parallelism).validate_python({**asdict(TWO), field: 0})
