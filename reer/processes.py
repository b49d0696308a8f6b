"""Signals that ask a process to end, child processes that end with their parent, and closed standard streams."""

from __future__ import annotations

import ctypes
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import BinaryIO

REQUESTS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that ask a process to end in good order: from a user or a scheduler, a closed terminal, a preemption."""

Handler = Callable[[int, FrameType | None], object] | signal.Handlers
_requests: list[signal.Signals] = []  # those received in the present context of `ended_by_requests`
_interrupted = threading.Event()  # by this process itself
_LIBC = ctypes.CDLL(None)  # loaded before any fork
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Terminated(KeyboardInterrupt):
    """One of REQUESTS asked this process to end: `number`, where it is known."""

    def __init__(self, text: str, number: signal.Signals | None = None) -> None:
        super().__init__(text)
        self.number = number


@contextmanager
def handling(signals: Iterable[signal.Signals], handler: Handler) -> Generator[None]:
    """In this context these signals are handled by `handler`.

    Signals that this process was started to ignore (`nohup`) stay ignored. Only the main thread may handle signals; in
    any other this context changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in signals}
    changed = [number for number, old in before.items() if old is not signal.SIG_IGN]
    for number in changed:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, before[number])


@contextmanager
def ended_by_requests() -> Generator[None]:
    """In this context the first of REQUESTS interrupts as Ctrl-C does, so that whatever is open is closed; then
    Terminated is raised. Further requests change nothing: schedulers send several."""
    _requests.clear()

    def interrupt(number: int, frame: FrameType | None) -> None:
        _requests.append(signal.Signals(number))
        if len(_requests) == 1:
            on_interrupt = signal.getsignal(signal.SIGINT)  # that of asyncio, while it runs, cancels in good order
            (on_interrupt if callable(on_interrupt) else signal.default_int_handler)(signal.SIGINT, frame)

    try:
        with handling(REQUESTS, interrupt):
            yield
    except KeyboardInterrupt as stop:
        if _requests and not isinstance(stop, Terminated):
            raise Terminated(f"ended by {_requests[0].name}", _requests[0]) from stop
        raise


def asked_to_end() -> bool:
    """Whether one of REQUESTS has asked this process to end, and not Ctrl-C."""
    return bool(_requests)


def interrupt_self() -> None:
    """Interrupt the main thread as Ctrl-C does, from any thread; see `interruptible`."""
    _interrupted.set()
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def interruptible() -> Generator[None]:
    """In this context `interrupt_self` works also where this process was started to ignore SIGINT, as shells start
    background jobs; Ctrl-C, which is meant for others then, stays ignored."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    _interrupted.clear()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if _interrupted.is_set():
            signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_child(command: Sequence[str], stdout: BinaryIO | None = None, stderr: BinaryIO | None = None) -> int:
    """Run a command to its end and return its exit code, as `subprocess` has it: -9 after SIGKILL. Its output goes to
    these files, or where that of this process goes.

    Ctrl-C and REQUESTS are passed on to the child, which is in a process group of its own so that it gets each of them
    once. When it has ended, KeyboardInterrupt or Terminated is raised. The child gets SIGTERM when this process is
    killed.
    """
    received: list[signal.Signals] = []
    child = subprocess.Popen(command, process_group=0, preexec_fn=end_with_parent(), stdout=stdout, stderr=stderr)

    def pass_on(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number))
        child.send_signal(number)

    with handling((signal.SIGINT, *REQUESTS), pass_on):
        code = child.wait()
    if received:
        number = received[0]
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated(f"ended by {number.name}", number)
    return code


def end_with_parent() -> Callable[[], None]:
    """For `subprocess.Popen(preexec_fn=...)`: on Linux, the child gets SIGTERM when this process ends, however it
    ends. Elsewhere, nothing."""
    return partial(_end_with, os.getpid())


def _end_with(parent: int) -> None:
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the request above
            os.kill(os.getpid(), signal.SIGTERM)


def adopt_orphans() -> None:
    """On Linux, processes that lose their parent become children of this one, if they descend from it. Elsewhere,
    nothing."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def prepare_streams() -> None:
    """Give a closed stdin, stdout or stderr to the null device, because a file that is opened later would get its
    number, and with it all output. A character that the encoding of a stream lacks is replaced, and no error."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
