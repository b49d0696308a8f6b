"""Mistakes between a configuration and a machine are found before any model is loaded, for any runtime."""

import json
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path

import pytest

from evals.judging.records import Judgements, Question, judgement
from experiments.config.choices import CONF
from experiments.doctor import informational, require, required, retirements
from experiments.pipeline import pipeline
from experiments.planning.costs import training_cost_of, training_set_size
from experiments.run import preflight
from experiments.store.step import StepName
from reer.errors import InputError
from reer.models.protocols import Completion, Prompt, Request, Sampling
from reer.types import Message
from tests.fakes.plans import compose as one

TRAINS = sorted(path.stem for path in (CONF / "train").glob("*.yaml"))
RUNTIMES = sorted(path.stem for path in (CONF / "runtime").glob("*.yaml"))


def failed(*overrides: str) -> list[str]:
    return [check.what for check in required(one(*overrides)) if not check.ok]


@pytest.mark.parametrize(("train", "runtime"), list(product(TRAINS, RUNTIMES)))
def test_every_training_on_every_runtime_composes_plans_and_has_an_estimate(train: str, runtime: str) -> None:
    exp = replace(one("scale=paper", f"train={train}"), runtime=one("scale=paper", f"runtime={runtime}").runtime)
    assert StepName("train") in pipeline(exp)
    cost = training_cost_of(exp)
    assert cost is not None
    assert cost.steps > 0
    assert cost.device_gib > 0
    checks = list(required(exp))
    assert all(check.advice for check in checks if not check.ok)


def test_the_default_run_passes_every_check() -> None:
    exp = one("tracking=offline")
    require(exp)
    assert failed() == []
    assert {check.what for check in required(exp)} >= {"optimizer step", "attention kernel", "disk"}
    assert {check.what for check in informational(exp)} >= {"torch", "trl", "W&B", "benchmark writing"}


