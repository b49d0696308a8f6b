"""Where a training runs: in this process, or in several that `accelerate launch` starts, on one machine or many.

`python -m reer.launch JOB` is one of those processes. They share a folder: the first one writes rows of the curve as
they come, the starter reads them; a request to stop is a file there, so that it reaches every node.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from reer.errors import InputError
from reer.files import write_atomic
from reer.training.checkpoints import discard
from reer.training.parallelism import Parallelism
from reer.training.recipe import Job, OnLog, Stopped, Trained
from reer.training.sft import train_here

POLL_SECONDS = 0.3
TOLD_LINES = 60
_LIBC = ctypes.CDLL(None)  # loaded before any fork


def fine_tune(job: Job, on_log: OnLog) -> Trained:
    """Train as the job's parallelism says; a training that had finished is only told again. SIGTERM saves a
    checkpoint and raises Stopped. Checkpoints are deleted once the result is on disk."""
    work = Path(job.work).resolve()
    done = work / "trained.json"
    if not done.exists():
        with stops_on_sigterm(job.stop_request):
            trained = train_here(job, on_log) if job.parallelism.processes == 1 else _launched(job, work, on_log)
            write_atomic(done, TypeAdapter(Trained).dump_json(trained))
    discard(job.checkpoints)
    return TypeAdapter(Trained).validate_json(done.read_bytes())


@contextmanager
def stops_on_sigterm(request: Path) -> Iterator[None]:
    """While this is open, SIGTERM leaves a request to stop instead of ending the process. One that came too late for
    any step is met at the end. Raises Stopped then."""
    request.unlink(missing_ok=True)
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, lambda *_: request.touch())
    try:
        yield
        if request.exists():
            raise Stopped("asked to stop when training had just finished; the same command goes on from there")
    finally:
        signal.signal(signal.SIGTERM, before)
        request.unlink(missing_ok=True)


def command(parallelism: Parallelism, precision: str, job: Path, host: str, port: int) -> list[str]:
    """The command that starts all processes, with TRL's own accelerate configurations."""
    import trl

    mode = "fsdp2" if parallelism.sharding == "full" else "multi_gpu"
    config = Path(trl.__file__).parent / "accelerate_configs" / f"{mode}.yaml"
    words = [
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
        return words
    at = words.index("--module")
    each = shlex.join(words[:at]) + ' --machine_rank "$SLURM_NODEID" ' + shlex.join(words[at:])
    return [*parallelism.start, "bash", "-c", f"exec {each}"]


def _launched(job: Job, work: Path, on_log: OnLog) -> Trained:
    """What several processes make of a job. Once the first of them has left its result, it counts, however they end."""
    for left in ("live.jsonl", "told.json", "stopped.json", "refused.json"):
        (work / left).unlink(missing_ok=True)
    (work / "job.json").write_text(json.dumps(asdict(replace(job, work=str(work)))), encoding="utf-8")
    host = socket.gethostname() if job.parallelism.nodes > 1 else "127.0.0.1"
    words = command(job.parallelism, job.recipe.precision, work / "job.json", host, _free_port())
    with (work / "launch.log").open("ab") as log:
        # A session of its own: a signal to our group must reach the workers as a request, not as their end.
        child = subprocess.Popen(
            words, stdout=log, stderr=subprocess.STDOUT, preexec_fn=_end_with_parent, start_new_session=True
        )
        try:
            _follow(work / "live.jsonl", child, on_log)
        finally:
            child.terminate()
            child.wait()
    if (work / "told.json").exists():
        return TypeAdapter(Trained).validate_json((work / "told.json").read_bytes())
    for left, kind in (("stopped.json", Stopped), ("refused.json", InputError)):
        if (work / left).exists():
            raise kind(json.loads((work / left).read_text(encoding="utf-8")))
    tail = (work / "launch.log").read_text(encoding="utf-8", errors="replace").split("\n")[-TOLD_LINES:]
    raise RuntimeError(
        f"training on {job.parallelism.processes} processes ended with code {child.returncode}; the end of "
        f"{work / 'launch.log'}:\n" + "\n".join(tail)
    )


def _follow(path: Path, child: subprocess.Popen[bytes], on_log: OnLog) -> None:
    """Hand on each whole line as it is written, until the child has ended."""
    read = 0
    while True:
        ended = child.poll() is not None
        if path.exists():
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            for line in content[read:whole].split(b"\n"):
                if line:
                    on_log(json.loads(line))
            read = whole
        if ended:
            return
        time.sleep(POLL_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def _end_with_parent() -> None:
    """Have Linux end this child when its parent dies, however it dies: two trainings in one folder spoil both."""
    if sys.platform == "linux":
        _LIBC.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def kernel_is_here(attention: str) -> bool:
    """False if the attention asked for wants a package that is not installed."""
    return attention == "sdpa" or find_spec("flash_attn") is not None


def main(path: Path) -> int:
    """One process of a launched training."""
    job: Job = TypeAdapter(Job).validate_json(path.read_bytes())
    work, first = Path(job.work), os.environ.get("RANK", "0") == "0"

    def on_log(row: Any) -> None:
        with (work / "live.jsonl").open("ab") as stream:
            stream.write(json.dumps(row).encode() + b"\n")

    try:
        trained = train_here(job, on_log)
    except (Stopped, InputError) as told:
        if first:
            left = "stopped.json" if isinstance(told, Stopped) else "refused.json"
            write_atomic(work / left, json.dumps(str(told)).encode())
        return 0
    if first:
        write_atomic(work / "told.json", TypeAdapter(Trained).dump_json(trained))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
