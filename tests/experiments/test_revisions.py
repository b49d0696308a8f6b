"""A branch of a data set is resolved once for a root folder, and every later plan has that commit."""

import json
from pathlib import Path

import pytest

from experiments.revisions import commit_on_hub, model_commit_on_hub, pinned
from reer.errors import InputError

SPLIT = {"split": "train"}
PLAN = {
    "source": {"repo": "a/b", "revision": "main", **SPLIT},
    "public": {"repo": None, "revision": None, **SPLIT},
    "student": {"checkpoint": {"kind": "HubModel", "repo": "a/b", "revision": "main"}},
    "seed": 0,
}


def test_a_branch_is_resolved_once_and_kept(tmp_path: Path) -> None:
    asked = []

    def lookup(repo: str, revision: str) -> str:
        asked.append((repo, revision))
        return "c" * 40

    first = pinned(PLAN, tmp_path, lookup)
    assert first["source"]["revision"] == "c" * 40
    assert {**first, "source": PLAN["source"]} == PLAN
    assert pinned(PLAN, tmp_path, lookup) == pinned(PLAN, tmp_path) == first
    assert asked == [("a/b", "main")]
    assert json.loads((tmp_path / "revisions.json").read_text()) == {"a/b@main": "c" * 40}


def test_without_a_lookup_an_unknown_branch_stays(tmp_path: Path) -> None:
    assert pinned(PLAN, tmp_path) == PLAN


def test_a_commit_is_left_as_it_is_and_the_arm_matched_to_gets_the_same(tmp_path: Path) -> None:
    matched = {**PLAN, "matched_to": PLAN}
    content = pinned(matched, tmp_path, lambda repo, revision: "d" * 40)
    assert (
        content["matched_to"]["source"]
        == content["source"]
        == {
            "repo": "a/b",
            "revision": "d" * 40,
            **SPLIT,
        }
    )
    assert pinned(content, tmp_path, lambda repo, revision: "e" * 40) == content


def test_offline_the_message_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"Run once with network access, or set source\.revision"):
        commit_on_hub("a/b", "main")


def test_the_branch_of_a_model_is_resolved_once_apart_from_a_data_set_of_the_same_name(tmp_path: Path) -> None:
    first = pinned(PLAN, tmp_path, models=lambda repo, revision: "e" * 40)
    assert first["student"]["checkpoint"]["revision"] == "e" * 40
    assert first["source"] == PLAN["source"]
    assert pinned(PLAN, tmp_path) == first
    assert json.loads((tmp_path / "revisions.json").read_text()) == {"model a/b@main": "e" * 40}


def test_the_branch_of_a_model_that_nobody_knows_stays_until_the_model_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pinned(PLAN, tmp_path, models=model_commit_on_hub) == PLAN
    assert not (tmp_path / "revisions.json").exists()
    kept = pinned(PLAN, tmp_path, models=lambda repo, revision: "e" * 40)
    assert pinned(PLAN, tmp_path, models=model_commit_on_hub) == kept
    assert not caplog.messages, "nobody knows that it moved"


def test_the_parts_of_a_source_are_pinned_too(tmp_path: Path) -> None:
    content = pinned(
        {"source": {"parts": {"a": {"source": PLAN["source"]}}}}, tmp_path, lambda repo, revision: "c" * 40
    )
    assert content == {"source": {"parts": {"a": {"source": {**PLAN["source"], "revision": "c" * 40}}}}}


def test_a_branch_that_has_moved_is_reported_and_the_kept_commit_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def first(repo: str, revision: str) -> str:
        return "c" * 40

    kept = pinned(PLAN, tmp_path, first)
    assert pinned(PLAN, tmp_path, first, today=first) == kept
    assert not caplog.messages
    assert pinned(PLAN, tmp_path, first, today=lambda repo, revision: "d" * 40) == kept
    assert f"a/b: revision 'main' has moved to commit {'d' * 40}; this folder keeps {'c' * 40}" in caplog.text
