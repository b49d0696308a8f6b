"""Whether the devices of this machine hold the models that are planned on them: weights and KV cache, by arithmetic."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace

from experiments.planning.costs import Costs
from experiments.planning.serving import Serving

BYTES = {"float32": 4, "bfloat16": 2, "fp8": 1}
RUNTIME_GIB = 1.5  # CUDA's context and libraries
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Load:
    """What models need of one place, in GiB for each of its devices."""

    place: str
    models: tuple[str, ...]
    weights_gib: float
    cache_gib: float
    """KV cache of all rows that are decoded at once, at the mean lengths of the plan."""

    @property
    def gib(self) -> float:
        return self.weights_gib + self.cache_gib + RUNTIME_GIB


def loads(costs: Costs) -> list[Load]:
    """What the search needs of each place where models run in this process: they are open at the same time. Servers
    started elsewhere are none of this machine's."""
    generator, scorer = costs.roles.generator, costs.roles.scorer
    places: dict[str, list[Serving]] = {}
    for serving in dict.fromkeys((generator, scorer)):
        if serving is not None and serving.in_process and serving.size is not None:
            places.setdefault(serving.place, []).append(serving)
    return [_load(place, models, costs) for place, models in places.items()]


def _load(place: str, models: Sequence[Serving], costs: Costs) -> Load:
    opened = list({model.model: model for model in models}.values())  # one that writes and scores is loaded once
    writes = [model for model in models if model == costs.roles.generator]
    return Load(
        place=place,
        models=tuple(model.model for model in opened),
        weights_gib=sum(weights_gib(model) for model in opened),
        cache_gib=sum(cache_gib(model, longest_mean_tokens(costs)) for model in writes),
    )


def engine_load(serving: Serving, costs: Costs) -> Load:
    """What a replica of an engine needs on each of its devices at least: its weights, and the KV cache of the longest
    draft. An engine lets calls wait when its cache is full."""
    tokens = longest_mean_tokens(costs) + costs.exp.scale.draft_tokens
    return Load(
        place=serving.place,
        models=(serving.model,),
        weights_gib=weights_gib(serving),
        cache_gib=cache_gib(replace(serving, rows=1), tokens),
    )


def weights_gib(serving: Serving) -> float:
    """Weights on each device of a replica."""
    size = serving.size
    if size is None:
        return 0.0
    linears = size.parameters - size.embedding_parameters
    unrounded = size.embedding_parameters * _unrounded_bytes(serving)
    return (linears * BYTES[serving.precision] + unrounded) / serving.devices / GIB


def cache_gib(serving: Serving, tokens: float) -> float:
    """KV cache on each device of a replica, of all rows with this many tokens each."""
    size = serving.size
    if size is None:
        return 0.0
    per_token = 2 * size.layers * size.kv_heads * size.head_dim * _unrounded_bytes(serving)
    return per_token * tokens * (serving.rows or 1) / serving.devices / GIB


def _unrounded_bytes(serving: Serving) -> int:
    """Bytes of a number that stays in bfloat16 where linear maps are in 8 bits: of embeddings and of the KV cache."""
    return max(BYTES[serving.precision], BYTES["bfloat16"])


def longest_mean_tokens(costs: Costs) -> float:
    """Tokens of the longest kind of call in the search: an edit's prompt and its rewrite."""
    assumed = costs.assumed
    thinking = assumed.thinking_tokens * (1 + 1 / assumed.segments)
    return costs.templates.edit + assumed.query_tokens + assumed.solution_tokens + thinking + assumed.rewrite_tokens


def missing_command(command: Sequence[str]) -> str | None:
    """The program of a command that is not on the PATH of this machine; None where it is, or where no command is
    stated."""
    return command[0] if command and shutil.which(command[0]) is None else None
