"""The stages of data on files of ours: what was read, by source, and what stops a run."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from experiments.config.compose import compose_plans
from experiments.config.parts import experiment_from
from experiments.metrics.data import PairsMetrics
from experiments.pipeline import synthetic_rows
from experiments.stages.data import pairs
from experiments.store.store import Store
from tests.fakes.commands import reer
from tests.fakes.plans import compose

MIXED = """\
# Two files, three to one.
defaults:
  - several_schema
  - /source@parts.stories.source: jsonl
  - /source@parts.essays.source: jsonl
  - _self_
parts:
  stories: { share: 0.75, source: { path: STORIES } }
  essays: { share: 0.25, source: { path: ESSAYS }, categories: { poetry: 1.0 } }
"""


def text(subject: str, number: int) -> str:
    """A text of two segments."""
    halves = (" ".join(f"{subject}{number}word{i}" for i in part) for part in (range(15), range(15, 30)))
    return "\n\n".join(halves)


def written(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def row(subject: str, number: int, category: str = "others") -> dict[str, Any]:
    return {"query": f"Write of {subject} {number}.", "answer": text(subject, number), "category": category}


def read_pairs(root: Path, overrides: list[str], config_dir: Path | None = None) -> PairsMetrics:
    """The metrics of the stage `pairs` at smoke scale."""
    (plan,) = compose_plans(["scale=smoke", *overrides], False, config_dir)
    step = next(step for step in synthetic_rows(experiment_from(plan)) if step.name == pairs.named())
    return Store(root=root / "store", runtime=compose("scale=smoke").runtime).build(step).metrics


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A configuration folder whose source `mixed` has six stories, and two poems among four essays."""
    stories = written(tmp_path / "stories.jsonl", [row("story", number) for number in range(8)])
    kinds = ("others", "poetry", "others", "poetry")
    essays = written(tmp_path / "essays.jsonl", [row("essay", n, category) for n, category in enumerate(kinds)])
    yaml = tmp_path / "conf" / "source" / "mixed.yaml"
    yaml.parent.mkdir(parents=True)
    yaml.write_text(MIXED.replace("STORIES", str(stories)).replace("ESSAYS", str(essays)))
    return tmp_path / "conf"


def test_each_of_several_sources_gives_its_share_and_its_mix_of_categories(tmp_path: Path, mixed: Path) -> None:
    found = read_pairs(tmp_path, ["source=mixed"], mixed)
    assert found.by_source == {"stories": 6, "essays": 2}
    assert found.categories == {"others": 6, "poetry": 2}
    assert found.dropped == {"not_in_mix": 2, "share_full": 2}


def test_decomposed_text_is_composed_and_counted(tmp_path: Path) -> None:
    plain = {"query": "Schreib über Äpfel.", "answer": "é" + text("apfel", 0), "category": "others"}
    other = {name: unicodedata.normalize("NFD", value) for name, value in plain.items()}
    other["answer"] += " und mehr davon" * 20
    file = written(tmp_path / "rows.jsonl", [plain, other])
    found = read_pairs(tmp_path, ["source=jsonl", f"source.path={file}"])
    assert (found.rows, found.composed) == (2, 1)


def test_import_thinking_without_any_thinking_fails_and_does_not_invite_to_train(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", [{**row("story", n), "cot": "Plan it."} for n in range(2)])
    given = ("import-thinking", "scale=smoke", "source=jsonl", f"source.path={file}")
    done = reer(tmp_path / "out", *given)
    assert done.code == 2
    assert "no thinking that can be used (no_thinking 2)" in done.text
    assert "source.fields.thinking=" in done.text
    assert "Train on it" not in done.text
    done = reer(tmp_path / "out", *given, "source.fields.thinking=cot")
    assert (done.code, "2 rows" in done.text) == (0, True)
