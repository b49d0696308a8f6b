"""Many tiny items, a judge that fails in every way, and kills: each item exactly once, in flat memory."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes.http import Act, Handler, hangs, respond
from tests.faults.child import CONCURRENCY
from tests.faults.harness import Harness, Running, Usage, harness, results, until, usage

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
    respond(200, b"\xff\xfe"),
    resets,
    hangs(3.0),  # longer than a call may take
)


@dataclass
class Trouble:
    """Refuses a share of all requests, each in a way drawn anew."""

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


def check(harness: Harness, root: Path, kills: int) -> None:
    """Every item has one row and one judgement; no more was sent again than was refused or in flight."""
    found = results(root)
    (rows,) = [content for name, content in found.files.items() if name.endswith("rows.jsonl")]
    ids = [json.loads(line)["id"] for line in rows.splitlines()]
    assert ids == [f"item-{number}" for number in range(harness.items)]
    assert (found.judgements, found.doubled) == (harness.items, 0)
    again = harness.judge.sent - harness.items - harness.judge.refused
    assert again <= 2 * CONCURRENCY * kills, f"{again} answered requests were sent again after {kills} kills"


def test_fault_60_each_of_300_items_is_judged_once_through_failures_and_two_kills(tmp_path: Path) -> None:
    """300 tiny judgements, 5 % of the requests refused in nine ways, and two kills: each item has exactly one row and
    one record, and only refused calls and those in flight are sent again."""
    with soak(tmp_path, items=300) as running:
        for _ in range(2):
            killed_after(running.start(tmp_path / "root"), running, requests=100)
        assert running.run(tmp_path / "root").code == 0
        check(running, tmp_path / "root", kills=2)


def watched(running: Running, seconds: float) -> list[Usage]:
    """The usage of a job every half second, until it has ended or the time is over."""
    deadline, found = time.monotonic() + seconds, list[Usage]()
    while time.monotonic() < deadline and (now := usage(running.process)):
        found.append(now)
        time.sleep(0.5)
    return found


@pytest.mark.slow
def test_fault_60_each_of_10000_items_is_judged_once_in_flat_memory(tmp_path: Path) -> None:
    """10,000 tiny judgements, 5 % of the requests refused in nine ways, a kill every 2 to 5 seconds: the same, and
    memory and open files do not grow with the number of items that are done."""
    draw, kills, seen = random.Random(11), 0, list[Usage]()
    with soak(tmp_path, items=10_000) as running:
        while kills < 100:
            job = running.start(tmp_path / "root")
            seen += watched(job, draw.uniform(2, 5))
            if usage(job.process) is None:
                assert job.wait().code == 0
                break
            job.kill()
            job.wait()
            kills += 1
        assert kills >= 2
        check(running, tmp_path / "root", kills)
    assert max(now.memory_mib for now in seen) - min(now.memory_mib for now in seen) < 100
    assert max(now.open_files for now in seen) < 2 * CONCURRENCY + 40
