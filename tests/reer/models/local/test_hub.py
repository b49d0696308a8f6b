"""Models on the hub, read by its real client from a stand-in: what their weights lack is found before a download."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from safetensors.torch import load_file, save

from reer.models.local.checkpoints import TinyModel
from reer.models.local.weights import INDEX, SINGLE
from tests.fakes.hub import FIRST, DataSet, Hub, data_set

ABSENT = "model.layers.1.mlp.up_proj.weight"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def models() -> dict[str, DataSet]:
    """The two-layer model whole, in shards, and lacking something."""
    folder = TinyModel(hidden=32).fetch()
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "COMPLETE"}
    rest = {name: content for name, content in files.items() if name != SINGLE}
    tensors = load_file(folder / SINGLE)
    names = {name: SHARDS["layers.1." in name] for name in tensors}
    index = {INDEX: json.dumps({"metadata": {}, "weight_map": names}).encode()}

    def shard(file: str, *absent: str) -> bytes:
        held = {name: tensor for name, tensor in tensors.items() if names[name] == file and name not in absent}
        return save(held, metadata={"format": "pt"})

    first, second = ({file: shard(file)} for file in SHARDS)
    less = save({name: tensor for name, tensor in tensors.items() if name != ABSENT}, metadata={"format": "pt"})
    repositories = {
        "whole": files,
        "shards": rest | index | first | second,
        "lacks-tensor": rest | {SINGLE: less},
        "lacks-shard": rest | index | first,
        "shard-lacks-tensor": rest | index | first | {SHARDS[1]: shard(SHARDS[1], ABSENT)},
        "pickle": rest | {"pytorch_model.bin": b"x"},
    }
    return {f"a/{name}": data_set(content) for name, content in repositories.items()}


@dataclass(frozen=True)
class Asked:
    """What each repository was found to be; a model that was fetched and then looked at in the cache; and what another
    process finds without network."""

    found: dict[str, dict[str, Any]]
    fetched: dict[str, Any]
    required: dict[str, Any]
    again: list[dict[str, Any]]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with Hub(models()).serving() as hub:
        home, names = tmp_path_factory.mktemp("hub"), list(hub.sets)
        cases = [{"as": "require", "repo": name, "revision": FIRST} for name in names]
        fetch = {"as": "fetch", "repo": "a/shards", "revision": FIRST}
        done = hub.run(home, "-m", "tests.fakes.hub_reader", json.dumps([*cases, fetch, cases[1]]))
        assert done.returncode == 0, done.stderr
        *found, fetched, required = map(json.loads, done.stdout.splitlines())
        hub.downloads.clear()
        offline = [fetch, cases[0]]
        done = hub.run(home, "-m", "tests.fakes.hub_reader", json.dumps(offline), offline=True)
        assert not hub.downloads
        again = [json.loads(line) for line in done.stdout.splitlines()]
        yield Asked(dict(zip(names, found, strict=True)), fetched, required, again)


@pytest.mark.parametrize("name", ["a/whole", "a/shards"])
def test_weights_that_are_all_there_pass(asked: Asked, name: str) -> None:
    assert asked.found[name]["rows"] == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a/lacks-tensor", f"the weights lack {ABSENT}"),
        ("a/lacks-shard", "model a/lacks-shard: "),
        ("a/shard-lacks-tensor", f"the weights lack {ABSENT}"),
        ("a/pickle", "is not a safetensors repo"),
    ],
)
def test_what_weights_on_the_hub_lack_is_found_before_they_are_downloaded(asked: Asked, name: str, says: str) -> None:
    assert asked.found[name]["error"] == "InputError"
    assert says in asked.found[name]["says"]


def test_a_fetched_model_is_found_again_without_network(asked: Asked) -> None:
    fetched, never = asked.again
    assert fetched == asked.fetched
    assert asked.required["rows"] == []
    assert {*SHARDS, INDEX, "config.json"} <= set(fetched["rows"])
    assert never["error"] == "Incomplete"
