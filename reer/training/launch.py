"""Runs a training in this process, or in several that `accelerate launch` starts on one machine or many.

`python -m reer.training.launch JOB` is one of those processes. They share a folder: the first process appends rows of
the curve to a file that the starter reads, and a stop request is a file there, so that it reaches every node.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

from reer.errors import InputError
from reer.files import adapter, write_atomic
from reer.processes import REQUESTS, end_with_parent, handling
from reer.training.checkpoints import delete_checkpoints
from reer.training.parallelism import Parallelism
from reer.training.recipe import Job, OnLog, Stopped, Trained
from reer.training.sft import train_here

POLL_SECONDS = 0.3
LOG_TAIL_LINES = 60
CURVE_FILE = "curve.part.jsonl"  # rows of the curve, appended while the processes train
RESULT_FILE = "result.json"
STOPPED_FILE = "stopped.json"
INPUT_ERROR_FILE = "input_error.json"


def fine_tune(job: Job, on_log: OnLog) -> Trained:
    """Train with the job's parallelism, or return the result of a training that has finished already.

    A signal that asks the process to end (SIGTERM, SIGHUP, SIGUSR1) saves a checkpoint and raises Stopped. The model is
    on the disk before the result is written, and the result before the checkpoints are deleted.
    """
    work = Path(job.work).resolve()
    done = work / "trained.json"
    if not done.exists():
        with stops_on_request(job.stop_request):
            trained = train_here(job, on_log) if job.parallelism.processes == 1 else _launched(job, work, on_log)
            write_atomic(done, adapter(Trained).dump_json(trained))
    delete_checkpoints(job.checkpoints)
    return adapter(Trained).validate_json(done.read_bytes())


@contextmanager
def stops_on_request(request: Path) -> Iterator[None]:
    """In this context a signal that asks the process to end creates the stop request instead.

    Raises Stopped at the end if a request arrived too late for any step.
    """
    request.unlink(missing_ok=True)
    try:
        with handling(REQUESTS, lambda *_: request.touch()):
            yield
        if request.exists():
            raise Stopped("stop requested after the last step; rerun the same command to continue with the result")
    finally:
        request.unlink(missing_ok=True)


def command(parallelism: Parallelism, precision: str, job: Path, host: str, port: int) -> list[str]:
    """The command that starts all processes, with TRL's own accelerate configurations."""
    import trl

    mode = "fsdp2" if parallelism.sharding == "full" else "multi_gpu"
    config = Path(trl.__file__).parent / "accelerate_configs" / f"{mode}.yaml"
    arguments = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(config),
        "--num_processes",
        str(parallelism.processes),
        "--num_machines",
        str(parallelism.nodes),
        "--mixed_precision",
        "bf16" if precision == "bfloat16" else "no",
        "--main_process_ip",
        host,
        "--main_process_port",
        str(port),
        "--module",
        "reer.training.launch",
        str(job),
    ]
    if parallelism.nodes == 1:
        return arguments
    module = arguments.index("--module")
    line = shlex.join(arguments[:module]) + ' --machine_rank "$SLURM_NODEID" ' + shlex.join(arguments[module:])
    return [*parallelism.start, "bash", "-c", f"exec {line}"]


def _launched(job: Job, work: Path, on_log: OnLog) -> Trained:
    """Train in several processes. The first process's result counts, however the processes exit after writing it.
    Raises InputError where the weights cannot be sharded on this machine."""
    _require_gpus(job.parallelism)
    for name in (CURVE_FILE, RESULT_FILE, STOPPED_FILE, INPUT_ERROR_FILE):
        (work / name).unlink(missing_ok=True)
    (work / "job.json").write_text(json.dumps(asdict(replace(job, work=str(work)))), encoding="utf-8")
    host = socket.gethostname() if job.parallelism.nodes > 1 else "127.0.0.1"
    arguments = command(job.parallelism, job.recipe.precision, work / "job.json", host, _free_port())
    with (work / "launch.log").open("ab") as log:
        # A new session: a signal to our process group must reach the workers as a stop request, not end them.
        child = subprocess.Popen(
            arguments, stdout=log, stderr=subprocess.STDOUT, preexec_fn=end_with_parent(), start_new_session=True
        )
        try:
            _follow(work / CURVE_FILE, child, on_log)
        finally:
            child.terminate()
            child.wait()
    if (work / RESULT_FILE).exists():
        return adapter(Trained).validate_json((work / RESULT_FILE).read_bytes())
    for name, error in ((STOPPED_FILE, Stopped), (INPUT_ERROR_FILE, InputError)):
        if (work / name).exists():
            raise error(json.loads((work / name).read_text(encoding="utf-8")))
    tail = (work / "launch.log").read_text(encoding="utf-8", errors="replace").split("\n")[-LOG_TAIL_LINES:]
    raise RuntimeError(
        f"training on {job.parallelism.processes} processes exited with code {child.returncode}; the end of "
        f"{work / 'launch.log'}:\n" + "\n".join(tail)
    )


def _require_gpus(parallelism: Parallelism) -> None:
    """Raise InputError, before any process starts, where weights are to be sharded on one node that has no GPU. What
    other nodes have is found by the processes on them."""
    import torch

    if parallelism.sharding == "full" and parallelism.nodes == 1 and not torch.cuda.is_available():
        raise InputError(
            "runtime.parallelism.sharding=full wants GPUs (FSDP2), and this machine has none; choose a runtime whose "
            "sharding it supports, e.g. runtime.parallelism.sharding=none"
        )


def _follow(path: Path, child: subprocess.Popen[bytes], on_log: OnLog) -> None:
    """Pass each complete line to `on_log` as it is written, until the child has exited."""
    read = 0
    while True:
        exited = child.poll() is not None
        if path.exists():
            content = path.read_bytes()
            complete = content.rfind(b"\n") + 1
            for line in content[read:complete].split(b"\n"):
                if line:
                    on_log(json.loads(line))
            read = complete
        if exited:
            return
        time.sleep(POLL_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def kernel_available(attention: str) -> bool:
    """False if the attention kernel needs a package that is not installed."""
    return attention == "sdpa" or find_spec("flash_attn") is not None


def main(path: Path) -> int:
    """One process of a launched training."""
    job: Job = adapter(Job).validate_json(path.read_bytes())
    work, first = Path(job.work), os.environ.get("RANK", "0") == "0"

    def on_log(row: Mapping[str, float]) -> None:
        with (work / CURVE_FILE).open("ab") as stream:
            stream.write(json.dumps(row).encode() + b"\n")

    try:
        trained = train_here(job, on_log)
    except (Stopped, InputError) as reason:
        if first:
            name = STOPPED_FILE if isinstance(reason, Stopped) else INPUT_ERROR_FILE
            write_atomic(work / name, json.dumps(str(reason)).encode())
        return 0
    if first:
        write_atomic(work / RESULT_FILE, adapter(Trained).dump_json(trained))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
