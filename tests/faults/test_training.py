"""Faults around the training: power cuts, full disks, damaged checkpoints and models, rows that do not fit."""

import ast
import json
import logging
import os
import resource
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.statistics.paired import paired_difference
from reer.errors import InputError
from reer.models.local.checkpoints import TinyModel
from reer.models.local.tokens import load_tokenizer
from reer.training.chat_format import Rendered, render
from reer.training.checkpoints import MARKER, commit_checkpoint, newest_complete
from reer.training.launch import fine_tune
from reer.training.recipe import Trained
from tests.conftest import REPOSITORY
from tests.fakes.training import CHAT, FULL, equal, job_of, rendered, sample, train

PACKAGES = ("reer", "evals", "experiments")


@pytest.fixture(scope="module")
def rows() -> tuple[Rendered, ...]:
    return rendered()


@pytest.fixture(scope="module")
def whole(rows: tuple[Rendered, ...], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An uninterrupted training of eight steps."""
    return train(rows, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def stopped(rows: tuple[Rendered, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training stopped at step 7, with complete checkpoints of steps 3 and 6; to be copied."""
    work = tmp_path_factory.mktemp("stopped")
    with pytest.raises(KeyboardInterrupt):
        train(rows, work, stop_at=7)
    return work


def test_fault_07_the_model_is_on_the_disk_before_checkpoints_are_deleted(
    rows: tuple[Rendered, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut at any moment leaves the model or the checkpoints: every file of the model and its folder are
    synchronised first, then the result is written, then the checkpoints are deleted."""
    events: list[str] = []
    fsync, rmtree = os.fsync, shutil.rmtree

    def synced(handle: int) -> None:
        events.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    def removed(path: Path, ignore_errors: bool = False, **others: Any) -> None:
        events.append(f"removed {path}")
        rmtree(path, ignore_errors, **others)  # the end of any other temporary folder comes here, too

    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr("reer.training.checkpoints.shutil.rmtree", removed)
    work = tmp_path / "work"
    out = fine_tune(job_of(rows, work, replace(FULL, epochs=1)), lambda _: None)
    result = next(at for at, event in enumerate(events) if "trained.json" in event)
    deleted = events.index(f"removed {work / 'checkpoints'}")
    model = [str(out.folder), *map(str, out.folder.iterdir())]
    assert {"model.safetensors", "config.json"} <= {Path(path).name for path in model}
    assert max(events.index(path) for path in model) < result < deleted


def checkpoint_of(folder: Path, step: int) -> Path:
    """A committed checkpoint with the kinds of files that a trainer writes."""
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"):
        (checkpoint / name).write_bytes(b"content of " + name.encode())
    commit_checkpoint(checkpoint, {"seed": 7})
    return checkpoint


def test_fault_10_a_full_disk_leaves_the_checkpoint_before_usable(tmp_path: Path) -> None:
    """Where there is no room for a checkpoint, it is not marked complete and the one before it is used."""
    before = checkpoint_of(tmp_path, 3)
    limits, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        (tmp_path / "checkpoint-6").mkdir()
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        with pytest.raises(OSError, match="too large"):
            commit_checkpoint(tmp_path / "checkpoint-6", {"seed": 7})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert newest_complete(tmp_path) == before


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json", MARKER])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_fault_19_a_damaged_checkpoint_is_passed_over_with_a_message(
    tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A checkpoint that lost a shard, optimizer, random state, trainer state or marker, or a part of one, is not
    resumed: a message names the file and the complete checkpoint before it is used. Where none is complete, training
    starts afresh without a flag, because that is also the state after a kill before the first checkpoint."""
    before, newest = checkpoint_of(tmp_path, 3), checkpoint_of(tmp_path, 6)
    if damage == "missing":
        (newest / name).unlink()
    else:
        (newest / name).write_bytes((newest / name).read_bytes()[:-3])
    (tmp_path / "tmp-checkpoint-9").mkdir()
    with caplog.at_level(logging.WARNING):
        assert newest_complete(tmp_path) == before
    assert (name in caplog.text) == ((damage, name) != ("missing", MARKER))
    assert newest_complete(tmp_path) == before  # a second process decides the same


def test_fault_19_a_training_resumes_from_the_checkpoint_before_a_truncated_one(
    rows: tuple[Rendered, ...], whole: Trained, stopped: Path, tmp_path: Path
) -> None:
    """The weights after such a resume are those of an uninterrupted training."""
    work = shutil.copytree(stopped, tmp_path / "work")
    shard = work / "checkpoints" / "checkpoint-6" / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    again = train(rows, work)
    assert again.resumed_from == 3
    assert equal(again.folder, whole.folder)


def test_fault_20_a_resumed_training_has_the_same_weights(
    rows: tuple[Rendered, ...], whole: Trained, stopped: Path, tmp_path: Path
) -> None:
    """A training resumed in the middle of an epoch ends with identical weights on the CPU; under another batch it is
    refused with the difference."""
    again = train(rows, shutil.copytree(stopped, tmp_path / "work"))
    assert again.resumed_from == 6
    assert equal(again.folder, whole.folder)
    with pytest.raises(InputError, match="under other conditions"):
        train(rows, shutil.copytree(stopped, tmp_path / "other"), replace(FULL, global_batch=4))


def test_fault_43_an_aggregate_of_little_or_nothing_is_no_number() -> None:
    """Without a shared item, or with one, there is no interval; equal scores have a difference of zero. Nothing divides
    by zero."""
    assert paired_difference({}, {}) is None
    equal_scores = {f"i{n}": 3.0 for n in range(12)}
    difference = paired_difference(equal_scores, equal_scores)
    assert difference is not None
    assert difference.mean == 0.0


def test_fault_45_a_row_that_does_not_fit_is_an_error_or_counted() -> None:
    """Nothing is cut silently: an overlong row is an error, dropped and counted, or cut and counted, as configured."""
    tokenizer, long = load_tokenizer(TinyModel().fetch()), sample(60)
    with pytest.raises(InputError, match=r"row s60 .*scale\.train_tokens is 64"):
        render([long], tokenizer, CHAT, 64)
    dropped = render([sample(1), long], tokenizer, replace(CHAT, overlong="drop"), 200)
    assert [(drop.id, drop.reason) for drop in dropped.dropped] == [("s60", "overlong")]
    assert render([long], tokenizer, replace(CHAT, overlong="truncate"), 200).truncated_rows == 1


@pytest.mark.parametrize("token", ["<|im_end|>", "</think>", "<answer>", "<|endoftext|>"])
def test_fault_50_markers_of_the_chat_format_inside_data_are_counted(token: str) -> None:
    """A row whose text holds a marker of the format is dropped and counted; the others have exactly the markers of the
    template."""
    tokenizer = load_tokenizer(TinyModel().fetch())
    out = render([replace(sample(1), answer=f"a {token} b"), sample(2)], tokenizer, CHAT, 512)
    assert [drop.reason for drop in out.dropped] == ["control_tokens"]
    (row,) = out.rows
    assert tokenizer.decode(row.input_ids).count("<|im_end|>") == 2


def test_fault_59_damaged_weights_in_the_cache_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A flipped, truncated or missing file of a cached model is noticed when it is opened, named, and made again."""
    monkeypatch.setenv("REER_CACHE", str(tmp_path))
    folder = TinyModel(32, 1).fetch()
    weights = folder / "model.safetensors"
    good = weights.read_bytes()
    for bad in (good[:-1] + bytes([good[-1] ^ 1]), good[:-10], b""):
        weights.write_bytes(bad)
        with caplog.at_level(logging.WARNING):
            assert TinyModel(32, 1).fetch() == folder
        assert "model.safetensors does not have the content" in caplog.text
        assert weights.read_bytes() == good
        caplog.clear()


def test_fault_59_the_saved_tokenizer_does_not_depend_on_the_environment(tmp_path: Path) -> None:
    """HF_HUB_OFFLINE, which tests set, is not written into a tokenizer's configuration."""
    load_tokenizer(TinyModel().fetch()).save_pretrained(tmp_path)
    assert "local_files_only" not in json.loads((tmp_path / "tokenizer_config.json").read_bytes())


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """The calls in a syntax tree, each with the expression that is called."""
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def passed(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == name), None)


FILES = [file for package in PACKAGES for file in sorted((REPOSITORY / package).rglob("*.py"))]
LOADS = ("from_pretrained", "load_dataset", "from_config", "HFLM)")
OWN_ADAPTERS = "PeftModel.from_pretrained"  # has no such option; loads what this process has just saved
FORBIDDEN = (
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "torch.load",
    "yaml.load",
    "marshal.loads",
)
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(REPOSITORY).as_posix())
def test_fault_59_nothing_that_is_loaded_can_run_code(file: Path) -> None:
    """Every load of a model, tokenizer or data set passes trust_remote_code=False; nothing in the project evaluates
    text or unpickles."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for name, call in calls(tree):
        if name.endswith(LOADS) and name != OWN_ADAPTERS:
            assert passed(call, "trust_remote_code") == "False", f"line {call.lineno}: {name}"
        assert name not in FORBIDDEN, f"line {call.lineno}: {name}"
        assert passed(call, "shell") in (None, "False"), f"line {call.lineno}: {name}"
        assert passed(call, "allow_pickle") in (None, "False"), f"line {call.lineno}: {name}"
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & FORBIDDEN_MODULES
