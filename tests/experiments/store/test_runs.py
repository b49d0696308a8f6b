"""The files of runs: torn and foreign ones are named, and hide no other run."""

import shutil
from pathlib import Path

import pytest

from experiments.pipeline import pipeline
from experiments.store.records import read_document, write_document
from experiments.store.runs import (
    Confound,
    Result,
    all_results,
    beside_baseline,
    find_run,
    read_lock,
    read_plan,
    read_result,
    write_lock,
    write_result,
)
from experiments.store.verification import check, repair
from reer.errors import InputError
from tests.fakes.commands import reer
from tests.fakes.plans import compose
from tests.fakes.runtime import small_runtime

RESULT = {
    "name": "full",
    "scale": "smoke",
    "seed": 0,
    "baseline": "full",
    "caution": "",
    "identity": {},
    "steps": {},
    "tracked": None,
    "confounds": {},
}
TORN = {"empty": b"", "torn": b'{"schema": 1, "na', "list": b"[1]", "noise": b"\x00\xff", "deep": b"[" * 100_000}


def a_run(root: Path, name: str) -> Path:
    folder = root / "runs" / name / "smoke" / "s0"
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    write_document(folder / "result.json", {**RESULT, "name": name})
    write_document(folder / "lock.json", {"identity": {}, "steps": {}})
    return folder


@pytest.mark.parametrize("content", TORN.values(), ids=TORN)
def test_a_torn_file_of_a_run_is_named_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    folder = a_run(tmp_path, "full")
    readers = {"result.json": lambda path: read_result(path.parent), "lock.json": read_lock, "plan.json": read_plan}
    for name, read in readers.items():
        read(folder / name)
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match="reer doctor --store --repair") as refused:
            read(folder / name)
        assert str(folder / name) in str(refused.value)
    damages = [damage for group in check(small_runtime(str(tmp_path))) for damage in group.damages]
    assert {damage.path.name for damage in damages} == readers.keys()
    for damage in damages:
        repair(damage)
    assert read_result(folder) is None
    assert len(list(folder.glob("*.damaged-*"))) == 3


@pytest.mark.parametrize("changed", [{"surprise": 1}, {"steps": {"pairs": {"path": "x"}}}, {"steps": 3}])
def test_a_result_of_another_form_is_refused_in_words(tmp_path: Path, changed: dict[str, object]) -> None:
    path = a_run(tmp_path, "full") / "result.json"
    write_document(path, {**RESULT, **changed})
    with pytest.raises(InputError, match=str(path)):
        read_result(path.parent)


def test_an_edited_result_is_refused(tmp_path: Path) -> None:
    path = a_run(tmp_path, "full") / "result.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(InputError, match="its content was changed"):
        read_result(path.parent)


def test_one_torn_file_hides_no_other_run(tmp_path: Path) -> None:
    for name in ("one", "two", "three", "four"):
        a_run(tmp_path, name)
    (tmp_path / "runs/one/smoke/s0/result.json").write_bytes(b"")
    (tmp_path / "runs/two/smoke/s0/plan.json").write_bytes(b'{"na')
    (tmp_path / "runs/three/smoke/s0/result.json").write_text('{"schema": 2}')
    assert {result.name for result in all_results(tmp_path / "runs")} == {"two", "four"}
    status = reer(tmp_path, "status")
    assert status.code == 0
    assert all(f"{name}/smoke/s0" in status.out for name in ("one", "two", "three", "four"))
    assert "reads schema 1" in status.text


def test_a_frozen_plan_that_is_torn_cannot_be_run_again(tmp_path: Path) -> None:
    (a_run(tmp_path, "two") / "plan.json").write_bytes(b'{"na')
    done = reer(tmp_path, "rerun", "two", "--scale", "smoke")
    assert done.code == 2
    assert "plan.json: is no JSON file" in done.text


def test_the_baseline_is_finished_when_it_is_written(tmp_path: Path) -> None:
    """Else the same command would run it a second time, for the column of the baseline beside its own."""
    exp = compose("scale=smoke", f"runtime.root={tmp_path}")
    exp.folder.mkdir(parents=True)

    def count(run: Result) -> dict[str, float | None]:
        return {"rows": 4.0, "thinking words": None}

    result = write_result(exp, {}, None, count)
    assert result.confounds == {"rows": Confound(4.0, 4.0), "thinking words": Confound(None, None)}
    assert beside_baseline(exp, result, count) == result.confounds


def test_a_run_that_is_repeated_keeps_its_times_wherever_its_files_are_copied(tmp_path: Path) -> None:
    exp = compose("scale=smoke", f"runtime.root={tmp_path}")
    times = iter(["09:00", "09:01"])
    for _ in range(2):
        write_lock(exp, {}, {}, clock=lambda: next(times))
        result = write_result(exp, {}, None, lambda run: {}, clock=lambda: next(times))
        assert (result.started, result.finished) == ("09:00", "09:01")
    shutil.copytree(exp.folder, tmp_path / "copied")
    copied = read_result(tmp_path / "copied")
    assert copied is not None
    assert (copied.started, copied.finished) == (result.started, result.finished)
    write_lock(exp, pipeline(exp), {}, clock=lambda: "12:00")
    assert read_lock(exp.folder / "lock.json").started == "12:00", "other steps are another run"


def test_a_run_of_an_earlier_version_gets_no_times_by_being_repeated(tmp_path: Path) -> None:
    exp = compose("scale=smoke", f"runtime.root={tmp_path}")
    write_lock(exp, {}, {}, clock=str)
    write_result(exp, {}, None, lambda run: {}, clock=str)
    for file in ("lock.json", "result.json"):
        content = read_document(exp.folder / file)
        write_document(exp.folder / file, {k: v for k, v in content.items() if k not in ("started", "finished")})
    write_lock(exp, {}, {})
    result = write_result(exp, {}, None, lambda run: {})
    assert (result.started, result.finished) == ("", "")


def test_a_name_without_its_overrides_or_at_another_scale_leads_to_the_runs_that_exist(tmp_path: Path) -> None:
    for name in ("full+source=jsonl", "other"):
        folder = tmp_path / name / "smoke/s0"
        folder.mkdir(parents=True)
        (folder / "plan.json").write_text("{}")
    with pytest.raises(InputError, match=r"run 'full' with seed 0 does not exist; did you mean full\+source=jsonl\?"):
        find_run(tmp_path, "full")
    with pytest.raises(InputError) as raised:
        find_run(tmp_path, "other", scale="laptop", seed=1)
    assert "run 'other' with seed 1 at scale laptop does not exist; runs in" in str(raised.value)
    assert "other/smoke/s0" in str(raised.value)
