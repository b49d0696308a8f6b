"""A training that is stopped, interrupted or out of disk space resumes to the same weights, or states why it cannot."""

import os
import resource
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reer.errors import InputError
from reer.training.chat_format import Rendered
from reer.training.checkpoints import MARKER, commit_checkpoint, delete_checkpoints, newest_complete
from reer.training.launch import fine_tune
from reer.training.recipe import Job, Stopped, Trained
from reer.training.sft import build_trainer, read_rows
from tests.fakes.training import FULL, LORA, ONE_PROCESS, equal, job_of, train


@pytest.fixture(scope="module")
def stopped_at_5(rows: tuple[Rendered, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that was interrupted at step 5, to be copied."""
    work = tmp_path_factory.mktemp("stopped")
    with pytest.raises(KeyboardInterrupt):
        train(rows, work, stop_at=5)
    return work


@pytest.mark.parametrize(("stop_at", "resumed"), [(2, 0), (5, 3), (8, 6)])
def test_a_stop_in_the_middle_changes_no_weight(
    rows: Any, trained: Trained, tmp_path: Path, stop_at: int, resumed: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(rows, tmp_path, stop_at=stop_at)
    again = train(rows, tmp_path)
    assert again.resumed_from == resumed
    assert equal(again.folder, trained.folder)
    assert [row["step"] for row in again.curve] == list(range(1, 9))


def test_an_incomplete_checkpoint_is_ignored(rows: Any, trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(rows, tmp_path, stop_at=7)
    (tmp_path / "checkpoints" / "checkpoint-6" / MARKER).unlink()
    (tmp_path / "checkpoints" / "checkpoint-6" / "model.safetensors").write_bytes(b"torn")
    again = train(rows, tmp_path)
    assert again.resumed_from == 3
    assert equal(again.folder, trained.folder)


def test_the_last_two_checkpoints_are_kept_and_older_ones_deleted(rows: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(rows, tmp_path, replace(FULL, epochs=4), replace(ONE_PROCESS, checkpoint_steps=2), stop_at=9)
    kept = sorted(path.parent.name for path in (tmp_path / "checkpoints").glob(f"*/{MARKER}"))
    assert kept == ["checkpoint-6", "checkpoint-8"]


def test_a_deleted_folder_loses_its_markers_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint-2").mkdir()
    commit_checkpoint(tmp_path / "checkpoint-2", {})
    seen: list[Path | None] = []
    monkeypatch.setattr(
        "reer.training.checkpoints.shutil.rmtree", lambda *_, **__: seen.append(newest_complete(tmp_path))
    )
    delete_checkpoints(tmp_path)
    assert seen == [None]


def test_the_newest_complete_checkpoint_is_the_highest_marked_step(tmp_path: Path) -> None:
    assert newest_complete(tmp_path / "nowhere") is None
    for step, marked in ((9, True), (10, True), (100, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if marked:
            commit_checkpoint(tmp_path / f"checkpoint-{step}", {})
    (tmp_path / "tmp-checkpoint-200").mkdir()
    assert newest_complete(tmp_path) == tmp_path / "checkpoint-10"


def test_adapters_too_resume_to_the_same_weights(rows: Any, trained_adapters: Trained, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(rows, tmp_path / "stopped", recipe=LORA, stop_at=5)
    again = train(rows, tmp_path / "stopped", recipe=LORA)
    assert again.resumed_from == 3
    assert equal(again.folder, trained_adapters.folder)


def test_sigterm_saves_and_stops_at_the_end_of_the_step(rows: Any, trained: Trained, tmp_path: Path) -> None:
    def on_log(row: Mapping[str, float]) -> None:
        if row["step"] == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="stopped at step"):
        fine_tune(job_of(rows, tmp_path), on_log)
    assert signal.getsignal(signal.SIGTERM) == before
    again = train(rows, tmp_path)
    assert again.resumed_from in (4, 5)  # the step that was logged, or the one after it
    assert equal(again.folder, trained.folder)


def test_a_stale_stop_request_stops_nothing(rows: Any, tmp_path: Path) -> None:
    job = job_of(rows, tmp_path, replace(FULL, epochs=1))
    job.stop_request.touch()
    assert fine_tune(job, lambda _: None).steps == 4


def test_a_stop_that_comes_too_late_for_any_step_loses_nothing(rows: Any, trained: Trained, tmp_path: Path) -> None:
    def on_log(row: Mapping[str, float]) -> None:
        if row["step"] == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="after the last step"):
        fine_tune(job_of(rows, tmp_path), on_log)
    again = fine_tune(job_of(rows, tmp_path), lambda row: pytest.fail("the training had finished"))
    assert equal(tmp_path / "model", trained.folder)
    assert again.steps == 8


def test_a_loss_that_is_not_finite_ends_the_training_without_a_result(rows: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="training diverged at step"):
        train(rows, tmp_path, replace(FULL, learning_rate=1e30))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"parallelism": replace(ONE_PROCESS, micro_batch=1)}, "micro_batch: 2 -> 1"),
        ({"seed": 8}, "seed: 7 -> 8"),
        ({"recipe": replace(FULL, epochs=3)}, "train: "),
        ({"rows": 7}, "rows sha256: "),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_with_the_difference(
    rows: Any, stopped_at_5: Path, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    work = shutil.copytree(stopped_at_5, tmp_path / "work")
    other = rows[: changed.pop("rows", 8)]
    with pytest.raises(InputError, match=f"(?s)stopped at step 3 under other conditions.*{message}.*or delete"):
        train(other, work, **changed)


def test_settings_that_change_no_step_may_differ_on_resume(rows: Any, stopped_at_5: Path, tmp_path: Path) -> None:
    """The checkpoint interval changes no step."""
    work = shutil.copytree(stopped_at_5, tmp_path / "work")
    assert train(rows, work, parallelism=replace(ONE_PROCESS, checkpoint_steps=2)).resumed_from == 3


def test_a_full_disk_leaves_the_previous_checkpoint_usable(rows: Any, trained: Trained, tmp_path: Path) -> None:
    """Writing fails from step 5 on, as on a full disk, so the checkpoint of step 6 has no marker."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def on_log(row: Mapping[str, float]) -> None:
        if row["step"] == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))

    try:
        with pytest.raises(Exception, match=r"(?i)file too large|os error 27"):
            fine_tune(job_of(rows, tmp_path), on_log)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert newest_complete(tmp_path / "checkpoints") == tmp_path / "checkpoints" / "checkpoint-3"
    again = train(rows, tmp_path)
    assert again.resumed_from == 3
    assert equal(again.folder, trained.folder)


def order_of(job: Job, resume: str | None = None) -> list[int]:
    """The rows that a training reads, in order."""
    rows, _ = read_rows(Path(job.rows))
    number = {tuple(row["input_ids"]): at for at, row in enumerate(rows)}
    trainer, seen = build_trainer(job, rows), list[int]()
    collate = trainer.data_collator

    def recording(features: list[dict[str, Any]]) -> Any:
        seen.extend(number[tuple(feature["input_ids"])] for feature in features)
        return collate(features)

    trainer.data_collator = recording
    trainer.train(resume_from_checkpoint=resume)
    return seen


def test_a_resumed_epoch_reads_the_remaining_rows_in_the_same_order(rows: Any, tmp_path: Path) -> None:
    whole = order_of(job_of(rows, tmp_path / "whole"))
    assert sorted(whole) == sorted([*range(8), *range(8)])
    assert whole[:8] != whole[8:]  # each epoch has an order of its own
    checkpoint = tmp_path / "whole" / "checkpoints" / "checkpoint-3"  # the middle of the first epoch: two rows are left
    resumed = order_of(job_of(rows, tmp_path / "again"), str(checkpoint))
    assert resumed[-10:] == whole[6:]
