"""The size of a decoder from its configuration, to estimate memory and compute before it is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import PositiveInt


@dataclass(frozen=True, kw_only=True)
class Size:
    """The dimensions of a Llama- or Qwen-like decoder: grouped-query attention and a gated MLP; norms are ignored."""

    hidden: PositiveInt
    layers: PositiveInt
    intermediate: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    vocabulary: PositiveInt
    tied: bool

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """Input and output widths of the linear maps of one layer."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        up, down = (self.hidden, self.intermediate), (self.intermediate, self.hidden)
        attention = ((self.hidden, queries), (self.hidden, keys), (self.hidden, keys), (queries, self.hidden))
        return (*attention, up, up, down)

    @property
    def layer_parameters(self) -> int:
        return sum(inputs * outputs for inputs, outputs in self.linears)

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding, and of the LM head where it is not tied."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + self.embedding_parameters

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of low-rank adapters on every linear map."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.linears)


def size_in(folder: Path) -> Size | None:
    """The size of a model saved in a folder; None where its configuration is of another kind."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    wanted = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "vocab_size")
    if not all(isinstance(config.get(name), int) for name in wanted):
        return None
    hidden, layers, intermediate, heads, vocabulary = (config[name] for name in wanted)
    return Size(
        hidden=hidden,
        layers=layers,
        intermediate=intermediate,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        vocabulary=vocabulary,
        tied=bool(config.get("tie_word_embeddings")),
    )
