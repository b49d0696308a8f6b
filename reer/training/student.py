"""The student as it goes into training and as it comes out: precision, template, end tokens, adapters merged."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from reer.training.chat_format import END_OF_TURN, template
from reer.training.recipe import Recipe


def load_student(folder: str, recipe: Recipe, attention: str) -> tuple[Any, Any]:
    """Model and tokenizer of a local folder, the tokenizer with our template. Full training keeps fp32 weights (bf16 is
    then its autocast); frozen weights under adapters stand in the recipe's precision, or in 4 bits."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template(recipe.chat_format.end_token(tokenizer))
    dtype = torch.float32 if recipe.lora is None else getattr(torch, recipe.precision)
    quantization = _four_bits(dtype) if recipe.lora and recipe.lora.quantized else None
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, attn_implementation=attention, quantization_config=quantization
    )
    return model, tokenizer


def _four_bits(dtype: Any) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def save_student(trainer: Any, student: str, folder: Path, precision: str) -> None:
    """Weights as safetensors in the precision they are used in, tokenizer with our template, and both end tokens for
    generation. Called by every process of a training; the first one writes."""
    import torch

    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # gathered, where it is split
    if not trainer.accelerator.is_main_process:
        return
    model, tokenizer = trainer.accelerator.unwrap_model(trainer.model_wrapped), trainer.processing_class
    dtype = getattr(torch, precision)
    if hasattr(model, "merge_and_unload"):
        model = _merged(model, student, dtype)
        state = model.state_dict()
    ends = {tokenizer.convert_tokens_to_ids(END_OF_TURN), tokenizer.eos_token_id}
    model.generation_config.eos_token_id = sorted(ends - {None, tokenizer.unk_token_id})
    state = {name: weight.to(dtype) if weight.is_floating_point() else weight for name, weight in state.items()}
    model.save_pretrained(folder, state_dict=state)
    model.config.use_cache, model.config.dtype = True, dtype  # saving puts the training's own precision there
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _merged(model: Any, student: str, dtype: Any) -> Any:
    """Adapters merged into the student's own weights, not into what training had rounded them to."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        base = AutoModelForCausalLM.from_pretrained(student, dtype=dtype, use_safetensors=True)
        return PeftModel.from_pretrained(base, scratch).merge_and_unload()  # pyright: ignore[reportCallIssue]
