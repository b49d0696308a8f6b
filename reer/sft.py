"""Supervised fine-tuning with TRL's SFTTrainer on rows that are already tokens (see `reer.chat`)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from reer.chat import CHATML, END_OF_TURN, ChatFormat, Rendered
from reer.models.checkpoints import Checkpoint
from reer.types import InputError

MARKER = "COMPLETE"


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters on every linear layer; merged into the weights when training ends."""

    rank: int
    alpha: int
    dropout: float

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class Recipe:
    """What an optimizer step is. `global_batch` counts examples, whatever the layout of devices."""

    method: Literal["full", "lora"]
    epochs: float
    learning_rate: float
    schedule: Literal["constant", "constant_with_warmup", "cosine", "linear"]
    warmup_ratio: float
    weight_decay: float
    global_batch: int
    precision: Literal["float32", "bfloat16"]
    chat: ChatFormat
    lora: Lora | None = None

    def __post_init__(self) -> None:
        if self.epochs <= 0 or self.learning_rate <= 0 or self.global_batch < 1:
            raise InputError(f"train: want epochs > 0, learning_rate > 0 and global_batch >= 1, got {self}")
        if (self.method == "lora") != (self.lora is not None):
            raise InputError(
                f"train: method {self.method!r} with lora={self.lora}; lora settings go with method lora alone"
            )


@dataclass(frozen=True)
class Layout:
    """How one step is spread over `devices`, one process each; never part of a result's identity."""

    micro_batch: int
    checkpoint_steps: int
    recompute_activations: bool
    devices: int = 1

    def accumulation(self, global_batch: int) -> int:
        """Gradient accumulation steps so that a step has exactly `global_batch` examples.

        Raises InputError if that cannot be done.
        """
        steps, rest = divmod(global_batch, self.micro_batch * self.devices)
        if rest or not steps:
            raise InputError(
                f"train.global_batch {global_batch} is no multiple of runtime.micro_batch {self.micro_batch} x "
                f"{self.devices} devices; choose a micro_batch that divides it"
            )
        return steps


@dataclass(frozen=True)
class Trained:
    """Where the model is, and how training went; `curve` has one row per logged step."""

    folder: Path
    curve: tuple[dict[str, float], ...]
    steps: int
    resumed_from: int


def fine_tune(
    student: Checkpoint,
    recipe: Recipe,
    rows: Sequence[Rendered],
    seed: int,
    layout: Layout,
    work: Path,
    on_log: Callable[[Mapping[str, float]], None],
) -> Trained:
    """Train the student on the rows and save it to `work/model` as safetensors with tokenizer and chat template.

    Checkpoints go to `work/checkpoints`; the newest complete one is resumed from. They are deleted at the end.
    """
    trainer = _trainer(student, recipe, rows, seed, layout, work / "checkpoints", on_log)
    resume = newest_complete(work / "checkpoints")
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    folder = work / "model"
    save_model(trainer.model, trainer.processing_class, folder)
    discard(work / "checkpoints")
    history = [row for row in trainer.state.log_history if "loss" in row]
    keep = ("step", "epoch", "loss", "grad_norm", "learning_rate", "mean_token_accuracy", "entropy", "num_tokens")
    curve = tuple({key: float(row[key]) for key in keep if key in row} for row in history)
    return Trained(folder, curve, trainer.state.global_step, step_of(resume) if resume else 0)


def newest_complete(checkpoints: Path) -> Path | None:
    """The checkpoint with the highest step whose marker was written; others are cut short and passed over."""
    complete = [path.parent for path in checkpoints.glob(f"checkpoint-*/{MARKER}")]
    return max(complete, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The optimizer step a checkpoint's folder is named after."""
    return int(checkpoint.name.split("-")[1])


def discard(folder: Path) -> None:
    """Delete checkpoints, their markers first: one that is cut short while it goes must not look complete."""
    for marker in folder.rglob(MARKER):
        marker.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Weights (adapters merged) as safetensors, tokenizer with our template, and both end tokens for generation."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    ends = {tokenizer.convert_tokens_to_ids(END_OF_TURN), tokenizer.eos_token_id}
    model.generation_config.eos_token_id = sorted(ends)
    model.config.use_cache = True
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def _trainer(
    student: Checkpoint, recipe: Recipe, rows: Sequence[Rendered], seed: int, layout: Layout, checkpoints: Path,
    on_log: Callable[[Mapping[str, float]], None],
) -> Any:  # fmt: skip
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback, set_seed
    from trl.trainer.sft_trainer import SFTTrainer

    class Record(TrainerCallback):
        """Hands log rows on; marks a checkpoint once all of it is on disk, then gives up those before the last two."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                on_log({"step": state.global_step, **{k: v for k, v in logs.items() if isinstance(v, int | float)}})

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / MARKER).touch()
            for older in sorted(Path(args.output_dir).glob("checkpoint-*"), key=step_of)[:-2]:
                discard(older)

    set_seed(seed)
    folder = student.fetch()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHATML
    dtype = torch.float32 if recipe.method == "full" or recipe.precision == "float32" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True)
    data = Dataset.from_list([{"input_ids": list(r.input_ids), "labels": list(r.labels)} for r in rows])
    trainer = SFTTrainer(
        model=model, args=_settings(recipe, seed, layout, checkpoints), train_dataset=data, processing_class=tokenizer,
        peft_config=_peft(recipe.lora), callbacks=[Record()],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)  # our own progress says it better
    # Without this there is a card at each checkpoint, which asks a live W&B run for its URL.
    trainer.create_model_card = lambda *_, **__: None
    return trainer


def _settings(recipe: Recipe, seed: int, layout: Layout, checkpoints: Path) -> Any:
    """TRL's configuration from ours, every default that could lose tokens or leak state set on purpose."""
    import torch
    from trl.trainer.sft_config import SFTConfig

    settings = SFTConfig(
        output_dir=str(checkpoints), seed=seed, data_seed=seed, report_to="none", disable_tqdm=True, logging_steps=1,
        num_train_epochs=recipe.epochs, learning_rate=recipe.learning_rate, lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup_ratio, weight_decay=recipe.weight_decay, max_length=None, packing=False,
        per_device_train_batch_size=layout.micro_batch,
        gradient_accumulation_steps=layout.accumulation(recipe.global_batch),
        dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=True, bf16=recipe.precision == "bfloat16",
        activation_checkpointing=layout.recompute_activations, use_cpu=not torch.cuda.is_available(),
        save_strategy="steps", save_steps=layout.checkpoint_steps, dataloader_pin_memory=False,
    )  # fmt: skip
    settings._n_gpu = min(1, settings.n_gpu)  # one process drives one device; Trainer would spread over all it sees
    return settings


def _peft(lora: Lora | None) -> Any:
    if lora is None:
        return None
    from peft import LoraConfig

    settings = asdict(lora)
    return LoraConfig(
        r=settings["rank"], lora_alpha=settings["alpha"], lora_dropout=settings["dropout"], target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
