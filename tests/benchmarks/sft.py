"""The overhead of our training over plain TRL on the same rows: `python -m tests.benchmarks.sft`.

Seconds are those of the training loop alone; ours and a minimal script alternate in this process on the same rows in
the same order, which equal losses prove. Counts hold on any machine: padding and truncation of these rows under TRL's
defaults. The model is the bundled 135M one in fp32 on this CPU; the results do not transfer to GPUs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from experiments.experiment import Experiment
from experiments.report.console import quiet_libraries
from reer.data.rows import Problems
from reer.training.callbacks import add_callbacks
from reer.training.chat_format import MASKED, Rendered, render
from reer.training.checkpoints import commit_checkpoint
from reer.training.parallelism import Parallelism
from reer.training.recipe import Job
from reer.training.sft import build_trainer, read_rows
from reer.training.student import load_student, load_tokenizer
from reer.types import Message, Sample, content_id
from tests.benchmarks.work import Timed, environment
from tests.fakes.plans import compose

if TYPE_CHECKING:
    from trl.trainer.sft_trainer import SFTTrainer

TRL_BATCH, TRL_LENGTH = 8, 1024  # per_device_train_batch_size and max_length if not set


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    given = parser.parse_args()
    quiet_libraries()
    exp = compose("tracking=silent")
    print(f"# {exp.student.name}\n# {environment()}")
    rows = real_rows(exp)
    counts(rows)
    with tempfile.TemporaryDirectory() as folder:
        loops(exp, rows, given.steps, given.repeats, Path(folder))


def real_rows(exp: Experiment) -> list[Rendered]:
    """The bundled texts and problems as training rows.

    The first half of each text replaces its missing thinking, so that rows have realistic lengths.
    """

    samples = list(exp.public.samples(Problems("error")))
    for text in exp.source.rows(Problems("error")):
        middle = len(text.solution) // 2
        turns = (Message("user", text.query or "Write this text."), Message("assistant", text.solution))
        thinking = text.solution[:middle].strip()
        samples.append(
            Sample(
                id=content_id(text.solution),
                messages=turns,
                source="bundled",
                category="others",
                thinking=thinking,
                answer=text.solution,
            )
        )
    tokenizer = load_tokenizer(exp.student.checkpoint.fetch())
    return list(render(samples, tokenizer, exp.train.chat_format, 8192).rows)


def counts(rows: list[Rendered]) -> None:
    """Padding and truncation of these rows, and of rows of the paper's lengths, under TRL's defaults."""
    print("\n## Padding and truncation under TRL's defaults (batches of 8 in the rows' order, max_length 1024)\n")
    print("| rows | tokens | padding, share of computed | tokens truncated, share | trained tokens truncated, share |")
    print("|---|---|---|---|---|")
    longer = [replace(row, input_ids=row.input_ids * 8, labels=row.labels * 8) for row in rows]
    for name, some in (("the bundled ones", rows), ("the same, eight times as long", longer)):
        kept = [row.input_ids[:TRL_LENGTH] for row in some]
        batches = [kept[start : start + TRL_BATCH] for start in range(0, len(kept), TRL_BATCH)]
        computed = sum(len(batch) * max(map(len, batch)) for batch in batches)
        whole, left = sum(len(row.input_ids) for row in some), sum(map(len, kept))
        trained = [label for row in some for label in row.labels if label != MASKED]
        kept_labels = [label for row in some for label in row.labels[:TRL_LENGTH] if label != MASKED]
        print(
            f"| {name} ({len(some)}) | {whole:,} | {1 - left / computed:.1%} | {1 - left / whole:.1%} | "
            f"{1 - len(kept_labels) / len(trained):.1%} |"
        )
    print("\nOurs: one row at a time, so no padding on a CPU; an overlong row is an error, and nothing is truncated.")


def loops(exp: Experiment, rows: list[Rendered], steps: int, repeats: int, folder: Path) -> None:
    """Both loops, alternating."""
    taken = sorted(rows, key=lambda row: row.id)[: steps * exp.train.global_batch]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(asdict(row)) + "\n" for row in taken), encoding="utf-8")
    recipe = replace(exp.train, epochs=1)
    parallelism = Parallelism(micro_batch=1, checkpoint_steps=10**6, recompute_activations=False)
    timed, losses, tokens = Timed(), dict[str, list[float]](), 0
    trainer: SFTTrainer | None = None
    for turn in range(repeats + 1):
        job = Job(
            student=str(exp.student.checkpoint.fetch()),
            rows=str(file),
            recipe=recipe,
            seed=0,
            parallelism=parallelism,
            work=str(folder / f"ours-{turn}"),
        )
        loops: list[tuple[str, Callable[[Job], SFTTrainer]]]
        loops = [("bare TRL", bare), ("ours", partial(ours, rows=len(taken)))]
        for name, build in loops if turn % 2 else loops[::-1]:  # the second of a turn finds warm caches
            trainer = build(job)
            began = time.perf_counter()
            with redirect_stdout(StringIO()):
                trainer.train()
            if turn:  # the first round warms the caches
                timed.seconds.setdefault(name, []).append(time.perf_counter() - began)
            logged = trainer.state.log_history
            losses[name] = [row["loss"] for row in logged if "loss" in row]
            tokens = int(max(row["num_tokens"] for row in logged if "num_tokens" in row))
    assert losses["ours"] == losses["bare TRL"], losses
    print(f"\n## {len(taken)} rows, {tokens:,} tokens, {len(losses['ours'])} optimizer steps, equal losses\n")
    print("| loop | seconds, median (min-max) | tokens/s | against bare TRL, median of each turn's ratio (min-max) |")
    print("|---|---|---|---|")
    for name, seconds in timed.seconds.items():
        ratios = [seconds_here / base for seconds_here, base in zip(seconds, timed.seconds["bare TRL"], strict=True)]
        print(
            f"| {name} | {timed.shown(name)} | {tokens / timed.median(name):.0f} | "
            f"{timed.ratio(name, 'bare TRL'):.3f} ({min(ratios):.3f}-{max(ratios):.3f}) |"
        )
    if trainer is not None:
        checkpoint(trainer, folder)


def checkpoint(trainer: SFTTrainer, folder: Path) -> None:
    """Seconds to write one checkpoint, and to flush and mark it."""
    began = time.perf_counter()
    trainer._save_checkpoint(cast(Any, trainer.model), trial=None)
    written = time.perf_counter()
    (saved,) = folder.glob("**/checkpoint-*")
    commit_checkpoint(saved, {})
    size = sum(file.stat().st_size for file in saved.iterdir()) / 2**30
    writing, committing = written - began, time.perf_counter() - written
    print(f"\nOne checkpoint of {size:.2f} GiB: {writing:.1f} s to write, {committing:.1f} s to flush and mark it.")


def ours(job: Job, rows: int) -> SFTTrainer:
    """Our trainer with its callbacks."""
    Path(job.work).mkdir()
    trainer = build_trainer(job, read_rows(Path(job.rows))[0])
    add_callbacks(trainer, job, {}, rows, lambda row: None)
    return trainer


def bare(job: Job) -> SFTTrainer:
    """A minimal TRL script that takes the same steps."""
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    model, tokenizer = load_student(job.student, job.recipe, "sdpa")
    recipe = job.recipe
    settings = SFTConfig(
        output_dir=f"{job.work}-bare",
        seed=job.seed,
        data_seed=job.seed,
        num_train_epochs=1,
        max_length=None,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        weight_decay=recipe.weight_decay,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=recipe.global_batch,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        bf16=False,
        use_cpu=True,
        activation_checkpointing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    data = Dataset.from_list(read_rows(Path(job.rows))[0])
    return SFTTrainer(model=model, args=settings, train_dataset=data, processing_class=tokenizer)


if __name__ == "__main__":
    main()
