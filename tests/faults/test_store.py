"""Stage results on disk: kills, damage, locks, clocks and moved folders."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from experiments.store.metrics import RowMetrics
from experiments.store.records import RECORD
from experiments.store.step import Artifact, StageKey, Step, stage
from experiments.store.store import Store
from experiments.store.verification import check, repair
from experiments.store.workspace import Workspace
from reer.errors import InputError
from reer.files import write_rows
from tests.fakes.commands import reer
from tests.fakes.runtime import small_runtime
from tests.fakes.stages import a_store, changing, counting, lost, numbers, total

ITEMS = 9


@stage(StageKey("fragile", RowMetrics), version=1)
def fragile(ws: Workspace, *, trace: str) -> RowMetrics:
    """Works item by item in its folder; each process is killed at the next item that the trace names."""
    deadly = Path(trace)
    for n in range(ITEMS):
        item = ws.folder / f"{n}.jsonl"
        kills = deadly.read_text().split()
        if kills and int(kills[0]) == n:
            deadly.write_text(" ".join(kills[1:]))
            (ws.folder / f".{n}.jsonl.0badc0de.tmp").write_text("half")  # as a kill inside an atomic write leaves it
            os.kill(os.getpid(), signal.SIGKILL)
        if not item.exists():
            write_rows(item, [{"n": n}])
    return RowMetrics(rows=ITEMS)


def built(root: Path, trace: str) -> None:
    a_store(root).build(fragile(trace=trace))


def in_a_process(root: Path, trace: str) -> int:
    """The exit code of a process that builds the fragile stage."""
    process = multiprocessing.get_context("fork").Process(target=built, args=(root, trace))
    process.start()
    process.join()
    return process.exitcode or 0


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != RECORD}


@pytest.mark.parametrize("item", [0, ITEMS // 2, ITEMS - 1])
def test_fault_01_a_stage_killed_at_any_item_ends_with_the_same_bytes(tmp_path: Path, item: int) -> None:
    """SIGKILL at the first, a middle or the last item: the same command ends with the files of an uninterrupted run,
    and leaves no temporary file."""
    trace = tmp_path / "trace"
    trace.write_text(str(item))
    assert in_a_process(tmp_path / "killed", str(trace)) == -signal.SIGKILL
    assert in_a_process(tmp_path / "killed", str(trace)) == 0
    assert in_a_process(tmp_path / "whole", str(trace)) == 0
    killed, whole = (a_store(tmp_path / root).build(fragile(trace=str(trace))) for root in ("killed", "whole"))
    assert contents(killed.path) == contents(whole.path)
    assert killed.build == whole.build


def test_fault_02_a_stage_killed_twice_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """A second SIGKILL during the recovery from the first changes nothing."""
    trace = tmp_path / "trace"
    trace.write_text("4 6")
    codes = [in_a_process(tmp_path / "killed", str(trace)) for _ in range(3)]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    found = a_store(tmp_path / "killed").build(fragile(trace=str(trace)))
    assert sorted(contents(found.path)) == [f"{n}.jsonl" for n in range(ITEMS)]


def unrenamed(store: Store, step: Step) -> Path:
    """The result of a step as a kill just before its rename leaves it."""
    return store.path(step).rename(store.path(step).with_name(f"{step.fingerprint}.part"))


def test_fault_06_a_part_with_a_valid_record_is_finished_by_renaming(tmp_path: Path) -> None:
    """Killed between record and rename: the stage is complete on the next start, and nothing is computed again. The
    record is written before the rename, so there is never a renamed folder that needs a record."""
    step = total(numbers=numbers(count=4))
    first = a_store(tmp_path).build(step)
    for each in (step, step.inputs["numbers"]):
        unrenamed(a_store(tmp_path), each)
    store, ran = counting(tmp_path)
    assert store.build(step).build == first.build
    assert ran == []


def test_fault_06_a_part_whose_files_do_not_match_its_record_is_computed_again(tmp_path: Path) -> None:
    """A part that was damaged after its record was written is set aside and computed again."""
    first = a_store(tmp_path).build(numbers(count=4))
    part = unrenamed(a_store(tmp_path), numbers(count=4))
    (part / "rows.jsonl").write_text('{"n": 7}\n')
    store, ran = counting(tmp_path)
    assert store.build(numbers(count=4)).build == first.build
    assert ran == ["numbers"]
    assert list(tmp_path.glob("numbers/*.part.damaged-*/rows.jsonl"))


@stage(StageKey("saving", RowMetrics), version=1)
def saving(ws: Workspace, *, numbers: Artifact[RowMetrics]) -> RowMetrics:
    """Saves a checkpoint, then is interrupted."""
    checkpoint = ws.folder / "checkpoints" / "checkpoint-1.jsonl"
    if not checkpoint.exists():
        write_rows(checkpoint, [{"n": numbers.metrics.rows}])
        raise RuntimeError("interrupted")
    return RowMetrics(rows=1)


def test_fault_08_work_that_is_done_is_kept_when_an_input_is_rebuilt(tmp_path: Path) -> None:
    """A partial result with checkpoints does not count any more when an input was rebuilt to other bytes, but it is
    kept beside; when the input was rebuilt to the same bytes, it is resumed."""
    for source in (changing, numbers):
        step = saving(numbers=source(count=2))
        with pytest.raises(RuntimeError, match="interrupted"):
            a_store(tmp_path).build(step)
        lost(a_store(tmp_path), step.inputs["numbers"])
    with pytest.raises(RuntimeError, match="interrupted"):
        a_store(tmp_path).build(saving(numbers=changing(count=2)))
    assert list(tmp_path.glob("saving/*.part.superseded-*/checkpoints/checkpoint-1.jsonl"))
    assert a_store(tmp_path).build(saving(numbers=numbers(count=2))).metrics == RowMetrics(rows=1)


@pytest.mark.parametrize(
    "owner",
    ["elsewhere pid 1 since 1999-01-01", f"localhost pid {os.getpid()} since 2030-01-01"],
    ids=["another host", "this host"],
)
def test_fault_09_a_lock_that_nobody_holds_is_free(tmp_path: Path, owner: str) -> None:
    """A lock file left by a dead process, by one with a reused pid, or by another host does not stop a run: the system
    frees a lock when its holder ends, and what the file says decides nothing."""
    step = numbers(count=2)
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / f".{step.fingerprint}.lock").touch()
    (tmp_path / "numbers" / f".{step.fingerprint}.owner").write_text(owner)
    assert a_store(tmp_path).build(step).metrics == RowMetrics(rows=2)


def test_fault_09_a_lock_that_is_held_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A live lock is respected: the second process waits, and a line says for whom."""
    step = numbers(count=2)
    (tmp_path / "numbers").mkdir()
    lock = FileLock(tmp_path / "numbers" / f".{step.fingerprint}.lock")
    (tmp_path / "numbers" / f".{step.fingerprint}.owner").write_text("elsewhere pid 1")
    waiting = threading.Thread(target=a_store(tmp_path).build, args=(step,))
    with caplog.at_level(logging.INFO), lock:
        waiting.start()
        while not caplog.messages:
            waiting.join(0.01)
        assert a_store(tmp_path).find(step) is None
    waiting.join()
    assert caplog.messages[0] == "numbers: being computed by elsewhere pid 1; waiting for it"
    assert a_store(tmp_path).find(step) is not None


