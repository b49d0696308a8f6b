"""Interrupting a process from within."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from reer.processes import interrupt_self, interruptible


@pytest.fixture
def ignoring() -> Iterator[None]:
    """A process that was started to ignore Ctrl-C, as a script starts one in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(seconds: float) -> bool:
    """Whether a wait of this length is cut short after 0.05 s."""
    threading.Timer(0.05, interrupt_self).start()
    try:
        time.sleep(seconds)
    except KeyboardInterrupt:
        return True
    return False


def test_a_process_that_ignores_ctrl_c_can_interrupt_itself(ignoring: None) -> None:
    assert not interrupted(0.2)
    with interruptible():
        os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C, which is meant for others
        assert interrupted(20.0)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_elsewhere_nothing_changes() -> None:
    with interruptible():
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert interrupted(20.0)
