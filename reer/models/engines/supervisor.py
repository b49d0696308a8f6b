"""Runs a server for another process, starts it again when it dies, and leaves nothing of it behind.

`python -m reer.models.engines.supervisor RESTARTS COMMAND...`, with a pipe as standard input. The process at the other
end writes a byte when the server is ready; a server that ends before that is not started again. When the pipe closes,
because that process is done or was killed, the server ends with every process that descends from it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

import psutil

from reer.processes import adopt_orphans, end_with_parent

POLL_SECONDS = 0.2
GRACE_SECONDS = 10.0
OF_THIS_INTERPRETER = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")  # the engine's environment is another one


def supervise(command: Sequence[str], restarts: int, pipe: int) -> int:
    """Run the command until the pipe closes or the command has ended for good; its exit code, 0 if the pipe closed."""
    is_ready = False
    while True:
        child = _start(command)
        try:
            while child.poll() is None:
                if select.select([pipe], [], [], POLL_SECONDS)[0]:
                    if not os.read(pipe, 64):
                        return 0
                    is_ready = True
        finally:
            end_descendants()
        if not is_ready or restarts == 0:
            return child.wait()
        restarts -= 1
        sys.stdout.write(f"the server ended with code {child.wait()}; it is started again ({restarts} left)\n")
        sys.stdout.flush()
        time.sleep(POLL_SECONDS)


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in OF_THIS_INTERPRETER}
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=end_with_parent()
    )


def end_descendants() -> None:
    """End all processes that descend from this one: in good order, and by force after some seconds."""
    processes = psutil.Process().children(recursive=True)
    for process in processes:
        _signal(process, signal.SIGTERM)
    psutil.wait_procs(processes, timeout=GRACE_SECONDS)
    while rest := psutil.Process().children(recursive=True):
        for process in rest:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(rest, timeout=GRACE_SECONDS)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return  # it has ended meanwhile


def _stop(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    adopt_orphans()
    sys.exit(supervise(sys.argv[2:], int(sys.argv[1]), sys.stdin.fileno()))
