"""What no run refers to is listed, and deleted only when asked, never what is in use."""

import json
import shutil
from pathlib import Path

import pytest

from experiments.history.gc import collect, delete, survey
from experiments.store.disk import held
from experiments.store.records import again_mark, lock_of, write_document
from experiments.store.step import Step
from reer.errors import InputError
from tests.fakes.commands import finished, reer
from tests.fakes.runs import rewritten
from tests.fakes.stages import a_store, numbers, total


def a_run(root: Path, *steps: Step, name: str = "full") -> Path:
    """A run whose lock names these steps."""
    folder = root / "runs" / name / "smoke" / "s0"
    folder.mkdir(parents=True)
    write_document(folder / "lock.json", {"identity": {}, "steps": {str(s.name): s.fingerprint for s in steps}})
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A root with a used result, an unused one, a set-aside one, and two that were begun: one of a run, one of none."""
    root = tmp_path / "out"
    used, unused = numbers(count=2), numbers(count=3)
    built = a_store(root / "store")
    for step in (used, unused):
        built.build(step)
    begun = total(numbers=used)
    a_run(root, used, begun)
    folder = root / "store/numbers"
    shutil.copytree(built.path(used), folder / f"{used.fingerprint}.superseded-abc123")
    (root / "store/total" / f"{begun.fingerprint}.part").mkdir(parents=True)
    (folder / f"{numbers(count=9).fingerprint}.part").mkdir()
    again_mark(folder, used.fingerprint).with_suffix(".again.superseded-abc123").mkdir()
    return root


def test_what_no_run_refers_to_is_listed_with_kind_and_size(store: Path) -> None:
    found = {(item.path.name.split(".")[0], item.kind): item.size for item in survey(store).unused}
    assert found.keys() == {
        (numbers(count=3).fingerprint, "result"),
        (numbers(count=9).fingerprint, "part"),
        (numbers(count=2).fingerprint, "set aside"),
    }
    assert found[numbers(count=3).fingerprint, "result"] > 100


def test_nothing_is_deleted_unless_asked_and_then_only_what_was_listed(store: Path) -> None:
    before = sorted(store.rglob("*"))
    assert "nothing was deleted" in finished(store, "gc").text
    assert sorted(path for path in store.rglob("*") if path.suffix not in (".lock", ".owner")) == [
        path for path in before if path.suffix not in (".lock", ".owner")
    ]
    assert "deleted 3 of them" in finished(store, "gc", "--delete").text
    assert survey(store).unused == ()
    assert a_store(store / "store").find(numbers(count=2)) is not None
    assert list(store.glob("store/total/*.part")), "what a run goes on with is kept"
    assert not list(store.glob("store/*/*deleted*"))


def test_what_a_process_works_on_is_left_alone(store: Path) -> None:
    with held(lock_of(store / "store/numbers", numbers(count=3).fingerprint)):
        found = collect(store)
        assert [path.name for path in found.in_use] == [numbers(count=3).fingerprint]
    assert a_store(store / "store").find(numbers(count=3)) is not None


def test_what_a_run_needs_meanwhile_is_not_deleted(store: Path) -> None:
    (item,) = (item for item in survey(store).unused if item.kind == "result")
    a_run(store, numbers(count=3), name="other")
    assert not delete(item, store)
    assert item.path.exists()


def test_a_lock_that_cannot_be_read_stops_the_collection(store: Path) -> None:
    (store / "runs/full/smoke/s0/lock.json").write_text("{")
    with pytest.raises(InputError, match=r"lock\.json"):
        collect(store)


def test_results_of_a_removed_run_are_unused_but_not_those_it_shares(arms: Path) -> None:
    shutil.rmtree(arms / "runs/short_trajectories")
    found = json.loads(finished(arms, "gc", "--json").out)
    stages = {Path(item["path"]).parent.name for item in found["unused"]}
    assert {"curate", "train", ["grade", "writing"][0]} <= stages
    assert not {"pairs", "draft", "refine", "replay", "judgements"} & stages
    finished(arms, "gc", "--delete")
    finished(arms, "rerun", "full", "no_literature_arts", "no_synthetic_data", "--verify")
    assert reer(arms, "rerun", "short_trajectories").code == 2


def test_a_superseded_result_still_holds_its_stages(arms: Path) -> None:
    folder = arms / "runs/short_trajectories/smoke/s0"
    (folder / "result.json").rename(folder / "result.superseded-0123456789ab.json")
    rewritten(folder / "lock.json", lambda lock: lock.update(steps={}))
    assert survey(arms).unused == ()
