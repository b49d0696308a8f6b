"""A causal model run on fresh tokens after a cached prefix, so that what candidates share is computed once.

With its own cache, transformers builds a mask over the whole square, and a CPU then computes all of it. Here the
attention is split instead: fresh tokens attend to the prefix without a mask and to each other causally, and the two
are merged by their log-sum-exp, which is exact. Models with layers that do not attend to all tokens share nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import Tensor

ATTENTION = "reer_prefix"


@dataclass(frozen=True)
class Kv:
    """Keys and values of consecutive tokens: for each layer two tensors [rows, kv heads, tokens, head size]."""

    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def tokens(self) -> int:
        return self.layers[0][0].shape[2] if self.layers else 0

    @property
    def bytes(self) -> int:
        return sum(t.numel() * t.element_size() for layer in self.layers for t in layer)

    def first(self, tokens: int) -> Kv:
        """The first tokens, as a view."""
        return Kv(tuple((keys[:, :, :tokens], values[:, :, :tokens]) for keys, values in self.layers))

    def row(self, row: int, tokens: int) -> Kv:
        """The first tokens of one row, as a view."""
        return Kv(tuple((k[row : row + 1, :, :tokens], v[row : row + 1, :, :tokens]) for k, v in self.layers))

    def copy(self) -> Kv:
        """A copy, so that the tensors it was a view of can be freed."""
        return Kv(tuple((keys.clone(), values.clone()) for keys, values in self.layers))

    def then(self, more: Kv) -> Kv:
        """These tokens followed by others."""
        import torch

        if not self.layers or not more.tokens:
            return self if self.layers else more
        both = zip(self.layers, more.layers, strict=True)
        return Kv(tuple((torch.cat([k, k2], 2), torch.cat([v, v2], 2)) for (k, v), (k2, v2) in both))


NOTHING = Kv(())


def can_share(config: Any) -> bool:
    """True for models whose layers all attend to all earlier tokens, with plain scaled scores."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return kinds == {"full_attention"} and not windowed and not getattr(config, "attn_logit_softcapping", None)


def register() -> str:
    """Register the attention with transformers and return its name. Without a prefix it is transformers' own sdpa."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, cast(Any, _attention))
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    return ATTENTION


def hidden_after(model: Any, ids: Tensor, prefix: Kv, keep: int) -> tuple[Tensor, Kv]:
    """Last hidden states [rows, tokens, size] of fresh token ids [rows, tokens] after a prefix of one row, with keys
    and values of the first `keep` fresh tokens. Rows may be padded on the right: later tokens change nothing before
    them."""
    import torch

    made: list[tuple[Tensor, Tensor]] = []
    positions = torch.arange(prefix.tokens, prefix.tokens + ids.shape[1], device=ids.device).unsqueeze(0)
    out = model.model(
        input_ids=ids,
        position_ids=positions,
        use_cache=False,
        reer_prefix=prefix.layers,
        reer_made=made,
        reer_keep=keep,
    )
    return out.last_hidden_state, Kv(tuple(made))


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    *,
    reer_prefix: Any = (),
    reer_made: list[tuple[Tensor, Tensor]] | None = None,
    reer_keep: int = 0,
    **settings: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [rows, heads, tokens, size], keys and values with fewer heads."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if reer_made is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    if reer_keep:
        reer_made.append((key[:, :, :reer_keep].clone(), value[:, :, :reer_keep].clone()))
    past = reer_prefix[module.layer_idx] if reer_prefix else None
    attend = _split if query.device.type == "cpu" else _joined
    return attend(query, key, value, past, settings["scaling"]).transpose(1, 2), None


def _split(query: Tensor, key: Tensor, value: Tensor, past: tuple[Tensor, Tensor] | None, scale: float) -> Tensor:
    """Two calls of the CPU's flash kernel, merged by the share of the softmax that each covers."""
    import torch

    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    fresh, fresh_lse = flash(query, key, value, 0.0, True, scale=scale)
    if past is None:
        return fresh
    rows = query.shape[0]
    before, before_lse = flash(query, past[0].expand(rows, -1, -1, -1), past[1].expand(rows, -1, -1, -1), scale=scale)
    return torch.lerp(before, fresh, torch.sigmoid(fresh_lse - before_lse).unsqueeze(-1).to(fresh.dtype))


def _joined(query: Tensor, key: Tensor, value: Tensor, past: tuple[Tensor, Tensor] | None, scale: float) -> Tensor:
    """One call over prefix and fresh tokens with a lower-right causal mask, which GPU kernels support directly."""
    import torch
    from torch.nn.attention.bias import causal_lower_right

    if past is not None:
        rows = query.shape[0]
        key = torch.cat([past[0].expand(rows, -1, -1, -1), key], dim=2)
        value = torch.cat([past[1].expand(rows, -1, -1, -1), value], dim=2)
    mask: Any = causal_lower_right(query.shape[2], key.shape[2])
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=scale, enable_gqa=True)