@pytest.mark.parametrize(
    ("overrides", "failing"),
    [
        (["scale=paper", "runtime=gpu"], "memory of a device"),
        (["scale=paper"], "attention kernel"),
        (["scale=paper"], "GPUs"),
        (["scale=paper"], "judge of hellobench's key"),
        (["scale=paper", "runtime.parallelism.micro_batch=5"], "optimizer step"),
        (["scale=paper", "train=lora"], "sharding"),
        (["train.global_batch=3", "runtime.parallelism.micro_batch=2"], "optimizer step"),
    ],
)
def test_a_mistake_between_recipe_and_hardware_fails_a_check(
    overrides: list[str], failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert failing in failed(*overrides)
    with pytest.raises(InputError, match="wanted"):
        require(one(*overrides))


def record_of(judge: str, folder: Path) -> None:
    """A judgement of some judge, as a run leaves it."""
    request = Request(Prompt((Message("user", "?"),)), Sampling(temperature=0.5, top_p=1.0, max_tokens=9), 3)
    reply = Completion(text="{}", stopped="stop", prompt_tokens=1, tokens=1, seconds=0.1, served=judge)
    Judgements(folder).keep(
        judgement(
            Question(benchmark="b@1", item_id="i", criterion="q", judge=judge, request=request, attempt=0),
            reply,
            "read",
            0.0,
        )
    )


def test_only_the_judges_own_records_stand_in_for_its_key(tmp_path: Path) -> None:
    settings = ("judge=gpt_55", f"runtime.root={tmp_path}")
    folder = tmp_path / "store" / "judgements"
    judge = one(*settings).judge
    record_of("local/another-judge", folder)
    (folder / "torn.jsonl").write_text(f'{{"judge": "{judge.model_name}"')
    assert "judge's key" in failed(*settings)
    record_of(judge.model_name, folder)
    assert "judge's key" not in failed(*settings)


@pytest.mark.parametrize(
    ("judge", "today", "found", "fails"),
    [
        ("gpt_4o", date(2026, 10, 23), "OpenAI retired gpt-4o-2024-05-13 on 2026-10-23", True),
        ("claude_37_sonnet", date(2026, 2, 19), "Anthropic retired claude-3-7-sonnet-20250219 on 2026-02-19", True),
        ("claude_45_sonnet", date(2026, 11, 26), "on 2026-11-30, in 4 days", False),
        ("gpt_4o", date(2026, 7, 25), "on 2026-10-23, in 90 days", False),
        ("gpt_4o", date(2026, 7, 24), None, False),
    ],
)
def test_a_retired_judge_fails_a_check_and_one_that_soon_will_be_is_told(
    tmp_path: Path, judge: str, today: date, found: str | None, fails: bool
) -> None:
    exp = one(f"judge={judge}", f"runtime.root={tmp_path}")
    checks = [check for check in required(exp, lambda: today) if check.what == "judge's model"]
    assert [check.ok for check in checks] == ([] if found is None else [not fails])
    assert all(found in check.found for check in checks if found)
    if not fails:
        assert retirements(exp, lambda: today) == [f"judge's model: {check.found}" for check in checks]
        return
    with pytest.raises(InputError, match="take judge="):
        retirements(exp, lambda: today)
    record_of(exp.judges["judge"].model_name, tmp_path / "store" / "judgements")
    assert "its judgements are on record" in retirements(exp, lambda: today)[0]


@pytest.mark.parametrize("choice", ["judge=openai", "judge=anthropic", "scale=paper", "reliability=two_judges"])
def test_the_defaults_are_alive(choice: str) -> None:
    assert retirements(one(choice), lambda: date(2026, 11, 26)) == []


@pytest.mark.parametrize(("key", "ok"), [(" sk-canary\n", True), (" \n", False), ("'sk-canary'", False)])
def test_a_key_that_no_server_takes_fails_its_check(monkeypatch: pytest.MonkeyPatch, key: str, ok: bool) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    (check,) = [check for check in required(one("judge=gpt_55")) if check.what == "judge's key"]
    assert check.ok == ok
    assert "canary" not in check.found


def test_records_of_a_judge_stand_in_for_no_other_key(tmp_path: Path) -> None:
    settings = ("judge=gpt_55", "model@generator.model=server", f"runtime.root={tmp_path}")
    settings += ("generator.model.model=m", "generator.model.base_url=http://localhost:1/v1")
    settings += ("generator.model.key_variable=A_KEY",)
    record_of(one(*settings).judges["judge"].model_name, tmp_path / "store" / "judgements")
    assert "judge's key" not in failed(*settings)
    assert "generator's key" in failed(*settings)


def test_the_papers_sizes_are_the_papers_steps() -> None:
    """37,000 rows, 3 epochs, batches of 96: about 1,156 steps (paper.md §4), a few more for each epoch's last batch."""
    exp = one("scale=paper")
    cost = training_cost_of(exp)
    assert cost is not None
    assert training_set_size(exp).rows == 37_000
    assert cost.steps == 1158
    assert cost.device_gib < 80


def test_an_arm_without_a_part_trains_on_less() -> None:
    assert training_set_size(one("scale=paper", "experiment=no_synthetic_data")).rows == 17_000


def test_only_a_judges_own_records_stand_in_for_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    given = ("scale=smoke", "judge=gpt_55", f"runtime.judgements={tmp_path}")
    (tmp_path / "a.jsonl").write_text('{"judge": "another judge", "reply": "1"}\n')
    assert failed(*given) == ["judge's key"]
    with (tmp_path / "b.jsonl").open("w") as stream:
        stream.write(json.dumps({"judge": one(*given).judges["judge"].model_name, "reply": "1"}) + "\n")
    assert failed(*given) == []


def test_a_branch_of_a_data_set_passes_online_and_fails_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert failed("scale=smoke", "source=deepwriting") == ["source's revision"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert failed("scale=smoke", "source=deepwriting") == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("budget.usd=1",), "budget.usd needs the prices of judge"),
        (
            (
                "budget.usd=1",
                "judge=scripted",
                "reliability=two_judges",
                "reliability.second.usd_per_million_written=null",
            ),
            "needs the prices",
        ),
        (("judge=local_probabilities", "judge.grades=[1,2,3]"), "needs verdicts that are more than one grade"),
    ],
)
def test_a_judge_that_cannot_grade_is_refused_before_any_work(overrides: tuple[str, ...], message: str) -> None:
    server = ("judge=server", "judge.model.model=m", "judge.model.base_url=http://localhost:1/v1")
    with pytest.raises(InputError, match=message):
        preflight(one("scale=smoke", *(() if any("judge=" in o for o in overrides) else server), *overrides))
