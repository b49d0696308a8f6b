"""A folder of the user's own adds arms, judges, models and sources, one YAML each and no Python."""

from pathlib import Path

import pytest

from experiments.config.compose import compose_plans
from experiments.config.parts import experiment_from
from experiments.experiment import Experiment
from reer.errors import InputError

FILES = {
    "experiment/one_pass_short.yaml": """\
# @package _global_
# One pass on short trajectories.
defaults:
  - override /search: single_pass
  - override /trajectory: short
name: one_pass_short
""",
    "judge/mine.yaml": "# My judge.\ndefaults: [server, _self_]\nname: mine\n"
    "model: { model: m, base_url: 'http://localhost:1/v1' }\n",
    "model/mine.yaml": "# My model.\ndefaults: [qwen3_8b, _self_]\ncheckpoint: { repo: me/mine }\n",
    "source/mine.yaml": "# My texts.\ndefaults: [jsonl, _self_]\npath: ROWS\n",
    "sweep/mine.yaml": "# @package _global_\n# My arms.\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"
    "      experiment: full,one_pass_short\n",
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text('{"query": "q", "answer": "a"}\n')
    for name, text in FILES.items():
        file = tmp_path / "my conf" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("ROWS", str(tmp_path / "rows.jsonl")))
    return tmp_path / "my conf"


def composed(own: Path, *overrides: str) -> list[Experiment]:
    return [experiment_from(plan) for plan in compose_plans(["scale=smoke", *overrides], False, own)]


def test_an_arm_a_judge_a_model_and_a_source_are_one_file_each(own: Path) -> None:
    (exp,) = composed(own, "experiment=one_pass_short", "judge=mine", "model@generator.model=mine", "source=mine")
    assert exp.trajectory.name == "short"
    assert exp.judge.name == "mine"
    assert exp.generator.model.checkpoint.repo == "me/mine"
    assert exp.source.path.endswith("rows.jsonl")
    assert "one_pass_short" in exp.name


def test_a_sweep_of_ones_own_is_found_through_the_environment(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REER_CONF", str(own))
    plans = compose_plans(["scale=smoke", "sweep=mine"], False)
    assert [plan["name"] for plan in plans] == ["full", "one_pass_short"]


def test_names_of_ones_own_are_among_the_near_names(own: Path) -> None:
    with pytest.raises(InputError, match="did you mean one_pass_short"):
        composed(own, "experiment=one_pas_short")


def test_a_typo_in_a_file_of_ones_own_is_refused(own: Path) -> None:
    with (own / "judge/mine.yaml").open("a") as stream:
        stream.write("temperatur: 0.1\n")
    with pytest.raises(InputError, match="temperature"):
        composed(own, "judge=mine")


def test_a_folder_that_is_no_group_and_a_repeated_choice_are_refused(own: Path) -> None:
    (own / "search").mkdir()
    (own / "search/iterative.yaml").write_text("defaults: [segment_schema]\n")
    with pytest.raises(InputError, match="search=iterative already exists"):
        composed(own)
    (own / "search/iterative.yaml").unlink()
    (own / "serch").mkdir()
    (own / "serch/x.yaml").write_text("a: 1\n")
    with pytest.raises(InputError, match="did you mean search"):
        composed(own)
