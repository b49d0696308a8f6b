"""A plan counts calls on the benchmarks' real items and sends none."""

from pathlib import Path

import pytest

from experiments.config.names import derived_name
from experiments.plan import judge_cost, make_plan
from reer.search.cost import search_cost
from tests.fakes.plans import compose as one


def test_the_bundled_benchmark_is_counted() -> None:
    exp = one("benchmark=[writing,everyday]")
    cost = judge_cost(exp.benchmark["writing"], exp)
    assert (cost.items, cost.grading.calls, cost.grading.usd) == (14, 14, 0)
    assert cost.reliability.calls == 6 * 1 + 4 + 5, "null answers to one item, four repeats, five anchors"
    assert cost.grading.tokens > 14 * 100
    items, effect = make_plan([exp]).detectable["writing"]
    assert (items, effect) == (14, pytest.approx(0.8101, rel=1e-3)), "two-sided t-test of 14, power 80 %"


def test_the_second_judges_calls_are_counted_at_its_prices() -> None:
    exp = one("reliability=two_judges")
    cost = judge_cost(exp.benchmark["writing"], exp)
    assert cost.second.calls == 14, "sixty items are wanted, fourteen exist"
    assert cost.second.usd > 0
    (arm,) = make_plan([exp]).arms
    (stage,) = [stage for stage in arm.stages if stage.name == "reliability:writing"]
    assert stage.cost == cost.reliability + cost.second


def test_a_benchmark_without_its_files_has_a_note_and_no_number() -> None:
    (arm,) = make_plan([one("scale=paper")]).arms
    missing = [stage for stage in arm.stages if stage.name.startswith("grade:")]
    assert len(missing) == 3
    assert [stage.cost for stage in missing] == [None] * 3
    assert all(stage.note.startswith("benchmark") for stage in missing)


def test_writingbench_is_five_thousand_calls(shared: Path) -> None:
    folder = shared / "benchmarks" / "writingbench"
    exp = one("scale=paper", "benchmark=[writingbench]", f"benchmark.writingbench.data.folder={folder}")
    assert exp.name == "full+benchmark=-writingbench", "the folder of its files is no part of its name"
    cost = judge_cost(exp.benchmark["writingbench"], exp)
    assert (cost.items, cost.grading.calls) == (1000, 5000)
    assert cost.reliability.calls == (6 * 4 + 20) * 5 + 5
    written = 5000 * exp.estimate.verdict_tokens
    assert cost.grading.usd == pytest.approx(((cost.grading.tokens - written) * 3 + written * 15) / 1e6)


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


def test_draft_and_search_together_are_the_cost_of_the_search() -> None:
    exp = one("scale=paper")
    costs = {stage.name: stage.cost for stage in make_plan([exp]).arms[0].stages}
    whole = search_cost(exp.search.budget(), exp.scale.pairs, exp.estimate)
    both = costs["draft"] + costs["refine"]
    assert both.device_hours == pytest.approx(whole.device_hours)
    assert both.tokens == whole.scored_tokens + whole.read_tokens + whole.written_tokens


def test_a_folder_is_no_part_of_a_name() -> None:
    assert derived_name("full", ["benchmark.hellobench.data.folder=/some/where"]) == "full"
