"""Work that decoding would repeat at each step, done once.

transformers' own cache joins each new token to all earlier ones, in every layer, which copies them all: for 14 rows of
600 tokens of a 135M model that takes as long as everything else. Here the keys and values have room for the tokens to
come, and a step writes the new token only.

Prompts are read a few at a time, so that short ones are not padded to the length of long ones, and what all of them
begin with, such as the instructions to a judge, is read once.

On a CPU, MKL rearranges a weight for its kernel in every product, which for a few rows takes longer than the product.
Here oneDNN's layout is made once, as torch's compiler does: a step of the 135M model takes 0.4 to 0.6 of the time with
4 rows, and 0.6 to 0.9 with 1, 14 and 32 (two AVX2 cores).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from reer.models.local.prefix import NOTHING, Kv, can_share, hidden_after
from reer.models.local.scoring import Ids, shared_tokens

if TYPE_CHECKING:
    from torch import Tensor

ROOM = 256  # tokens that room is made for at once
ROWS = 16  # rows that the layout of weights is made for; others may differ
KNOWN = ("llama", "qwen2", "qwen3")
"""Models known to call their linear layers and never to read their weights; their logits are those of their head."""
SHARED_TOKENS = 16  # that prompts must begin with for it to be worth a run of its own


def decoding_cache(config: Any) -> Any:
    """An empty `transformers.Cache` for one batch of a model with this configuration."""
    from transformers import Cache, DynamicCache

    return Cache(layer_class_to_replicate=_roomy_layer()) if can_share(config) else DynamicCache(config=config)


def can_read_prompts(config: Any) -> bool:
    """Whether `read_prompts` knows models with this configuration."""
    return can_share(config) and config.model_type in KNOWN


def read_prompts(model: Any, prompts: Sequence[Ids], rows: int) -> tuple[Tensor, Tensor, Any]:
    """Read prompts, `rows` at a time. Returns the logits after each of them [prompts, vocabulary], the attention mask
    [prompts, tokens] with padding on the left, and the `transformers.Cache` that belongs to it."""
    import torch

    longest, before = max(map(len, prompts)), _common_beginning(model, prompts)
    mask = torch.zeros((len(prompts), longest), dtype=torch.long, device=model.device)
    room, last = NOTHING, list["Tensor"]()
    for start in range(0, len(prompts), rows):
        part = [prompt[before.tokens :] for prompt in prompts[start : start + rows]]
        width = max(map(len, part))
        ids = torch.tensor([tokens + [0] * (width - len(tokens)) for tokens in part], device=model.device)
        hidden, made = hidden_after(model, ids, before, width)
        room = room if room.layers else _empty(made, mask.shape)
        for row, tokens in enumerate(part):
            at = longest - len(tokens)
            _put(room, start + row, at - before.tokens, before)
            _put(room, start + row, at, made.row(row, len(tokens)))
            mask[start + row, at - before.tokens :] = 1
            last.append(hidden[row, len(tokens) - 1].clone())
        del hidden, made  # before the next part needs the memory
    kept, layers = decoding_cache(model.config), list(room.layers)
    del room
    for number in range(len(layers)):
        kept.update(*layers.pop(0), number)  # the cache copies them: one layer at a time is there twice
    return model.get_output_embeddings()(torch.stack(last)), mask, kept


def _common_beginning(model: Any, prompts: Sequence[Ids]) -> Kv:
    """The keys and values of what all prompts begin with, without the last token of any of them; nothing of a single
    prompt, or where it is short."""
    import torch

    first, *others = prompts
    shared = min([len(first) - 1, *(min(shared_tokens(first, ids), len(ids) - 1) for ids in others)])
    if not others or shared < SHARED_TOKENS:
        return NOTHING
    ids = torch.tensor([first[:shared]], device=model.device)
    return hidden_after(model, ids, NOTHING, shared)[1]


def _empty(like: Kv, shape: Sequence[int]) -> Kv:
    """Zeros for so many rows and tokens of such keys and values; what stands in the padding must be finite."""
    rows, tokens = shape

    def zeros(states: Tensor) -> Tensor:
        return states.new_zeros((rows, states.shape[1], tokens, states.shape[3]))

    return Kv(tuple((zeros(keys), zeros(values)) for keys, values in like.layers))


def _put(room: Kv, row: int, at: int, states: Kv) -> None:
    """Write the states of one row into a row of a room, from a token on."""
    until = at + states.tokens
    for (keys, values), (some_keys, some_values) in zip(room.layers, states.layers, strict=False):  # there may be none
        keys[row, :, at:until], values[row, :, at:until] = some_keys[0], some_values[0]


@cache
def _roomy_layer() -> Any:
    """A layer of a cache whose keys and values [rows, kv heads, tokens, head size] are views of longer tensors."""
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):
        rooms: Sequence[Tensor] = ()

        def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
            before = self.get_seq_length()
            after = before + key_states.shape[-2]
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
                self.rooms = [_room(key_states, after), _room(value_states, after)]
            elif self.rooms[0].shape[-2] < after:
                self.rooms = [_room(room, after) for room in self.rooms]
            for room, states in zip(self.rooms, (key_states, value_states), strict=True):
                room[..., before:after, :] = states
            return self._shown(after)

        def batch_select_indices(self, indices: Tensor) -> None:
            self.rooms = [room[indices] for room in self.rooms]
            self._shown(self.get_seq_length())

        def _shown(self, tokens: int) -> tuple[Tensor, Tensor]:
            self.keys, self.values = (room[..., :tokens, :] for room in self.rooms)
            return self.keys, self.values

    return RoomyLayer


def pack_weights(model: Any) -> None:
    """Replace the linear layers of a model (`KNOWN`) in float32 on a CPU by layers whose weights are in oneDNN's
    layout, one after another; leave other models as they are. The embedding stays where the LM head is tied to it. The
    model cannot be trained, copied or saved after it."""
    import torch

    if model.device.type != "cpu" or model.config.model_type not in KNOWN or not torch.backends.mkldnn.is_available():
        return
    for module in [module for module in model.modules() if type(module) is not torch.nn.Linear]:
        for name, layer in list(module.named_children()):
            plain = type(layer) is torch.nn.Linear and type(layer.weight) is torch.nn.Parameter
            if plain and layer.weight.dtype == torch.float32:
                setattr(module, name, _packed_linear()(layer))


@cache
def _packed_linear() -> Any:
    """A linear layer with its weight in oneDNN's layout."""
    import torch

    class PackedLinear(torch.nn.Module):
        def __init__(self, linear: torch.nn.Linear) -> None:
            super().__init__()
            self.bias = linear.bias
            self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)

        def forward(self, states: Tensor) -> Tensor:
            return torch.ops.mkldnn._linear_pointwise(states, self.packed, self.bias, "none", [], "")

    return PackedLinear


def _room(states: Tensor, tokens: int) -> Tensor:
    """A longer tensor that begins with these states."""
    room = states.new_empty((*states.shape[:2], tokens + ROOM, states.shape[-1]))
    room[..., : states.shape[-2], :] = states
    return room
