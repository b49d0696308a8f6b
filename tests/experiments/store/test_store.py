"""A result is found by what identifies it, exists only if complete, and is computed once."""

import json
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from experiments.store.stages import Artifact, Monitor, Store, Workspace, stage
from reer.files import read_rows, write_rows
from reer.types import Drop


@stage(version=1)
def numbers(ws: Workspace, *, count: int) -> dict[str, Any]:
    """Numbers from zero."""
    write_rows(ws.folder / "rows.jsonl", [{"n": n} for n in range(count)])
    return {"rows": count}


@stage(version=1)
def total(ws: Workspace, *, numbers: Artifact, scale: float = 1.0) -> dict[str, Any]:
    """Their sum."""
    lines = (numbers.path / "rows.jsonl").read_text().splitlines()
    return {"total": scale * sum(json.loads(line)["n"] for line in lines)}


@stage(version=1)
def slow(ws: Workspace, *, seconds: float, trace: str) -> dict[str, Any]:
    """Leaves a mark, then takes its time."""
    with Path(trace).open("a") as stream:
        stream.write("x")
    time.sleep(seconds)
    return {}


def counting(root: Path) -> tuple[Store, list[str]]:
    ran: list[str] = []
    return Store(root, None, Monitor(started=lambda step: ran.append(step.stage))), ran


def test_a_second_build_computes_nothing(tmp_path: Path) -> None:
    step = total(numbers=numbers(count=4))
    first, ran = counting(tmp_path)
    assert first.build(step).metrics == {"total": 6.0}
    second, again = counting(tmp_path)
    assert second.build(step).build == first.build(step).build
    assert (ran, again) == (["numbers", "total"], [])


def test_a_value_is_identity_and_a_label_is_not() -> None:
    assert numbers(count=4).fingerprint != numbers(count=5).fingerprint
    assert numbers(count=4, label="a").fingerprint == numbers(count=4, label="b").fingerprint


def test_a_stage_that_fails_leaves_no_result(tmp_path: Path) -> None:
    @stage(version=1)
    def broken(ws: Workspace, *, x: int) -> dict[str, Any]:
        """Writes, then fails."""
        write_rows(ws.folder / "rows.jsonl", [{"x": x}])
        raise RuntimeError("no")

    store, _ = counting(tmp_path)
    with pytest.raises(RuntimeError):
        store.build(broken(x=1))
    assert store.find(broken(x=1)) is None
    assert store.status(broken(x=1)) == "started"


def test_a_rebuilt_input_rebuilds_what_read_it(tmp_path: Path) -> None:
    step = total(numbers=numbers(count=3))
    store, _ = counting(tmp_path)
    store.build(step)
    before = store.path(step.inputs["numbers"])
    before.rename(before.with_name("set-aside"))
    fresh, ran = counting(tmp_path)
    fresh.build(step)
    assert ran == ["numbers", "total"]
    assert list(tmp_path.glob("total/*superseded*")), "the older result is kept beside, not deleted"


@stage(version=1)
def patient(ws: Workspace, *, numbers: Artifact, limit: int) -> dict[str, Any]:
    """Adds one line per attempt and gives up until there are `limit`."""
    with (ws.folder / "attempts").open("a") as stream:
        stream.write(numbers.build + "\n")
    attempts = (ws.folder / "attempts").read_text().split()
    if len(attempts) < limit:
        raise RuntimeError("interrupted")
    return {"attempts": len(attempts), "builds": len(set(attempts))}


def test_an_interrupted_stage_goes_on_where_it_was(tmp_path: Path) -> None:
    step = patient(numbers=numbers(count=2), limit=2)
    with pytest.raises(RuntimeError, match="interrupted"):
        Store(tmp_path, None).build(step)
    artifact = Store(tmp_path, None).build(step)
    assert artifact.metrics == {"attempts": 2, "builds": 1}
    assert not (artifact.path / "inputs.json").exists()


def test_an_interrupted_stage_starts_afresh_when_an_input_was_rebuilt(tmp_path: Path) -> None:
    step = patient(numbers=numbers(count=2), limit=2)
    with pytest.raises(RuntimeError, match="interrupted"):
        Store(tmp_path, None).build(step)
    before = Store(tmp_path, None).path(step.inputs["numbers"])
    before.rename(before.with_name("set-aside"))
    with pytest.raises(RuntimeError, match="interrupted"):
        Store(tmp_path, None).build(step)
    assert Store(tmp_path, None).build(step).metrics == {"attempts": 2, "builds": 1}


def test_what_a_stage_read_and_was_given_stands_in_its_record(tmp_path: Path) -> None:
    store, _ = counting(tmp_path)
    artifact = store.build(total(numbers=numbers(count=3), scale=2.0))
    record = json.loads((artifact.path / "record.json").read_text())
    assert record["identity"]["values"] == {"scale": 2.0}
    assert record["inputs"]["numbers"]["build"] == store.build(numbers(count=3)).build
    assert {"git", "python", "packages"} <= record["provenance"].keys()


def _build_slow(root: str, trace: str) -> None:
    Store(Path(root), None).build(slow(seconds=1.0, trace=trace))


def test_two_processes_compute_a_shared_stage_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    trace = str(tmp_path / "trace")
    both = [spawn.Process(target=_build_slow, args=(str(tmp_path / "s"), trace)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert Path(trace).read_text() == "x"


def test_a_lock_whose_holder_was_killed_is_free(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    holder = multiprocessing.get_context("spawn").Process(target=_build_slow, args=(str(tmp_path / "s"), str(trace)))
    holder.start()
    while not trace.exists():
        time.sleep(0.05)
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    _build_slow(str(tmp_path / "s"), str(trace))
    assert trace.read_text() == "xx"


def test_rows_come_back_as_their_type(tmp_path: Path) -> None:
    rows = [Drop("a", "line\u2028separator"), Drop("b", "中文")]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert read_rows(tmp_path / "rows.jsonl", Drop) == rows


@dataclass
class Opaque:
    """Holds something without a faithful encoding."""

    what: Any


def test_what_cannot_be_encoded_faithfully_is_refused() -> None:
    with pytest.raises(TypeError, match="faithfully"):
        _ = numbers(count=Opaque(object())).fingerprint
    with pytest.raises(TypeError, match="no place"):
        _ = numbers(count=float("nan")).fingerprint
