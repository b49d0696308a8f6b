"""A result is found by what identifies it, exists only if complete, and is computed once."""

import json
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from experiments.store.metrics import RowMetrics, StageMetrics
from experiments.store.records import again_mark, read_document, write_document
from experiments.store.step import Artifact, StageKey, StepName, stage
from experiments.store.workspace import Workspace
from reer.errors import InputError
from reer.files import read_rows, write_rows
from reer.types import Drop
from tests.fakes.stages import TotalMetrics, a_store, changing, counting, lost, numbers, total


@dataclass(frozen=True, kw_only=True)
class NoMetrics(StageMetrics):
    def headline(self) -> str:
        return "done"


@stage(StageKey("slow", NoMetrics), version=1)
def slow(ws: Workspace, *, seconds: float, trace: str) -> NoMetrics:
    """Leaves a mark, then takes its time."""
    with Path(trace).open("a") as stream:
        stream.write("x")
    time.sleep(seconds)
    return NoMetrics()


def test_a_second_build_computes_nothing(tmp_path: Path) -> None:
    step = total(numbers=numbers(count=4))
    first, ran = counting(tmp_path)
    assert first.build(step).metrics == TotalMetrics(total=6.0)
    second, again = counting(tmp_path)
    assert second.build(step).build == first.build(step).build
    assert (ran, again) == (["numbers", "total"], [])


def test_a_value_is_identity_and_a_label_is_not() -> None:
    assert numbers(count=4).fingerprint != numbers(count=5).fingerprint
    assert numbers(count=4, label="a").fingerprint == numbers(count=4, hint="b").fingerprint


def test_a_folder_is_named_readably_and_found_under_any_label(tmp_path: Path) -> None:
    a_store(tmp_path).build(numbers(count=4, hint="few numbers"))
    (folder,) = (tmp_path / "numbers").glob("few-numbers-*")
    found = a_store(tmp_path).find(numbers(count=4, label="other"))
    assert found is not None
    assert found.path == folder


def test_a_step_name_is_written_and_read_as_text() -> None:
    for name in (StepName("train"), StepName("grade", "writing"), StepName("grade", "a:b")):
        assert StepName.parse(str(name)) == name
    assert total(numbers=numbers(count=1), label="x").name == StepName("total", "x")


def test_a_misspelt_argument_is_refused_when_a_step_is_described() -> None:
    with pytest.raises(TypeError, match="stage total: unknown argument 'scael'; did you mean scale"):
        total(numbers=numbers(count=1), scael=2.0)
    with pytest.raises(TypeError, match="stage total: missing arguments: numbers"):
        total(scale=2.0)


def test_an_input_wants_a_step_of_its_metrics_and_a_value_wants_none() -> None:
    with pytest.raises(TypeError, match="numbers wants a step with RowMetrics, got int"):
        total(numbers=4)
    with pytest.raises(TypeError, match="numbers wants a step with RowMetrics, got the step slow"):
        total(numbers=slow(seconds=0.0, trace="t"))
    with pytest.raises(TypeError, match="scale wants a value, got the step numbers"):
        total(numbers=numbers(count=1), scale=numbers(count=2))


@stage(StageKey("either", NoMetrics), version=1)
def either(ws: Workspace, *, numbers: Artifact[RowMetrics] | None = None) -> NoMetrics:
    """Reads numbers where there are some."""
    return NoMetrics()


def test_an_input_may_be_left_out_where_its_annotation_says_so() -> None:
    assert either(numbers=None).fingerprint == either().fingerprint
    assert list(either(numbers=numbers(count=1)).inputs) == ["numbers"]


def test_a_foreign_record_is_refused_with_what_is_wrong_in_it(tmp_path: Path) -> None:
    artifact = a_store(tmp_path).build(numbers(count=3))
    path = artifact.path / "record.json"
    record = read_document(path)
    for metrics in ({"row_count": 3}, {"rows": 3, "lines": 3}, {"rows": "many"}):
        write_document(path, {**record, "metrics": metrics})
        with pytest.raises(InputError, match="not a record of RowMetrics") as refused:
            a_store(tmp_path).find(numbers(count=3))
        assert str(path) in str(refused.value)


def test_a_stage_that_fails_leaves_no_result(tmp_path: Path) -> None:
    @stage(StageKey("broken", RowMetrics), version=1)
    def broken(ws: Workspace, *, count: int) -> RowMetrics:
        """Writes, then fails."""
        write_rows(ws.folder / "rows.jsonl", [{"n": count}])
        raise RuntimeError("no")

    store, _ = counting(tmp_path)
    with pytest.raises(RuntimeError):
        store.build(broken(count=1))
    assert store.find(broken(count=1)) is None
    assert store.status(broken(count=1)) == "started"


def test_an_input_rebuilt_to_other_bytes_rebuilds_what_read_it(tmp_path: Path) -> None:
    step = total(numbers=changing(count=3))
    store, _ = counting(tmp_path)
    store.build(step)
    lost(store, step.inputs["numbers"])
    fresh, ran = counting(tmp_path)
    fresh.build(step)
    assert ran == ["changing", "total"]
    assert list(tmp_path.glob("total/*superseded*")), "the older result is kept beside, not deleted"


