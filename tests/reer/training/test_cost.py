"""The estimated cost of a training against published and measured figures."""

from dataclasses import replace
from pathlib import Path

import pytest

from reer.models.local.checkpoints import FolderModel, TinyModel
from reer.models.local.size import Size, size_in
from reer.training.cost import TrainingSetSize, training_cost
from reer.training.parallelism import Parallelism
from reer.training.recipe import Lora
from tests.fakes.plans import compose
from tests.fakes.training import FULL

QWEN3_8B = Size(
    hidden=4096, layers=36, intermediate=12288, heads=32, kv_heads=8, head_dim=128, vocabulary=151936, tied=False
)
SMOLLM2 = Size(hidden=576, layers=30, intermediate=1536, heads=9, kv_heads=3, head_dim=64, vocabulary=49152, tied=True)
TFLOPS = 270.0  # 5,500 tokens/s of an 8B model
PAPER = replace(FULL, epochs=3, learning_rate=2e-5, global_batch=96, precision="bfloat16")
ONE = Parallelism(micro_batch=1, checkpoint_steps=100, recompute_activations=True)
NODE = replace(ONE, micro_batch=2, devices=8, sharding="full")


def test_parameter_counts_match_the_models_names() -> None:
    assert QWEN3_8B.parameters == pytest.approx(8.19e9, rel=1e-3)
    assert SMOLLM2.parameters == pytest.approx(134.5e6, rel=1e-3)
    for choice, billions in (("qwen25_7b_instruct", 7.61), ("qwen25_32b_instruct", 32.76), ("qwen3_8b", 8.19)):
        size = compose("scale=paper", f"model@student={choice}").student.checkpoint.size
        assert size.parameters == pytest.approx(billions * 1e9, rel=2e-3), choice


def test_the_size_in_a_folder_is_that_of_its_weights() -> None:
    tiny = TinyModel()
    assert size_in(tiny.fetch()) == tiny.size == FolderModel(str(tiny.fetch())).size
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny.fetch())
    norms = sum(p.numel() for name, p in model.named_parameters() if "norm" in name)
    assert sum(p.numel() for p in model.parameters()) - norms == tiny.size.parameters


def test_a_configuration_of_another_kind_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    assert size_in(tmp_path) is None


def test_the_papers_training_costs_what_published_rates_say() -> None:
    """20,000 rows of 4,850 tokens, 3 epochs: 291 M tokens, 625 steps; 14.7 device-hours at 5,500 tokens/s."""
    cost = training_cost(PAPER, NODE, QWEN3_8B, TrainingSetSize(20_000, 20_000 * 4850, 16_384), TFLOPS)
    # 209 steps for each epoch, not 208.3: its last batch is a small one
    assert (cost.steps, cost.tokens) == (627, 291_000_000)
    assert cost.device_hours == pytest.approx(14.7, rel=0.01)
    assert cost.memory_gib.trained_weights == pytest.approx(16.4 / 1.0737, rel=0.01)  # 131 GB over 8


def test_memory_is_near_what_was_measured_and_published() -> None:
    """SmolLM2 in fp32, 2 rows of 512 tokens: 5.5 GiB on a CPU, 4.2 with recomputation, 4.8 with adapters of rank 16;
    Qwen3-8B with adapters at 16 K tokens: 24 to 28 GB."""
    fp32, rows = replace(PAPER, precision="float32"), TrainingSetSize(32, 32 * 512, 512)
    lora = replace(fp32, method="lora", lora=Lora(16, 32, 0.0))
    for recipe, recompute, measured in ((fp32, False, 5.5), (fp32, True, 4.2), (lora, False, 4.8)):
        cost = training_cost(
            recipe, replace(ONE, micro_batch=2, recompute_activations=recompute), SMOLLM2, rows, TFLOPS
        )
        assert cost.device_gib == pytest.approx(measured, rel=0.3)
    adapters = replace(PAPER, method="lora", lora=Lora(32, 64, 0.0))
    one = training_cost(adapters, ONE, QWEN3_8B, TrainingSetSize(1000, 1, 16_384), TFLOPS).device_gib
    assert 24 <= one * 1.0737 <= 30
    quantized = replace(adapters, lora=Lora(32, 64, 0.0, quantized=True))
    assert training_cost(quantized, ONE, QWEN3_8B, TrainingSetSize(1000, 1, 4096), TFLOPS).device_gib < 16


def test_sharding_lowers_the_memory_of_each_device_and_not_the_work() -> None:
    size = TrainingSetSize(37_000, 200_000_000, 32_768)
    one, node = (training_cost(PAPER, parallelism, QWEN3_8B, size, TFLOPS) for parallelism in (ONE, NODE))
    assert one.device_gib > 100 > 80 > node.device_gib
    assert (one.steps, one.device_hours) == (node.steps, node.device_hours)
