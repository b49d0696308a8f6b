"""A tiny training for tests: a student of a few thousand weights on eight short rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from reer.models.local.checkpoints import TinyModel
from reer.training.chat_format import ChatFormat, Rendered, render
from reer.training.launch import fine_tune
from reer.training.parallelism import Parallelism
from reer.training.recipe import Job, Lora, Recipe, Trained
from reer.types import Message, Sample

STUDENT = TinyModel()
CHAT = ChatFormat(answer_tags=False, overlong="error")
FULL = Recipe(
    method="full",
    epochs=2,
    learning_rate=5e-3,
    schedule="constant",
    warmup_ratio=0.0,
    weight_decay=0.0,
    global_batch=2,
    precision="float32",
    chat_format=CHAT,
)
LORA = replace(FULL, method="lora", learning_rate=2e-2, lora=Lora(4, 8, 0.0))
ONE_PROCESS = Parallelism(micro_batch=2, checkpoint_steps=3, recompute_activations=False)


def sample(number: int) -> Sample:
    answer = "It is " + f"{number}" * (1 + 3 * number)
    turns = (Message("user", f"Say {number}"), Message("assistant", answer))
    return Sample(id=f"s{number}", messages=turns, source="t", category="others", thinking="x", answer=answer)


def rendered() -> tuple[Rendered, ...]:
    return render(
        [sample(number) for number in range(8)], AutoTokenizer.from_pretrained(STUDENT.fetch()), CHAT, 512
    ).rows


def job_of(
    rows: Sequence[Rendered], work: Path, recipe: Recipe = FULL, parallelism: Parallelism = ONE_PROCESS, seed: int = 7
) -> Job:
    file = work.with_name(f"{work.name}.rows.jsonl")
    file.parent.mkdir(parents=True, exist_ok=True)
    work.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
    return Job(
        student=str(STUDENT.fetch()),
        rows=str(file),
        recipe=recipe,
        seed=seed,
        parallelism=parallelism,
        work=str(work),
    )


def train(
    rows: Sequence[Rendered],
    work: Path,
    recipe: Recipe = FULL,
    parallelism: Parallelism = ONE_PROCESS,
    stop_at: int = 0,
    seed: int = 7,
) -> Trained:
    """Train; at step `stop_at` the training is interrupted as by Ctrl-C."""

    def on_log(row: Mapping[str, float]) -> None:
        if row["step"] == stop_at:
            raise KeyboardInterrupt

    return fine_tune(job_of(rows, work, recipe, parallelism, seed), on_log)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(first: Path, second: Path) -> bool:
    ours, others = weights(first), weights(second)
    return ours.keys() == others.keys() and all(torch.equal(ours[name], others[name]) for name in ours)
