"""What watches a training: its curve, its checkpoints, and requests to stop. Imported only where one runs."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reer.training.checkpoints import Facts, discard, seal, step_of
from reer.training.recipe import Job, OnLog

KEPT = 2  # checkpoints; an older one goes when a newer is whole


def watch(trainer: Any, job: Job, facts: Facts, rows: int, on_log: OnLog) -> Any:
    """Add the callbacks; what is returned has `stopped`, true once a request to stop was met."""
    stopping = _stopping(trainer, job)
    for callback in (_record(job, rows, on_log), _seal(trainer, facts), stopping):
        trainer.add_callback(callback)
    return stopping


def _record(job: Job, rows: int, on_log: OnLog) -> Any:
    from transformers import TrainerCallback

    class Record(TrainerCallback):
        """Adds what TRL does not log, and hands rows on. TRL counts tokens from where it was started; the curve counts
        them from the beginning."""

        def __init__(self) -> None:
            self.at, self.tokens, self.before = time.monotonic(), 0.0, 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.at = time.monotonic()
            forget_peak_memory()
            self.before = max((row["num_tokens"] for row in state.log_history if "num_tokens" in row), default=0.0)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            if not (math.isfinite(logs["loss"]) and math.isfinite(logs.get("grad_norm", 0.0))):
                raise RuntimeError(
                    f"training diverged at step {state.global_step}: loss {logs['loss']}, gradient norm "
                    f"{logs.get('grad_norm')}; lower train.learning_rate, or look at the rows of this step"
                )
            now, tokens = time.monotonic(), float(logs["num_tokens"])
            more = {
                "num_tokens": self.before + tokens,
                "examples": float(examples(state.global_step, rows, job.recipe.global_batch)),
                "tokens_per_second": (tokens - self.tokens) / (now - self.at),
                "memory_gib": peak_memory_gib(),
            }
            self.at, self.tokens = now, tokens
            state.log_history[-1].update(more)  # kept with the checkpoints
            if state.is_world_process_zero:
                on_log({"step": state.global_step, **numbers(logs), **more})

    return Record()


def _seal(trainer: Any, facts: Facts) -> Any:
    from transformers import TrainerCallback

    class Seal(TrainerCallback):
        """Marks a checkpoint once every process has written its part, then gives up those before the last two."""

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            trainer.accelerator.wait_for_everyone()
            if not state.is_world_process_zero:
                return
            folder = Path(args.output_dir)
            seal(folder / f"checkpoint-{state.global_step}", facts)
            for older in sorted(folder.glob("checkpoint-*"), key=step_of)[:-KEPT]:
                discard(older)

    return Seal()


def _stopping(trainer: Any, job: Job) -> Any:
    from transformers import TrainerCallback

    class Stopping(TrainerCallback):
        """At a request to stop, saves at the end of the step and ends the training, in all processes alike. The last
        step's checkpoint, which transformers would add, is not written: the model itself is saved next."""

        stopped = False

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step >= state.max_steps:
                control.should_save = False
            elif anywhere(job.stop_request.exists(), trainer.accelerator.device):
                self.stopped = control.should_save = control.should_training_stop = True

    return Stopping()


def examples(step: int, rows: int, global_batch: int) -> int:
    """How many examples an optimizer step (counted from 1) took: an epoch's last step takes what is left."""
    per_epoch = -(-rows // global_batch)
    return rows - (per_epoch - 1) * global_batch if step % per_epoch == 0 else global_batch


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The entries of a log row that are numbers."""
    return {key: value for key, value in row.items() if isinstance(value, int | float)}


def forget_peak_memory() -> None:
    """Have the peak of a GPU begin anew: what ran before the training is none of it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_gib() -> float:
    """The most the training has held on its GPU; where there is none, the most this process ever held in memory."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def anywhere(here: bool, device: Any) -> bool:
    """True if it holds in any process of the training."""
    import torch

    if not torch.distributed.is_initialized():
        return here
    flag = torch.tensor(float(here), device=device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag)
