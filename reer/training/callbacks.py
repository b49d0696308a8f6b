"""Trainer callbacks: the training curve, complete checkpoints, and stop requests. Imported only where training runs."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from reer.training.checkpoints import Facts, commit_checkpoint, delete_checkpoints, step_of
from reer.training.recipe import Job, OnLog

if TYPE_CHECKING:
    import torch
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from trl.trainer.sft_trainer import SFTTrainer

KEPT_CHECKPOINTS = 2  # the oldest is deleted once a newer one is complete


class StopStatus(Protocol):
    """`stopped` becomes true when the training has ended at a stop request."""

    @property
    def stopped(self) -> bool: ...


def add_callbacks(trainer: SFTTrainer, job: Job, facts: Facts, rows: int, on_log: OnLog) -> StopStatus:
    """Add our callbacks to the trainer. Returns whether a stop request ended the training."""
    for callback in (_recording(job, rows, on_log), _committing(trainer, facts)):
        trainer.add_callback(callback)
    return _add_stopping(trainer, job)


def _recording(job: Job, rows: int, on_log: OnLog) -> TrainerCallback:
    from transformers import TrainerCallback

    class Recording(TrainerCallback):
        """Adds to each log row what TRL does not log, and passes the row to `on_log`.

        TRL counts tokens from the start of the process; the curve counts them from the start of the training.
        """

        def __init__(self) -> None:
            self.logged_at, self.tokens, self.tokens_before_resume = time.monotonic(), 0.0, 0.0

        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            self.logged_at = time.monotonic()
            reset_peak_memory()
            self.tokens_before_resume = max(
                (row["num_tokens"] for row in state.log_history if "num_tokens" in row), default=0.0
            )

        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: Mapping[str, float] | None = None,
            **_: object,
        ) -> None:
            if not logs or "loss" not in logs:
                return
            if not (math.isfinite(logs["loss"]) and math.isfinite(logs.get("grad_norm", 0.0))):
                raise RuntimeError(
                    f"training diverged at step {state.global_step}: loss {logs['loss']}, gradient norm "
                    f"{logs.get('grad_norm')}; lower train.learning_rate, or inspect the rows of this step"
                )
            now, tokens = time.monotonic(), float(logs["num_tokens"])
            added = {
                "num_tokens": self.tokens_before_resume + tokens,
                "examples": float(examples_of_step(state.global_step, rows, job.recipe.global_batch)),
                "tokens_per_second": (tokens - self.tokens) / (now - self.logged_at),
                "memory_gib": peak_memory_gib(),
            }
            self.logged_at, self.tokens = now, tokens
            state.log_history[-1].update(added)  # saved in checkpoints
            if state.is_world_process_zero:
                on_log({"step": state.global_step, **numbers(logs), **added})

    return Recording()


def _committing(trainer: SFTTrainer, facts: Facts) -> TrainerCallback:
    from transformers import TrainerCallback

    class Committing(TrainerCallback):
        """Marks a checkpoint complete once every process has written its part, then deletes all but the last two."""

        def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
            trainer.accelerator.wait_for_everyone()
            if not state.is_world_process_zero:
                return
            folder = Path(str(args.output_dir))
            commit_checkpoint(folder / f"checkpoint-{state.global_step}", facts)
            for older in sorted(folder.glob("checkpoint-*"), key=step_of)[:-KEPT_CHECKPOINTS]:
                delete_checkpoints(older)

    return Committing()


def _add_stopping(trainer: SFTTrainer, job: Job) -> StopStatus:
    from transformers import TrainerCallback

    class Stopping(TrainerCallback):
        """On a stop request, saves at the end of the step and ends the training in all processes.

        The checkpoint of the last step, which transformers would write, is skipped: the model is saved next.
        """

        stopped = False

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            if state.global_step >= state.max_steps:
                control.should_save = False
            elif any_process(job.stop_request.exists(), trainer.accelerator.device):
                self.stopped = control.should_save = control.should_training_stop = True

    stopping = Stopping()
    trainer.add_callback(stopping)
    return stopping


def examples_of_step(step: int, rows: int, global_batch: int) -> int:
    """The number of examples in an optimizer step (counted from 1). The last step of an epoch takes the remainder."""
    per_epoch = -(-rows // global_batch)
    return rows - (per_epoch - 1) * global_batch if step % per_epoch == 0 else global_batch


def numbers(row: Mapping[str, object]) -> dict[str, float]:
    """The numeric entries of a log row."""
    return {key: value for key, value in row.items() if isinstance(value, int | float)}


def reset_peak_memory() -> None:
    """Reset the GPU's peak-memory counter, so that it excludes what ran before the training."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_gib() -> float:
    """Peak memory of the training on its GPU; without a GPU, the peak resident memory of this process. In GiB."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def any_process(condition: bool, device: torch.device) -> bool:
    """True if the condition holds in any process of the training."""
    import torch

    if not torch.distributed.is_initialized():
        return condition
    flag = torch.tensor(float(condition), device=device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag)
