"""Many tiny items, a judge that fails in every way, and kills: each item exactly once, in flat memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.child import CONCURRENCY
from tests.faults.harness import Harness, results
from tests.faults.soaking import killed_after, soak, soaked


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


@pytest.mark.slow
def test_fault_60_each_of_10000_items_is_judged_once_in_flat_memory(tmp_path: Path) -> None:
    """10,000 tiny judgements, 5 % of the requests refused in nine ways, a kill every 2 to 5 seconds: the same, and
    memory and open files do not grow with the number of items that are done."""
    with soak(tmp_path, items=10_000) as running:
        kills, seen = soaked(running, tmp_path / "root")
        assert kills >= 2
        check(running, tmp_path / "root", kills)
    grown = max(now.memory_mib for now in seen) - seen[len(seen) // kills // 2].memory_mib
    assert grown < 100, f"{grown:.0f} MiB more than in the first seconds"
    assert max(now.open_files for now in seen) < 2 * CONCURRENCY + 40
