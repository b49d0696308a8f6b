"""Which W&B run a process mirrors to, and what is remembered of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.tracking.ledger import Ledger, Mirror, next_mirror

ONLINE = Mirror(experiment="reer-1", number=1, project="p", online=True)
OFFLINE = replace(ONLINE, online=False, folder=None)
STORED = {"train": "f-1", "grade:writing": "g-1"}
SENT = replace(ONLINE, stages={"train": "f-1"})


def test_the_first_process_begins_the_first_attempt() -> None:
    assert next_mirror((), ONLINE, STORED) == ONLINE
    assert ONLINE.id == "reer-1"


def test_a_resumed_run_goes_on_in_the_run_it_began() -> None:
    assert next_mirror((SENT,), ONLINE, STORED) == SENT


@pytest.mark.parametrize("stored", [{}, {"train": "f-2"}], ids=["gone", "other content"])
def test_a_stage_that_is_built_anew_begins_another_attempt(stored: dict[str, str]) -> None:
    following = next_mirror((SENT,), ONLINE, stored)
    assert (following.id, following.stages) == ("reer-1-a2", {})
    assert next_mirror((SENT, following), ONLINE, {}).id == "reer-1-a2"


def test_offline_a_process_begins_a_directory_with_everything() -> None:
    before = replace(OFFLINE, folder="wandb/offline-run-1", stages=STORED)
    assert next_mirror((before,), OFFLINE, STORED) == OFFLINE


def test_what_was_tracked_offline_is_sent_by_a_process_that_is_online() -> None:
    before = replace(OFFLINE, folder="wandb/offline-run-1", stages=STORED)
    assert next_mirror((before,), ONLINE, STORED) == ONLINE


def test_offline_after_online_another_attempt_begins_since_wandb_cannot_be_asked_what_it_has() -> None:
    assert next_mirror((SENT,), OFFLINE, STORED).id == "reer-1-a2"


def test_another_project_has_attempts_of_its_own() -> None:
    assert next_mirror((SENT,), replace(ONLINE, project="q"), {}).number == 1


def test_the_ledger_outlives_the_process(tmp_path: Path) -> None:
    second = replace(ONLINE, number=2)
    Ledger(tmp_path).put(SENT)
    Ledger(tmp_path).put(second)
    ledger = Ledger(tmp_path)
    assert [(m.id, m.superseded) for m in ledger.mirrors] == [("reer-1", True), ("reer-1-a2", False)]
    ledger.change(replace(second, row={"contract": "kept"}, row_sent=True))
    current = Ledger(tmp_path).current
    assert current is not None
    assert (current.id, current.row, current.row_sent) == ("reer-1-a2", {"contract": "kept"}, True)


def test_a_wandb_run_of_another_project_is_not_superseded(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(SENT)
    ledger.put(replace(ONLINE, project="q"))
    assert not any(mirror.superseded for mirror in ledger.mirrors)
