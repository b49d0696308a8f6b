"""A plan counts calls on the benchmarks' real items and sends none."""

from pathlib import Path

import pytest

from experiments.config.names import derived_name
from experiments.plan import make_plan
from experiments.planning.costs import judge_work
from tests.fakes.commands import reer
from tests.fakes.plans import compose as one


def test_writingbench_is_five_thousand_calls(shared: Path) -> None:
    folder = shared / "benchmarks" / "writingbench"
    exp = one("scale=paper", "benchmark=[writingbench]", f"benchmark.writingbench.data.folder={folder}")
    assert exp.name == "full+benchmark=-writingbench", "the folder of its files is no part of its name"
    work = judge_work(exp.benchmark["writingbench"], exp)
    assert (work.items, work.grading.calls) == (1000, 5000)
    assert work.reliability.calls == (6 * 4 + 20) * 5 + 5
    assert work.grading.written == 5000 * exp.estimate.verdict_tokens


def test_arms_share_stages_and_only_the_first_pays_for_them() -> None:
    plan = make_plan([one("scale=smoke"), one("scale=smoke", "experiment=no_iterative_search")])
    full, other = plan.arms
    assert all(stage.is_own_work for stage in full.stages)
    shared = {stage.name for stage in other.stages if stage.shared_with == "full"}
    assert {"pairs", "draft", "public"} <= shared
    assert not shared & {"refine", "train"}
    draft = next(stage.cost for stage in other.stages if stage.name == "draft")
    assert other.remaining() != other.from_scratch()
    assert other.from_scratch().calls - other.remaining().calls == draft.calls
    assert plan.total() == plan.remaining(), "nothing is cached"
    assert plan.total().calls == full.from_scratch().calls + other.remaining().calls


def test_a_plan_names_the_rate_of_every_model_with_its_source() -> None:
    rates = make_plan([one("scale=paper")]).rates
    assert set(rates) == {"Qwen/Qwen2.5-32B-Instruct", "Qwen/Qwen3-8B-Base", "the student"}
    assert all(used.rate.source for used in rates.values())


def test_a_folder_is_no_part_of_a_name() -> None:
    assert derived_name("full", ["benchmark.hellobench.data.folder=/some/where"]) == "full"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_retired_judge_is_refused_in_every_form_of_a_plan(tmp_path: Path, form: list[str]) -> None:
    done = reer(tmp_path, "plan", "scale=smoke", "judge=gpt_4o", *form)
    assert (done.code, done.out) == (2, "")
    assert "OpenAI retired gpt-4o-2024-05-13 on 2026-10-23" in done.text
    assert "take judge=gpt_55 instead" in done.text
