"""Weights that are not all there are refused before a model is used, in words that say what is absent."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from experiments.doctor import require, required
from reer.errors import InputError
from reer.models.local.checkpoints import FolderModel, TinyModel
from reer.models.local.model import LocalModel
from reer.models.local.weights import INDEX, SINGLE, require_tensors
from reer.models.protocols import Device
from reer.training.student import load_student
from tests.fakes.plans import compose
from tests.fakes.training import FULL

ABSENT = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the two-layer model."""
    return Path(shutil.copytree(TinyModel().fetch(), tmp_path / "model"))


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / SINGLE)
    del tensors[ABSENT]
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})


def in_shards(folder: Path) -> None:
    """The same weights in two files and an index."""
    tensors = load_file(folder / SINGLE)
    (folder / SINGLE).unlink()
    names = {name: f"model-0000{1 + ('layers.1.' in name)}-of-00002.safetensors" for name in tensors}
    for file in set(names.values()):
        held = {name: tensor for name, tensor in tensors.items() if names[name] == file}
        save_file(held, folder / file, metadata={"format": "pt"})
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))


def without_a_shard(folder: Path) -> None:
    in_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def with_a_shard_that_lacks_a_tensor(folder: Path) -> None:
    in_shards(folder)
    shard = folder / "model-00002-of-00002.safetensors"
    tensors = load_file(shard)
    del tensors[ABSENT]
    save_file(tensors, shard, metadata={"format": "pt"})


def with_a_broken_index(folder: Path) -> None:
    in_shards(folder)
    (folder / INDEX).write_text("{}")


def cut_off(folder: Path) -> None:
    (folder / SINGLE).write_bytes((folder / SINGLE).read_bytes()[:-8])


def as_a_pickle(folder: Path) -> None:
    (folder / SINGLE).rename(folder / "pytorch_model.bin")


def empty(folder: Path) -> None:
    (folder / SINGLE).unlink()


def adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (without_a_shard, r"1 of the 2 files that .*index\.json names are missing: model-00002-of-00002\.safetensors"),
        (with_a_shard_that_lacks_a_tensor, rf"the weights lack {ABSENT}; loaded so, the model would have random"),
        (with_a_broken_index, r"index\.json: want an object with a weight_map"),
        (cut_off, r"model\.safetensors: damaged or cut off"),
        (as_a_pickle, r"its weights are pickles \(pytorch_model\.bin\).*want safetensors"),
        (empty, r"no weights there; want model\.safetensors, or shards"),
        (adapter, r"no config\.json; .*an adapter alone, merge it into its base model"),
    ],
)
def test_files_that_are_not_all_there_are_named_before_anything_is_loaded(
    folder: Path, damage: Callable[[Path], None], says: str
) -> None:
    damage(folder)
    for refused in (FolderModel(str(folder)).identity, FolderModel(str(folder)).fetch):
        with pytest.raises(InputError, match=says):
            refused()


def test_shards_that_are_all_there_are_a_model(folder: Path) -> None:
    in_shards(folder)
    require_tensors(FolderModel(str(folder)).fetch())


def test_an_absent_tensor_is_named_by_whoever_loads_the_model(folder: Path) -> None:
    without_a_tensor(folder)
    says = rf"the weights lack {ABSENT}"
    with pytest.raises(InputError, match=says), LocalModel(FolderModel(str(folder))).open(Device()):
        pass
    with pytest.raises(InputError, match=says):
        load_student(str(folder), FULL, "sdpa")


def test_absent_tensors_of_every_role_are_found_before_any_work(folder: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(folder, tmp_path / "whole"))
    without_a_tensor(folder)
    choices = ["model@generator.model=folder", "model@scorer_model=folder", "model@student=folder"]
    keys = ["generator.model", "scorer_model", "student"]
    paths = [f"{key}.checkpoint.path={path}" for key, path in zip(keys, (whole, folder, folder), strict=True)]
    exp = compose("scale=smoke", *choices, *paths)
    found = {check.what: check.ok for check in required(exp) if check.what.startswith("weights")}
    assert found == {"weights of generator": True, "weights of scorer, student": False}
    with pytest.raises(InputError, match=rf"weights of scorer, student: not all there.*lack {ABSENT}"):
        require(exp)
