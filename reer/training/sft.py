"""Supervised fine-tuning with TRL's SFTTrainer on tokenised rows (see `reer.training.chat_format`)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from reer.errors import InputError
from reer.training.checkpoints import resumable, step_of
from reer.training.parallelism import Parallelism
from reer.training.recipe import Job, Lora, OnLog, Stopped, Trained
from reer.training.student import load_student, save_student

if TYPE_CHECKING:
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

TokenRow = dict[str, list[int]]
"""`input_ids` and `labels` of one row."""

CURVE = (
    "step",
    "epoch",
    "loss",
    "grad_norm",
    "learning_rate",
    "mean_token_accuracy",
    "entropy",
    "num_tokens",
    "examples",
    "tokens_per_second",
    "memory_gib",
)


def train_here(job: Job, on_log: OnLog) -> Trained:
    """Train in this process, one of several under a launcher, and save the student to `job.model`.

    Resumes from the newest complete checkpoint. Raises Stopped after a stop request, InputError if the checkpoint
    belongs to another training, RuntimeError if the loss is not finite.
    """
    rows, digest = read_rows(Path(job.rows))  # before any import: a missing file is found at once, in each process
    facts = {
        "rows sha256": digest,
        "train": asdict(job.recipe),
        "seed": job.seed,
        "runtime.parallelism.micro_batch": job.parallelism.micro_batch,
        "processes": job.parallelism.processes,
        "runtime.parallelism.sharding": job.parallelism.sharding,
    }
    resume = resumable(job.checkpoints, facts)

    from reer.training.callbacks import add_callbacks

    trainer, count = build_trainer(job, rows), len(rows)
    del rows  # the trainer holds them in a denser form
    check_sharding(trainer, job.parallelism)
    stop = add_callbacks(trainer, job, facts, count, on_log)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if stop.stopped:
        raise Stopped(f"training stopped at step {trainer.state.global_step}; rerun the same command to resume")
    save_student(trainer, job.student, job.model, job.recipe.precision)
    trainer.accelerator.wait_for_everyone()
    history = [row for row in trainer.state.log_history if "loss" in row]
    curve = tuple({key: float(row[key]) for key in CURVE if key in row} for row in history)
    return Trained(job.model, curve, trainer.state.global_step, step_of(resume) if resume else 0)


def check_sharding(trainer: SFTTrainer, parallelism: Parallelism) -> None:
    """Raise InputError if accelerate does not shard the weights as configured: each process would hold all of them."""
    kind = trainer.accelerator.distributed_type.value
    if (parallelism.sharding == "full") != (kind == "FSDP"):
        raise InputError(
            f"runtime.parallelism.sharding={parallelism.sharding}, but accelerate runs {kind} here (FSDP2 needs GPUs); "
            "choose a runtime whose sharding this machine supports, e.g. runtime.parallelism.sharding=none"
        )


def read_rows(path: Path) -> tuple[list[TokenRow], str]:
    """Token ids and labels in a file of rendered rows, and the sha256 of its bytes."""
    content = path.read_bytes()
    rows = [json.loads(line) for line in content.decode("utf-8").split("\n") if line]
    kept = [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows]
    return kept, hashlib.sha256(content).hexdigest()


def build_trainer(job: Job, rows: list[TokenRow]) -> SFTTrainer:
    """TRL's trainer with every relevant setting given explicitly."""
    from datasets import Dataset
    from transformers import PrinterCallback, set_seed
    from trl.trainer.sft_trainer import SFTTrainer

    set_seed(job.seed)
    settings = settings_of(job)  # first: this sets up the process's device and rank
    model, tokenizer = load_student(job.student, job.recipe, job.parallelism.attention)
    trainer = SFTTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=_peft(job.recipe.lora),
    )
    trainer.remove_callback(PrinterCallback)  # our own progress display replaces it
    # TRL writes a model card at each checkpoint, which asks a live W&B run for its URL.
    trainer.create_model_card = lambda *_, **__: None
    return trainer


def settings_of(job: Job) -> SFTConfig:
    """TRL's configuration of a job; every default that could lose tokens or leak state is set explicitly."""
    import torch
    from trl.trainer.sft_config import SFTConfig

    recipe, parallelism = job.recipe, job.parallelism
    settings = SFTConfig(
        output_dir=str(job.checkpoints),
        seed=job.seed,
        data_seed=job.seed,
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup_ratio,
        weight_decay=recipe.weight_decay,
        max_length=None,
        packing=False,
        padding_free=parallelism.padding_free,
        per_device_train_batch_size=parallelism.micro_batch,
        gradient_accumulation_steps=parallelism.accumulation(recipe.global_batch),
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=True,
        bf16=recipe.precision == "bfloat16",
        activation_checkpointing=parallelism.recompute_activations,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="steps",
        save_steps=parallelism.checkpoint_steps,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        logging_nan_inf_filter=False,
        # Sharded gradients are reduced in each micro batch: unsharded ones would fill a device, in half precision.
        accelerator_config={"gradient_accumulation_kwargs": {"sync_each_batch": parallelism.sharding == "full"}},
    )
    settings._n_gpu = min(1, settings.n_gpu)  # one process drives one device; Trainer would use all visible ones
    return settings


def _peft(lora: Lora | None) -> LoraConfig | None:
    if lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
