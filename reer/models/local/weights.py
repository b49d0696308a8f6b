"""Weights that are all there: every file that an index names, and every tensor that the model has.

transformers fills an absent tensor with random numbers and only logs it, so that a run would be trained and judged on a
model that nobody has.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ValidationError

from reer.errors import InputError

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
NAMED = 3  # absent tensors that a message names
Head = Literal["causal", "reward", "base"]
"""What a model computes behind its layers: the next token, a number for the whole text, or nothing more."""


class _Index(BaseModel):
    weight_map: dict[str, str]


def require_files(folder: Path) -> None:
    """Raise InputError, saying what to do, for a folder without safetensors weights, with a shard or a tensor absent
    that its index names, or with a file that is cut off. Reads the heads of the files."""
    index = folder / INDEX
    if not index.is_file():
        if not (folder / SINGLE).is_file():
            raise InputError(f"model folder {folder}: {_what_it_has(folder)}")
        _tensors_in(folder / SINGLE)
        return
    try:
        shards = _Index.model_validate_json(index.read_bytes()).weight_map
    except ValidationError:
        raise InputError(f"{index}: want an object with a weight_map; fetch the model again") from None
    absent = sorted({name for name in shards.values() if not (folder / name).is_file()})
    if absent:
        raise InputError(
            f"model folder {folder}: {len(absent)} of the {len(set(shards.values()))} files that {INDEX} names are "
            f"missing: {_some(absent)}; fetch the model again"
        )
    held = {name: _tensors_in(folder / name) for name in sorted(set(shards.values()))}
    refuse_absent([tensor for tensor, name in shards.items() if tensor not in held[name]], folder)


def _what_it_has(folder: Path) -> str:
    if pickled := sorted(file.name for file in (*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth"))):
        return (
            f"its weights are pickles ({_some(pickled)}), which can run code when they are loaded; want safetensors: "
            "load it where you trust it and call save_pretrained"
        )
    return f"no weights there; want {SINGLE}, or shards and {INDEX}; fetch the model again"


def _tensors_in(file: Path) -> Collection[str]:
    """The names of the tensors in a file. Raises InputError for a file that is cut off or no safetensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as tensors:
            return set(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: damaged or cut off ({error}); fetch the model again") from None


def load_complete(folder: Path | str, head: Head = "causal", **settings: Any) -> Any:
    """The model in a folder. Raises InputError for weights that lack a tensor of it."""
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

    autos = {"causal": AutoModelForCausalLM, "reward": AutoModelForSequenceClassification, "base": AutoModel}
    loaded = autos[head].from_pretrained(
        folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **settings
    )
    model, report = cast(Any, loaded)
    refuse_absent(report["missing_keys"], folder)
    return model


def require_tensors(folder: Path, head: Head = "causal") -> None:
    """Raise InputError for weights that lack a tensor of the model. Loads the model without its numbers."""
    load_complete(folder, head, device_map="meta")


def refuse_absent(tensors: Collection[str], folder: Path | str) -> None:
    """Raise InputError if there are absent tensors."""
    if tensors:
        raise InputError(
            f"model folder {folder}: the weights lack {_some(sorted(tensors))}; loaded so, the model would have random "
            "numbers there. Fetch it again, or choose another"
        )


def _some(names: Collection[str]) -> str:
    first = list(names)[:NAMED]
    return ", ".join(first) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
