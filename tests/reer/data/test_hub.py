"""The hub, read by its real client from a stand-in on this machine."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from reer.types import content_id
from tests.fakes.hub import FIRST, Hub, data_set

SPLIT = {"revision": FIRST, "split": "train"}
LONG = "a" * 6_000_000  # the client resumes after whole pieces of 10 MB


def parquet(*rows: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


DEEPWRITING = parquet(
    {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q1"}],
        "solution": "<think>t1</think>a1",
    },
    {"prompt": [{"role": "user", "content": "q2"}], "solution": "<think>t2</think>a2"},
)
OPENTHOUGHTS = {
    f"data/train-0000{number}-of-00002.parquet": parquet(
        {
            "system": "Mark your thought.",
            "conversations": [
                {"from": "user", "value": f"q{number}"},
                {
                    "from": "assistant",
                    "value": f"<|begin_of_thought|>t{number}<|end_of_thought|>\n"
                    f"<|begin_of_solution|>a{number}<|end_of_solution|>",
                },
            ],
        }
    )
    for number in range(2)
}
SETS = {
    "m-a-p/DeepWriting-20k": data_set({"README.md": b"# A data set", "deepwriting20k.parquet": DEEPWRITING}),
    "open-thoughts/OpenThoughts-114k": data_set(OPENTHOUGHTS),
    "a/dolly": data_set({"rows.jsonl": lines({"instruction": "q", "context": "c", "response": "a", "category": "x"})}),
    "a/broken": data_set(
        {"rows.jsonl": lines(*({"query": f"q{n}", "answer": LONG} for n in range(4)))}, broken=["rows.jsonl"]
    ),
    "a/gated": data_set({"rows.jsonl": lines({"query": "q", "answer": "a"})}, gated=True),
    "a/bad": data_set({"rows.jsonl": lines({"query": "q", "answer": "a"}, {"answer": "b"})}),
    "a/configs": data_set(
        {
            "README.md": b"---\nconfigs:\n- config_name: one\n  data_files: one.jsonl\n"
            b"- config_name: two\n  data_files:\n  - split: train\n    path: two.jsonl\n---\n",
            "one.jsonl": lines({"query": "q", "answer": "one"}),
            "two.jsonl": lines({"query": "q", "answer": "two"}),
        }
    ),
}
CASES: dict[str, dict[str, Any]] = {
    "deepwriting": {"as": "source", "repo": "m-a-p/DeepWriting-20k", **SPLIT},
    "branch": {"as": "source", "repo": "m-a-p/DeepWriting-20k", "revision": "main", "split": "train", "limit": 1},
    "first file": {"as": "public", "repo": "open-thoughts/OpenThoughts-114k", **SPLIT, "limit": 1},
    "dolly": {"as": "source", "repo": "a/dolly", **SPLIT},
    "openthoughts": {"as": "public", "repo": "open-thoughts/OpenThoughts-114k", **SPLIT},
    "broken": {"as": "source", "repo": "a/broken", **SPLIT},
    "config": {"as": "source", "repo": "a/configs", **SPLIT, "config": "two"},
    "no config": {"as": "source", "repo": "a/configs", **SPLIT, "config": "three"},
    "no split": {"as": "source", "repo": "a/dolly", "revision": FIRST, "split": "test"},
    "gated": {"as": "source", "repo": "a/gated", **SPLIT},
    "missing": {"as": "source", "repo": "a/none", **SPLIT},
    "missing branch": {"as": "source", "repo": "a/dolly", "revision": "next", "split": "train"},
    "missing commit": {"as": "source", "repo": "a/dolly", "revision": "3" * 40, "split": "train"},
    "bad row": {"as": "source", "repo": "a/bad", **SPLIT},
    "bad row skipped": {"as": "source", "repo": "a/bad", **SPLIT, "on_bad_row": "skip"},
    "absent field": {"as": "source", "repo": "a/dolly", **SPLIT, "fields": {"query": "prompt", "solution": "response"}},
}


@dataclass(frozen=True)
class Reading:
    """What the client read of each case, the bytes asked for, and what it logged."""

    found: dict[str, dict[str, Any]]
    downloads: list[tuple[str, int]]
    log: str


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    """All cases, read in one process of their own, which takes seconds to import the client."""
    with Hub(SETS).serving() as hub:
        home = tmp_path_factory.mktemp("hub")
        done = hub.run(home, "-m", "tests.fakes.hub_reader", json.dumps(list(CASES.values())))
        assert done.returncode == 0, done.stderr
        found = dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))
        yield Reading(found, hub.downloads, done.stderr)


def test_deepwriting_is_read_as_it_comes(reading: Reading) -> None:
    where = "m-a-p/DeepWriting-20k/deepwriting20k.parquet: row"
    assert reading.found["deepwriting"]["rows"] == [["q1", "t1", "a1", f"{where} 1"], ["q2", "t2", "a2", f"{where} 2"]]


def test_openthoughts_is_read_from_all_its_files(reading: Reading) -> None:
    assert reading.found["openthoughts"]["rows"] == [["q0", "t0", "a0", "user"], ["q1", "t1", "a1", "user"]]
    assert reading.found["first file"]["rows"] == [["q0", "t0", "a0", "user"]]


def test_json_lines_and_configurations_are_read(reading: Reading) -> None:
    assert reading.found["dolly"]["rows"] == [["q\n\nc", None, "a", "a/dolly/rows.jsonl:1"]]
    assert [row[2] for row in reading.found["config"]["rows"]] == ["two"]


def test_each_file_is_downloaded_once(reading: Reading) -> None:
    names = [name for name, start in reading.downloads if name.endswith((".parquet", "two.jsonl")) and not start]
    assert sorted(names) == sorted(["deepwriting20k.parquet", *OPENTHOUGHTS, "two.jsonl"])


def test_a_file_beyond_the_limit_is_not_downloaded(reading: Reading) -> None:
    names = [name for name, _ in reading.downloads]
    first, second = OPENTHOUGHTS
    assert names.index(first) < names.index("rows.jsonl") < names.index(second)


def test_a_download_that_breaks_off_resumes_where_it_stopped(reading: Reading) -> None:
    assert [row[0] for row in reading.found["broken"]["rows"]] == ["q0", "q1", "q2", "q3"]
    assert ("rows.jsonl", 10 * 2**20) in reading.downloads


def test_a_branch_is_resolved_to_its_commit(reading: Reading) -> None:
    assert [row[0] for row in reading.found["branch"]["rows"]] == ["q1"]
    assert f"'main' is commit {FIRST} today" in reading.log


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("gated", "'a/gated' is a gated dataset.*set HF_TOKEN"),
        ("missing", "data set a/none: .*doesn't exist on the Hub or cannot be accessed.*set HF_TOKEN"),
        ("missing branch", "data set a/dolly: no such revision; give a commit from"),
        ("missing commit", "data set a/dolly: Revision '3+' doesn't exist"),
        ("no split", "data set a/dolly: no split 'test'; want one of train; check source.split"),
        ("no config", "data set a/configs: .*'three' not found.*one.*two.*; check source.config"),
        ("bad row", r"a/bad/rows\.jsonl:2: no field 'query' .*the row has: answer"),
        ("absent field", r"a/dolly/rows\.jsonl:1: no field 'prompt' .*has: category, context, instruction, response"),
    ],
)
def test_what_cannot_be_read_is_said_with_what_to_do(reading: Reading, case: str, says: str) -> None:
    assert reading.found[case]["error"] == "InputError"
    assert re.search(says, reading.found[case]["says"])


def test_bad_rows_are_counted_by_file_and_line(reading: Reading) -> None:
    assert [row[0] for row in reading.found["bad row skipped"]["rows"]] == ["q"]
    assert reading.found["bad row skipped"]["dropped"] == ["a/bad/rows.jsonl:2"]


def test_a_hub_that_cannot_be_reached_ends_the_run_as_incomplete(tmp_path: Path) -> None:
    hub = Hub({}, endpoint="http://127.0.0.1:9")
    done = hub.run(tmp_path, "-m", "tests.fakes.hub_reader", json.dumps([CASES["branch"]]))
    found = json.loads(done.stdout)
    assert (found["error"], "the hub cannot be read" in found["says"]) == ("Incomplete", True)


def read_once(hub: Hub, home: Path, case: str, *, offline: bool = False) -> dict[str, Any]:
    """What a process of its own reads."""
    done = hub.run(home, "-m", "tests.fakes.hub_reader", json.dumps([CASES[case]]), offline=offline)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_was_downloaded_is_kept_for_another_process_and_read_again_without_network(tmp_path: Path) -> None:
    long = lines(*({"query": f"q{n}", "answer": LONG} for n in range(1, 5)))
    files = {"train-0.jsonl": lines({"query": "q0", "answer": "a"}), "train-1.jsonl": long}
    broken = data_set(files, broken=["train-1.jsonl"] * 20)
    with Hub({"a/broken": broken}).serving() as hub:
        first = read_once(hub, tmp_path, "broken")
        assert (first["error"], "files that are complete are kept" in first["says"]) == ("Incomplete", True)
        broken.broken.clear()
        hub.downloads.clear()
        second = read_once(hub, tmp_path, "broken")
        assert hub.downloads == [("train-1.jsonl", 10 * 2**20)]
        hub.downloads.clear()
        assert read_once(hub, tmp_path, "broken", offline=True) == second
    assert ([row[0] for row in second["rows"]], hub.downloads) == ([f"q{n}" for n in range(5)], [])


def test_a_part_with_other_bytes_is_not_used(tmp_path: Path) -> None:
    with Hub({"a/broken": data_set({"rows.jsonl": lines({"query": "q", "answer": "a"})})}).serving() as hub:
        part = tmp_path / "reer/datasets" / f"{content_id('a/broken', FIRST, 'rows.jsonl')}-rows.jsonl.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"other")
        done = hub.run(tmp_path, "-m", "tests.fakes.hub_reader", json.dumps([CASES["broken"]] * 2))
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["error"], "other bytes than the hub says" in first["says"]) == ("Incomplete", True)
    assert [row[0] for row in second["rows"]] == ["q"]
