"""A judge that fails in every way, and kills while it is asked."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.http import Act, Handler, cuts_off, hangs, respond
from tests.faults.harness import Harness, Running, Usage, harness, until, usage

FAILING = 0.05


def resets(handler: Handler) -> None:
    """Closes the connection without a reply."""
    handler.close_connection = True


TROUBLE: tuple[Act, ...] = (
    respond(500, {"error": "no"}),
    respond(503, {"error": "busy"}),
    respond(429, {"error": "slow down"}, Retry_After="0.05"),
    respond(200, b"<html>maintenance</html>"),
    respond(200, b'{"choices": ['),
    respond(200, {"choices": []}),
    resets,
    cuts_off,
    hangs(3.0),  # longer than a call may take
)


@dataclass
class Trouble:
    """Refuses a share of all requests, each in a way drawn at random."""

    draw: random.Random = field(default_factory=lambda: random.Random(7))

    def __call__(self, number: int) -> Act | None:
        return self.draw.choice(TROUBLE) if self.draw.random() < FAILING else None


@contextmanager
def soak(folder: Path, items: int) -> Iterator[Harness]:
    with harness(folder, "judgements", items, Trouble()) as running:
        yield running


def killed_after(running: Running, harness: Harness, requests: int) -> None:
    """Kill a job once so many more requests have arrived."""
    goal = harness.judge.sent + requests
    until(lambda: harness.judge.sent >= goal, seconds=60)
    running.kill()
    running.wait()


def watched(running: Running, seconds: float) -> list[Usage]:
    """The usage of a job every half second, until it has ended or the time is over."""
    deadline, found = time.monotonic() + seconds, list[Usage]()
    while time.monotonic() < deadline and (now := usage(running.process)):
        found.append(now)
        time.sleep(0.5)
    return found


def soaked(harness: Harness, root: Path) -> tuple[int, list[Usage]]:
    """Run until the work is done, with a kill every 2 to 5 seconds of requests: the number of kills, and the usage."""
    draw, seen = random.Random(11), list[Usage]()
    for kills in range(200):
        before, job = harness.judge.sent, harness.start(root)
        until(lambda: harness.judge.sent > before or usage(job.process) is None, seconds=60)  # noqa: B023
        seen += watched(job, draw.uniform(2, 5))
        if usage(job.process) is None:
            assert job.wait().code == 0
            return kills, seen
        job.kill()
        job.wait()
    raise TimeoutError(f"not finished after 200 kills: {harness.judge.sent} requests for {harness.items} items")