def test_an_input_rebuilt_to_the_same_bytes_rebuilds_nothing_else(tmp_path: Path) -> None:
    step = total(numbers=numbers(count=3))
    store, _ = counting(tmp_path)
    first = store.build(step)
    lost(store, step.inputs["numbers"])
    fresh, ran = counting(tmp_path)
    assert fresh.build(step).build == first.build
    assert ran == ["numbers"]


@dataclass(frozen=True, kw_only=True)
class Timed(StageMetrics):
    steps: int
    seconds: float = field(metadata={"identity": False})

    def headline(self) -> str:
        return f"{self.steps} steps"


@stage(StageKey("timed", Timed), version=1, product="model")
def timed(ws: Workspace, *, steps: int) -> Timed:
    """Makes the same model in another time."""
    write_rows(ws.folder / "model" / "weights.jsonl", [{"step": n} for n in range(steps)])
    write_rows(ws.folder / "curve.jsonl", [{"seconds": time.monotonic()}])
    return Timed(steps=steps, seconds=time.monotonic())


def test_times_and_files_outside_the_product_identify_no_build(tmp_path: Path) -> None:
    one, two = (a_store(tmp_path / root).build(timed(steps=2)) for root in ("one", "two"))
    assert one.metrics != two.metrics
    assert one.build == two.build
    assert a_store(tmp_path / "one").build(timed(steps=3)).build != one.build


@dataclass(frozen=True, kw_only=True)
class Attempts(StageMetrics):
    attempts: int
    builds: int

    def headline(self) -> str:
        return f"{self.attempts} attempts"


@stage(StageKey("patient", Attempts), version=1)
def patient(ws: Workspace, *, numbers: Artifact, limit: int) -> Attempts:
    """Adds one line per attempt and gives up until there are `limit`."""
    with (ws.folder / "attempts").open("a") as stream:
        stream.write(numbers.build + "\n")
    attempts = (ws.folder / "attempts").read_text().split()
    if len(attempts) < limit:
        raise RuntimeError("interrupted")
    return Attempts(attempts=len(attempts), builds=len(set(attempts)))


def test_an_interrupted_stage_is_resumed(tmp_path: Path) -> None:
    step = patient(numbers=numbers(count=2), limit=2)
    with pytest.raises(RuntimeError, match="interrupted"):
        a_store(tmp_path).build(step)
    artifact = a_store(tmp_path).build(step)
    assert artifact.metrics == Attempts(attempts=2, builds=1)
    assert sorted(path.name for path in artifact.path.iterdir()) == ["attempts", "record.json"]


def test_an_interrupted_stage_starts_over_when_an_input_was_rebuilt(tmp_path: Path) -> None:
    step = patient(numbers=changing(count=2), limit=2)
    with pytest.raises(RuntimeError, match="interrupted"):
        a_store(tmp_path).build(step)
    lost(a_store(tmp_path), step.inputs["numbers"])
    with pytest.raises(RuntimeError, match="interrupted"):
        a_store(tmp_path).build(step)
    assert a_store(tmp_path).build(step).metrics == Attempts(attempts=2, builds=1)
    (kept,) = tmp_path.glob("patient/*.part.superseded-*")
    assert (kept / "attempts").exists(), "what was done is kept"


def test_a_record_holds_the_inputs_and_arguments_of_its_stage(tmp_path: Path) -> None:
    store, _ = counting(tmp_path)
    artifact = store.build(total(numbers=numbers(count=3), scale=2.0))
    record = json.loads((artifact.path / "record.json").read_text())
    assert record["identity"]["values"] == {"scale": 2.0}
    assert record["inputs"]["numbers"]["build"] == store.build(numbers(count=3)).build
    assert {"git", "python", "packages"} <= record["provenance"].keys()


def _build_slow(root: str, trace: str) -> None:
    a_store(Path(root)).build(slow(seconds=1.0, trace=trace))


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

    what: object


def test_what_cannot_be_encoded_faithfully_is_refused() -> None:
    with pytest.raises(TypeError, match="faithfully"):
        _ = numbers(count=Opaque(object())).fingerprint
    with pytest.raises(TypeError, match="cannot be part of a fingerprint"):
        _ = numbers(count=float("nan")).fingerprint


@stage(StageKey("asking", RowMetrics), version=1)
def asking(ws: Workspace, *, count: int) -> RowMetrics:
    """Says where it keeps its model calls."""
    write_rows(ws.folder / "rows.jsonl", [{"n": n} for n in range(count)])
    (ws.replay / "model").mkdir(parents=True, exist_ok=True)
    ws.judgements.mkdir(parents=True, exist_ok=True)
    return RowMetrics(rows=count)


def test_a_marked_result_is_computed_again_with_calls_of_its_own(tmp_path: Path) -> None:
    step = asking(count=2)
    first = a_store(tmp_path).build(step)
    mark = again_mark(first.path.parent, step.fingerprint)
    mark.mkdir()
    assert a_store(tmp_path).find(step) is None
    store, ran = counting(tmp_path)
    assert store.build(step).build == first.build
    assert ran == ["asking"]
    assert not mark.exists()
    (calls,) = first.path.parent.glob(f"{mark.name}.superseded-*")
    assert sorted(path.name for path in calls.iterdir()) == ["judgements", "replay"]
    assert len(list(first.path.parent.glob(f"*{step.fingerprint}.superseded-*/record.json"))) == 1
    again, ran = counting(tmp_path)
    again.build(step)
    assert ran == []
