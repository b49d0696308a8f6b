"""The cache of decoded rows against transformers' own."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedModel, Qwen3Config

from reer.models.local.cache import ROOM, decoding_cache
from reer.models.local.checkpoints import TinyModel


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(TinyModel().fetch()).eval()


@torch.inference_mode()
def steps(model: PreTrainedModel, cache: Any, tokens: int) -> list[torch.Tensor]:
    """Logits of a prompt of three rows, of half of the tokens after it, and of the other half after a row has ended."""
    ids = torch.randint(3, 200, (3, 5 + tokens), generator=torch.Generator().manual_seed(0))
    logits = [model(input_ids=ids[:, :5], cache=cache, use_cache=True).logits]
    for at in range(5, 5 + tokens):
        if at == 5 + tokens // 2:
            ids = ids[[0, 2]]
            cache.batch_select_indices(torch.tensor([0, 2]))
        logits.append(model(input_ids=ids[:, at : at + 1], cache=cache, use_cache=True).logits)
    return logits


@pytest.mark.parametrize("tokens", [8, ROOM + 8], ids=["within the room", "beyond it"])
def test_logits_are_those_of_transformers_own_cache_bit_for_bit(model: PreTrainedModel, tokens: int) -> None:
    ours = steps(model, decoding_cache(model.config), tokens)
    for made, wanted in zip(ours, steps(model, DynamicCache(config=model.config), tokens), strict=True):
        assert torch.equal(made, wanted)


def test_a_step_leaves_the_tokens_before_it_where_they_are(model: PreTrainedModel) -> None:
    cache = decoding_cache(model.config)
    steps(model, cache, 2)
    before = cache.layers[0].keys.data_ptr()
    with torch.inference_mode():
        model(input_ids=torch.tensor([[7], [8]]), cache=cache, use_cache=True)
    assert cache.layers[0].keys.shape[-2] == 8
    assert cache.layers[0].keys.data_ptr() == before


def test_a_model_with_windows_has_the_cache_of_transformers() -> None:
    config = Qwen3Config(num_hidden_layers=2, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    assert type(decoding_cache(config)) is DynamicCache
    assert type(decoding_cache(AutoConfig.from_pretrained(TinyModel().fetch()))) is not DynamicCache
