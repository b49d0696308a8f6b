"""Parts of `tests/gpu/run.sh`: each measures one thing on the device at hand and appends its rows to a file.

    python -m tests.gpu.parts PART FILE [--scope tiny|small|large]

A tiny model has a few thousand weights and also runs on a CPU; a large one is of Qwen3-8B's shape. A part that this
machine cannot run appends the reason; one that fails ends with an error, and the others still run.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from experiments.planning.measuring import Amount, measured_rate, train_once, training_rows
from reer.files import adapter
from reer.models.local.checkpoints import FolderModel
from reer.models.local.model import LocalModel
from reer.models.local.size import Size
from reer.models.protocols import Device
from reer.models.rates import closest_rate
from reer.training.chat_format import ChatFormat
from reer.training.cost import TrainingSetSize, training_cost
from reer.training.launch import RESULT_FILE, command, kernel_available
from reer.training.parallelism import Parallelism
from reer.training.recipe import Job, Lora, Recipe, Trained
from tests.fakes.costs import assumed
from tests.gpu.models import QWEN3_06B, QWEN3_8B, QWEN3_TINY, model_folder

LAUNCH_SECONDS = 150
RECIPE = Recipe(
    method="full",
    epochs=1,
    learning_rate=1e-4,
    schedule="constant",
    warmup_ratio=0.0,
    weight_decay=0.0,
    global_batch=2,
    precision="bfloat16",
    chat_format=ChatFormat(answer_tags=False, overlong="error"),
)
LORA = replace(RECIPE, method="lora", lora=Lora(16, 32, 0.0))
ALONE = Parallelism(micro_batch=2, checkpoint_steps=1000, recompute_activations=True)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; `planned` is what `reer plan` says, '' where it says nothing."""

    part: str
    measure: str
    value: str
    planned: str = ""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """How large the parts are; the model's weights are random."""

    size: Size
    train_tokens: int
    train_steps: int
    amount: Amount


SMALL = Scope(
    size=QWEN3_06B,
    train_tokens=2048,
    train_steps=6,
    amount=Amount(prompt_words=400, written_tokens=64),
)
LARGE = Scope(
    size=QWEN3_8B,
    train_tokens=8192,
    train_steps=4,
    amount=Amount(prompt_words=400, rows=(1, 8, 16, 32), written_tokens=64),
)
TINY = Scope(
    size=QWEN3_TINY,
    train_tokens=32,
    train_steps=2,
    amount=Amount(prompt_words=20, rows=(1, 2), written_tokens=4),
)


def lora(scope: Scope) -> list[Row]:
    """Steps of adapters."""
    return training_rows_of("lora", LORA, ALONE, scope)


def full(scope: Scope) -> list[Row]:
    """Steps of all weights: fp32 weights under bf16 autocast."""
    return training_rows_of("full", RECIPE, ALONE, scope)


def flash_attention(scope: Scope) -> list[Row]:
    """Steps of all weights without padding, where the kernel is installed."""
    if not kernel_available("flash_attention_2") or not on_gpu():
        return [Row(part="flash attention", measure="not run", value="needs a GPU and the package flash-attn")]
    parallelism = replace(ALONE, attention="flash_attention_2", padding_free=True)
    return training_rows_of("flash attention", RECIPE, parallelism, scope)


def fsdp2(scope: Scope) -> list[Row]:
    """Steps of all weights under FSDP2 with one process, started by accelerate as on a node."""
    if not on_gpu():
        return [Row(part="fsdp2", measure="not run", value="needs a GPU: accelerate shards nothing on a CPU")]
    parallelism = replace(ALONE, sharding="full")
    with model_folder(scope.size) as folder, tempfile.TemporaryDirectory() as work:
        curve = launched(Path(work), str(folder), parallelism, scope)
    return rows_of_curve("fsdp2", curve, RECIPE, parallelism, scope)


