"""How prompts are read, the cache of decoded rows and the layout of weights against transformers' own."""

import weakref
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedModel, Qwen2Config, Qwen3Config

from reer.models.local import decoding
from reer.models.local.checkpoints import TinyModel
from reer.models.local.decoding import KNOWN, ROOM, SHARED_TOKENS, decoding_cache, pack_weights, read_prompts
from reer.models.local.prefix import register


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


def numbers(count: int, seed: int) -> list[int]:
    return torch.randint(3, 200, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


HEAD = numbers(SHARED_TOKENS + 20, 0)
PROMPTS = {
    "one": [numbers(9, 1)],
    "of one token": [[7], [8]],
    "nothing in common": [numbers(4, 1), numbers(30, 2), numbers(11, 3)],
    "the same instructions": [
        HEAD + numbers(3, 1),
        HEAD + numbers(25, 2),
        HEAD + numbers(25, 3),
        HEAD + numbers(26, 4),
    ],
    "one begins another": [HEAD, HEAD + numbers(4, 1), HEAD[:-2]],
    "equal": [HEAD, HEAD],
}


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=list(PROMPTS))
@torch.inference_mode()
def test_prompts_that_are_read_together_go_on_as_each_does_alone(prompts: list[list[int]], rows: int) -> None:
    model = AutoModelForCausalLM.from_pretrained(TinyModel().fetch(), attn_implementation=register()).eval()
    logits, mask, cache = read_prompts(model, prompts, rows)
    alone = [list(prompt) for prompt in prompts]
    assert mask.sum(1).tolist() == [len(prompt) for prompt in prompts]
    for _ in range(3):
        wanted = torch.stack([model(input_ids=torch.tensor([tokens])).logits[0, -1] for tokens in alone])
        torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=1e-5)
        step = wanted.argmax(1)
        for tokens, token in zip(alone, step.tolist(), strict=True):
            tokens.append(token)
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
        places = mask.cumsum(1)[:, -1:] - 1
        made = model(input_ids=step[:, None], attention_mask=mask, position_ids=places, cache=cache, use_cache=True)
        logits = made.logits[:, -1]


def test_instructions_are_read_once_and_no_padding_is() -> None:
    model = AutoModelForCausalLM.from_pretrained(TinyModel().fetch(), attn_implementation=register()).eval()
    shapes: list[tuple[int, ...]] = []
    model.model.register_forward_pre_hook(
        lambda _, __, given: shapes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    read_prompts(model, PROMPTS["the same instructions"], 1)
    assert shapes == [(1, len(HEAD)), (1, 3), (1, 25), (1, 25), (1, 26)]


@pytest.mark.parametrize("rows", [1, 4, 14, 40])
def test_packed_weights_give_the_same_logits(rows: int) -> None:
    ids = torch.randint(3, 200, (rows, 9), generator=torch.Generator().manual_seed(1))
    packed = AutoModelForCausalLM.from_pretrained(TinyModel().fetch()).eval()
    with torch.inference_mode():
        wanted = packed(input_ids=ids).logits
        pack_weights(packed)
        made = packed(input_ids=ids).logits
    assert not [layer for layer in packed.modules() if type(layer) is torch.nn.Linear], "every layer is packed"
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-5)


SMALL = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


@pytest.mark.parametrize("kind", KNOWN)
def test_every_model_that_is_packed_computes_and_takes_tied_weights(kind: str) -> None:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SMALL, tie_word_embeddings=True)).eval()
    ids = torch.tensor([[3, 4, 5]])
    with torch.inference_mode():
        wanted = model(input_ids=ids).logits
        pack_weights(model)
        torch.testing.assert_close(model(input_ids=ids).logits, wanted)
        model.tie_weights()  # as lm-eval does
        torch.testing.assert_close(model(input_ids=ids).logits, wanted)
    assert type(model.model.layers[0].mlp.up_proj) is not torch.nn.Linear


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KNOWN)
@torch.inference_mode()
def test_every_known_model_reads_prompts_together_as_alone(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, **{**SMALL, "vocab_size": 200}), dtype=dtype, attn_implementation=register()
    ).eval()
    prompts = PROMPTS["the same instructions"]
    wanted = torch.stack([model(input_ids=torch.tensor([prompt])).logits[0, -1] for prompt in prompts])
    pack_weights(model)
    made, _, _ = read_prompts(model, prompts, 2)
    limit = 1e-5 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(made, wanted, atol=limit, rtol=limit)
    assert made.dtype == dtype


def test_a_model_that_may_read_its_weights_stays_as_it_is() -> None:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("jamba", **SMALL, use_mamba_kernels=False))
    pack_weights(model)
    assert type(model.get_output_embeddings()) is torch.nn.Linear


def test_weights_are_replaced_one_layer_at_a_time() -> None:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **{**SMALL, "num_hidden_layers": 3})).eval()
    layers = [weakref.ref(layer) for layer in model.modules() if type(layer) is torch.nn.Linear]
    alive: list[int] = []
    made = decoding._packed_linear()

    def counted(layer: torch.nn.Linear) -> torch.nn.Module:
        alive.append(sum(one() is not None for one in layers))
        return made(layer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_packed_linear", lambda: counted)
        pack_weights(model)
    assert len(alive) == len(layers) == 22
    assert alive[-1] < 8, "those of earlier layers are gone"


def test_a_layer_with_a_bias_keeps_it() -> None:
    config = Qwen2Config(**SMALL)
    model = AutoModelForCausalLM.from_config(config).eval()
    layer = model.model.layers[0].self_attn.q_proj
    torch.nn.init.normal_(layer.bias)
    states = torch.randn(3, 1, 16)
    with torch.inference_mode():
        wanted = layer(states)
        pack_weights(model)
        torch.testing.assert_close(model.model.layers[0].self_attn.q_proj(states), wanted)


def test_weights_in_another_precision_stay_as_they_are() -> None:
    model = AutoModelForCausalLM.from_pretrained(TinyModel().fetch(), dtype=torch.bfloat16)
    pack_weights(model)
    assert type(model.get_output_embeddings()) is torch.nn.Linear


def test_a_model_with_windows_has_the_cache_of_transformers() -> None:
    config = Qwen3Config(num_hidden_layers=2, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    assert type(decoding_cache(config)) is DynamicCache
    assert type(decoding_cache(AutoConfig.from_pretrained(TinyModel().fetch()))) is not DynamicCache
