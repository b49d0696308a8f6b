"""The student before and after training: precision, chat template, end tokens, merged adapters."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from reer.files import sync_tree
from reer.models.local.tokens import load_tokenizer
from reer.models.local.weights import load_complete
from reer.training.chat_format import END_OF_TURN, Tokenizer, template
from reer.training.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase
    from trl.trainer.sft_trainer import SFTTrainer


def load_student(folder: str, recipe: Recipe, attention: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a local folder, the tokenizer with our chat template.

    Full training keeps fp32 weights (bf16 is then its autocast). Frozen weights under adapters are held in the
    recipe's precision, or in 4 bits. Raises InputError for weights that lack a tensor.
    """
    import torch

    tokenizer = cast(Tokenizer, load_tokenizer(Path(folder)))
    trained = cast("PreTrainedTokenizerBase", tokenizer)
    trained.chat_template = template(recipe.chat_format.end_token(tokenizer))
    dtype = torch.float32 if recipe.lora is None else getattr(torch, recipe.precision)
    quantization = _four_bits(dtype) if recipe.lora and recipe.lora.quantized else None
    model = load_complete(folder, dtype=dtype, attn_implementation=attention, quantization_config=quantization)
    return cast("PreTrainedModel", model), trained


def _four_bits(dtype: torch.dtype) -> BitsAndBytesConfig:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def save_student(trainer: SFTTrainer, student: str, folder: Path, precision: str) -> None:
    """Save safetensors weights in the precision of their use, the tokenizer with our template, and both end tokens.

    Every process of the training calls this; the first one writes, and returns when the files are on the disk.
    """
    import torch

    gathered = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # from all processes when sharded
    state = cast("dict[str, torch.Tensor]", gathered)
    if not trainer.accelerator.is_main_process:
        return
    # transformers types neither the unwrapped model nor the processing class narrowly enough for what follows.
    model: Any = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    tokenizer: Any = trainer.processing_class
    dtype = getattr(torch, precision)
    if hasattr(model, "merge_and_unload"):
        model = _merged(model, student, dtype)
        state = model.state_dict()
    ends = {tokenizer.convert_tokens_to_ids(END_OF_TURN), tokenizer.eos_token_id}
    model.generation_config.eos_token_id = sorted(ends - {None, tokenizer.unk_token_id})
    state = {name: weight.to(dtype) if weight.is_floating_point() else weight for name, weight in state.items()}
    model.save_pretrained(folder, state_dict=state)
    model.config.use_cache, model.config.dtype = True, dtype  # save_pretrained records the precision of the training
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    sync_tree(folder)


def _merged(adapted: PreTrainedModel, student: str, dtype: torch.dtype) -> torch.nn.Module:
    """Adapters merged into the student's own weights, not into those that training rounded."""
    from peft import PeftModel

    with tempfile.TemporaryDirectory() as scratch:
        adapted.save_pretrained(scratch)
        base = load_complete(student, dtype=dtype)
        return cast("torch.nn.Module", PeftModel.from_pretrained(base, scratch).merge_and_unload())
