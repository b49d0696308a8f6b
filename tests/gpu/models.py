"""Shapes of models to measure with: Qwen3's architecture, random weights or none, and a byte-level tokenizer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reer.models.local.checkpoints import TinyModel
from reer.models.local.size import Size, size_in

QWEN3_06B = Size(
    hidden=1024, layers=28, intermediate=3072, heads=16, kv_heads=8, head_dim=128, vocabulary=151936, tied=True
)
QWEN3_8B = Size(
    hidden=4096, layers=36, intermediate=12288, heads=32, kv_heads=8, head_dim=128, vocabulary=151936, tied=False
)
QWEN25_32B = Size(
    hidden=5120, layers=64, intermediate=27648, heads=40, kv_heads=8, head_dim=128, vocabulary=152064, tied=False
)
QWEN3_TINY = Size(hidden=64, layers=2, intermediate=128, heads=2, kv_heads=1, head_dim=64, vocabulary=300, tied=True)
"""As small as engines take: their kernels want heads of at least 32 or 64."""


def described(size: Size, folder: Path) -> Path:
    """A folder with the configuration and the tokenizer of a model, and no weights."""
    tokenizer = byte_level()
    tokenizer.save_pretrained(folder)
    configuration(size, tokenizer).save_pretrained(folder)
    assert size_in(folder) == size
    return folder


@contextmanager
def model_folder(size: Size) -> Iterator[Path]:
    """The folder of a model with random weights, in bfloat16 where there is a GPU."""
    import torch
    from transformers import Qwen3ForCausalLM

    gpu = torch.cuda.is_available()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = byte_level()
        config = configuration(size, tokenizer)
        config.dtype = torch.bfloat16 if gpu else torch.float32
        torch.set_default_dtype(config.dtype)
        try:
            with torch.device("cuda" if gpu else "cpu"):
                Qwen3ForCausalLM(config).save_pretrained(folder)
        finally:
            torch.set_default_dtype(torch.float32)
        if gpu:
            torch.cuda.empty_cache()
        tokenizer.save_pretrained(folder)
        assert size_in(Path(folder)) == size
        yield Path(folder)


def byte_level() -> Any:
    """The tokenizer of `TinyModel`: a token for every byte."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TinyModel().fetch())


def configuration(size: Size, tokenizer: Any) -> Any:
    """The configuration of a model of this size for a tokenizer."""
    from transformers import Qwen3Config

    return Qwen3Config(
        architectures=["Qwen3ForCausalLM"],
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        head_dim=size.head_dim,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        intermediate_size=size.intermediate,
        tie_word_embeddings=size.tied,
        max_position_embeddings=32768,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