def rates(scope: Scope) -> list[Row]:
    """Scoring and decoding in this process."""
    device = Device(name="cuda" if on_gpu() else "cpu", generate_rows=max(scope.amount.rows), score_rows=4)
    with model_folder(scope.size) as folder:
        model = LocalModel(FolderModel(str(folder)), "bfloat16" if on_gpu() else "float32")
        with model.open(device) as session:
            found = measured_rate(session, model, scope.size, device, scope.amount)
    billions = scope.size.parameters / 1e9
    plan = closest_rate(
        assumed().rates.values(), engine="transformers", precision="bfloat16", devices=1, billions=billions
    )
    rows = [Row(part="rates", measure="scored tokens/s", value=f"{found.reads_per_second:,.0f}")]
    rows += [
        Row(part="rates", measure=f"decoded tokens/s, {count} rows", value=f"{value:,.0f}")
        for count, value in found.writes_per_second.items()
    ]
    if plan is None:
        return rows
    planned = [plan.reads_per_second, *(plan.writing(count) for count in found.writes_per_second)]
    return [replace(row, planned=f"{value:,.0f}") for row, value in zip(rows, planned, strict=True)]


SCOPES = {"tiny": TINY, "small": SMALL, "large": LARGE}
PARTS: dict[str, Callable[[Scope], list[Row]]] = {
    "lora": lora,
    "full": full,
    "fsdp2": fsdp2,
    "flash_attention": flash_attention,
    "rates": rates,
}


def training_rows_of(part: str, recipe: Recipe, parallelism: Parallelism, scope: Scope) -> list[Row]:
    """A short training in this process."""
    precision = recipe.precision if on_gpu() else "float32"
    rows = training_rows(scope.train_tokens, scope.train_steps * recipe.global_batch)
    with model_folder(scope.size) as folder, tempfile.TemporaryDirectory() as work:
        curve = train_once(Path(work), str(folder), replace(recipe, precision=precision), parallelism, rows)
    return rows_of_curve(part, curve, recipe, parallelism, scope)


def rows_of_curve(
    part: str, curve: list[dict[str, float]], recipe: Recipe, parallelism: Parallelism, scope: Scope
) -> list[Row]:
    """Loss, speed and peak memory of a training beside what the plan says of the last two."""
    size = TrainingSetSize(len(curve) * recipe.global_batch, 1, scope.train_tokens)
    tflops = assumed().train_tflops
    cost = training_cost(recipe, parallelism, scope.size, size, tflops)
    operations = 6 if recipe.lora is None else 4
    speed = tflops * 1e12 / (operations * scope.size.parameters)
    tokens = [row["tokens_per_second"] for row in curve[1:]]
    return [
        Row(part=part, measure="loss of the steps", value=f"{curve[0]['loss']:.3f} to {curve[-1]['loss']:.3f}"),
        Row(part=part, measure="tokens/s", value=f"{max(tokens):,.0f}", planned=f"{speed:,.0f}"),
        Row(
            part=part,
            measure="peak memory, GiB" if on_gpu() else "peak memory of the process, GiB",
            value=f"{max(row['memory_gib'] for row in curve):.2f}",
            planned=f"{cost.device_gib:.2f}",
        ),
    ]


def launched(work: Path, student: str, parallelism: Parallelism, scope: Scope) -> list[dict[str, float]]:
    """The curve of a training that accelerate starts. Raises RuntimeError with the end of its log where it fails."""
    rows = training_rows(scope.train_tokens, scope.train_steps * RECIPE.global_batch)
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    job = Job(
        student=student,
        rows=str(work / "rows.jsonl"),
        recipe=RECIPE,
        seed=0,
        parallelism=parallelism,
        work=str(work),
    )
    (work / "job.json").write_text(json.dumps(asdict(job)), encoding="utf-8")
    arguments = command(parallelism, RECIPE.precision, work / "job.json", "127.0.0.1", free_port())
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=LAUNCH_SECONDS)
    if not (work / RESULT_FILE).exists():
        raise RuntimeError(f"accelerate ended with {done.returncode}: {done.stderr[-1500:]}")
    return list(adapter(Trained).validate_json((work / RESULT_FILE).read_bytes()).curve)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("file", type=Path)
    parser.add_argument("--scope", choices=SCOPES, default="small")
    given = parser.parse_args(arguments)
    with given.file.open("a", encoding="utf-8") as stream:
        for row in PARTS[given.part](SCOPES[given.scope]):
            stream.write(json.dumps(asdict(row)) + "\n")


if __name__ == "__main__":
    main()