Damage = Callable[[Path], object]
DAMAGES: dict[str, Damage] = {
    "halved": lambda rows: rows.write_bytes(rows.read_bytes()[: rows.stat().st_size // 2]),
    "edited": lambda rows: rows.write_bytes(rows.read_bytes().replace(b"3", b"9")),
    "emptied": lambda rows: rows.write_bytes(b""),
    "removed": lambda rows: rows.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_fault_13_damaged_rows_are_refused_and_only_they_are_computed_again(tmp_path: Path, damage: Damage) -> None:
    """Rows that were halved, edited, emptied or removed are noticed before they are used. The error names the file and
    the stage; after the repair the same command computes that stage again and nothing else."""
    root, runtime = tmp_path / "store", small_runtime(str(tmp_path))
    first = a_store(root).build(total(numbers=numbers(count=4)))
    rows = a_store(root).path(numbers(count=4)) / "rows.jsonl"
    damage(rows)
    with pytest.raises(InputError) as refused:
        a_store(root).build(total(numbers=numbers(count=4), scale=2.0))
    assert str(rows) in str(refused.value)
    assert "stage numbers" in str(refused.value)
    assert "reer doctor --store --repair" in str(refused.value)
    damages = [damage for group in check(runtime) for damage in group.damages]
    assert [damage.path for damage in damages] == [rows.parent]
    repair(damages[0])
    assert [damage for group in check(runtime) for damage in group.damages] == []
    store, ran = counting(root)
    assert store.build(total(numbers=numbers(count=4))).build == first.build
    assert ran == ["numbers"]
    assert list(root.glob("numbers/*.damaged-*/record.json")), "what was damaged is kept"


def test_fault_13_doctor_finds_the_damage_and_moves_it_aside(tmp_path: Path) -> None:
    """`reer doctor --store` exits with 1 and names what is damaged; with `--repair` it moves that aside and exits with
    0; after that the store is intact."""
    artifact = a_store(tmp_path / "store").build(numbers(count=4))
    (artifact.path / "rows.jsonl").write_text("{}\n")
    found = reer(tmp_path, "doctor", "--store", "scale=smoke")
    assert found.code == 1
    assert f"{artifact.path / 'rows.jsonl'}: has 3 bytes, the record of stage numbers says" in found.text
    assert "stage numbers: 1 checked" in found.text
    assert reer(tmp_path, "doctor", "--store", "--repair", "scale=smoke").code == 0
    assert reer(tmp_path, "doctor", "--store", "scale=smoke").code == 0
    assert a_store(tmp_path / "store").find(numbers(count=4)) is None
    assert reer(tmp_path, "doctor", "--repair", "scale=smoke").code == 2


def test_fault_13_edited_metrics_are_refused(tmp_path: Path) -> None:
    """A number edited in a record is never shown or read: the error names the record."""
    record = a_store(tmp_path).build(total(numbers=numbers(count=4))).path / RECORD
    record.write_text(record.read_text().replace('"total": 6.0', '"total": 9.0'))
    with pytest.raises(InputError, match="its content was changed") as refused:
        a_store(tmp_path).build(total(numbers=numbers(count=4)))
    assert str(record) in str(refused.value)


TORN = {
    "empty": b"",
    "torn": b'{"schema": 1, "stage": "num',
    "noise": b"\x00\xff",
    "list": b"[]",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", TORN.values(), ids=TORN)
def test_fault_14_a_torn_record_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    """A record that is empty, torn or no JSON object is never taken for a result: the error names the file and the way
    out, which works."""
    root, runtime = tmp_path / "store", small_runtime(str(tmp_path))
    record = a_store(root).build(numbers(count=4)).path / RECORD
    record.write_bytes(content)
    with pytest.raises(InputError, match="reer doctor --store --repair") as refused:
        a_store(root).build(numbers(count=4))
    assert str(record) in str(refused.value)
    for group in check(runtime):
        for damage in group.damages:
            repair(damage)
    assert a_store(root).build(numbers(count=4)).metrics == RowMetrics(rows=4)


@pytest.mark.parametrize("schema", [None, 0, 2, "1"])
def test_fault_14_a_record_of_another_schema_is_refused_in_words_and_left_alone(tmp_path: Path, schema: object) -> None:
    """A record of a newer or foreign schema is no damage: it is refused with its version, and no repair moves it."""
    root, runtime = tmp_path / "store", small_runtime(str(tmp_path))
    record = a_store(root).build(numbers(count=4)).path / RECORD
    record.write_text(json.dumps({**json.loads(record.read_text()), "schema": schema}))
    with pytest.raises(InputError, match=r"has schema .*, and this program reads schema 1"):
        a_store(root).build(numbers(count=4))
    (damage,) = (damage for group in check(runtime) for damage in group.damages)
    assert damage.kind == "other version"
    repair(damage)
    assert record.exists()


def builds_at_once(root: Path, *steps: Step) -> list[str]:
    """Which stages ran when these steps were built at the same time, each by a store of its own."""
    stores = [counting(root) for _ in steps]
    threads = [threading.Thread(target=s.build, args=(step,)) for (s, _), step in zip(stores, steps, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(name for _, ran in stores for name in ran)


def test_fault_17_one_stage_started_twice_runs_once(tmp_path: Path) -> None:
    """Of several that start the same stage, one computes it and the others wait for its result."""
    assert builds_at_once(tmp_path, *[changing(count=50)] * 4) == ["changing"]


def test_fault_17_different_stages_run_side_by_side(tmp_path: Path) -> None:
    """Different stages in one store do not disturb one another."""
    assert builds_at_once(tmp_path, *(numbers(count=n) for n in range(1, 5))) == ["numbers"] * 4


def test_fault_18_a_clock_that_jumps_decides_nothing(tmp_path: Path) -> None:
    """File times 1,200 days back or ahead change neither which result is found nor which build it is; two results that
    are made in the same second are distinguished by their content."""
    step = total(numbers=numbers(count=3))
    first = a_store(tmp_path).build(step)
    for number, path in enumerate(sorted(tmp_path.rglob("*"))):
        moved = path.stat().st_mtime + (-1200 if number % 2 else 1200) * 86400
        os.utime(path, (moved, moved))
    store, ran = counting(tmp_path)
    assert store.build(step).build == first.build
    assert ran == []
    assert a_store(tmp_path).build(numbers(count=4)).build != a_store(tmp_path).build(numbers(count=3)).build


@pytest.mark.parametrize("name", ["with spaces", "想 é ☃", "x" * 200])
def test_fault_21_a_root_that_is_moved_or_linked_keeps_its_results(tmp_path: Path, name: str) -> None:
    """A root with spaces, other scripts or 200 characters works; moved, copied or behind a link, it holds the same
    results."""
    step = total(numbers=numbers(count=3))
    first = a_store(tmp_path / name).build(step)
    shutil.copytree(tmp_path / name, tmp_path / "copy")
    (tmp_path / name).rename(tmp_path / "moved")
    (tmp_path / "link").symlink_to(tmp_path / "moved")
    for root in ("copy", "moved", "link"):
        store, ran = counting(tmp_path / root)
        assert store.build(step).build == first.build
        assert store.build(total(numbers=numbers(count=3), scale=2.0)).metrics.total == 2 * first.metrics.total
        assert ran in (["total"], []), "the link shows what was computed in the moved folder"


def test_fault_54_variants_that_start_together_share_their_stages(tmp_path: Path) -> None:
    """Arms that share a stage and start at the same time compute it once."""
    variants = [total(numbers=numbers(count=40), scale=float(scale)) for scale in range(1, 5)]
    assert builds_at_once(tmp_path, *variants) == ["numbers", *["total"] * 4]
