"""Real stages, from pairs to the mixture and a judge behind HTTP, killed or failed at each fault point."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.faults.child import CONCURRENCY
from tests.faults.harness import DISK, POINTS, Lab, Outcome, errors, kills, laboratory, results, second_kill, survive
from tests.faults.injection import Fault, Point


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with laboratory(tmp_path_factory.mktemp("kills")) as found:
        yield found


def check(outcome: Outcome) -> None:
    """A fault was met, the same command ended well with the same bytes, and nothing was lost or recorded twice."""
    name = " then ".join(map(str, outcome.faults))
    assert outcome.met, f"{name}: the run did not end there"
    assert outcome.survived, f"{name}: {outcome.log}"
    assert not outcome.different, f"{name}: {outcome.different}"
    assert (outcome.lost, outcome.doubled) == (0, 0), name
    assert not outcome.computed_again, f"{name}: complete, and computed again"


def test_an_uninterrupted_run_passes_every_point_and_has_rows_and_judgements(lab: Lab) -> None:
    assert set(POINTS) == {point for point in POINTS if lab.counts.get(point)}
    assert {name.split("/")[0] for name in lab.expected.metrics} >= {"pairs", "draft", "refine", "mix", "grade"}
    assert lab.expected.judgements == 14
    assert lab.expected.doubled == 0


def test_a_second_uninterrupted_run_has_the_same_results(lab: Lab) -> None:
    assert lab.harness.run(lab.folder / "second").code == 0
    assert not results(lab.folder / "second").unlike(lab.expected)


@pytest.mark.parametrize("point", POINTS)
def test_fault_01_killed_at_any_point_the_same_command_ends_with_the_same_bytes(lab: Lab, point: Point) -> None:
    """SIGKILL at the first, middle and last call of each fault point, in stages from pairs to grades: the same command
    ends with exit code 0 and the bytes of an uninterrupted run; no complete stage is computed again, no judgement is
    lost or recorded twice, and the calls sent again are those in flight or just answered."""
    for fault in kills(lab.counts, point):
        outcome = lab.survive(fault)
        check(outcome)
        assert outcome.sent <= lab.expected.judgements + 2 * CONCURRENCY, f"{fault}: {outcome.sent} requests"


@pytest.mark.parametrize("point", POINTS)
def test_fault_02_killed_again_during_recovery_the_bytes_are_the_same(lab: Lab, point: Point) -> None:
    """SIGKILL, and a second one before the first call of each fault point during recovery: the same as after one."""
    check(lab.survive(*second_kill(lab.counts, point)))


@pytest.mark.parametrize("point", DISK)
def test_fault_10_an_error_of_the_disk_ends_the_run_and_spoils_nothing(lab: Lab, point: Point) -> None:
    """ENOSPC at the first and last write, append, fsync and rename, EIO at the middle one: the run ends with an error,
    and once the disk works again the same command ends with the bytes of an uninterrupted run."""
    for fault in errors(lab.counts, point):
        check(lab.survive(fault))


@pytest.mark.parametrize(("point", "number"), [("append", 3), ("append", 8), ("receive", 2)])
def test_killed_while_answers_are_judged_ahead_nothing_is_lost_or_doubled(lab: Lab, point: Point, number: int) -> None:
    """SIGKILL at an early judgement, while answers are still being written: the same command ends with the bytes of an
    uninterrupted run, and asks only what had no reply."""
    harness = replace(lab.harness, work="judged ahead", folder=lab.folder / f"ahead {point} {number}")
    harness.folder.mkdir()
    root, alone = harness.folder / "killed", harness.folder / "uninterrupted"
    assert harness.run(alone).code == 0
    before = harness.judge.sent
    killed = harness.run(root, Fault(point=point, number=number, kind="kill before"))
    assert killed.code == -signal.SIGKILL
    assert not list(root.glob("paced_answers/*/record.json")), "the judge was asked before all answers were there"
    check(survive(harness, results(alone), root))
    assert harness.judge.sent - before <= results(alone).judgements + CONCURRENCY
