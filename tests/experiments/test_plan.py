"""What a plan says of judging: counted on the benchmarks' real items, and never an item sent."""

from pathlib import Path

import pytest

from experiments.config import derived_name
from experiments.plan import JudgeCost, judge_costs
from reer.errors import InputError
from tests.fakes.plans import compose


def test_the_bundled_benchmark_is_counted_and_lm_eval_asks_no_judge() -> None:
    (cost,) = judge_costs(compose("benchmark=[writing,everyday]"))
    assert isinstance(cost, JudgeCost)
    assert (cost.name, cost.items, cost.calls, cost.usd) == ("writing", 14, 14, 0)
    assert cost.health_calls == 6 * 1 + 4 + 5, "null answers to one item, four repeats, five anchors"
    assert cost.read_tokens > 14 * 100
    assert cost.detectable == pytest.approx(0.8101, rel=1e-3), "two-sided t-test of 14, power 80 %"


def test_benchmark_files_that_are_not_there_are_said_to_be_missing() -> None:
    found = list(judge_costs(compose("scale=paper")))
    assert len(found) == 3
    assert all(isinstance(cost, InputError) for cost in found)


def test_writingbench_is_five_thousand_calls(shared: Path) -> None:
    folder = shared / "benchmarks" / "writingbench"
    x = compose("scale=paper", "benchmark=[writingbench]", f"benchmark.writingbench.data.folder={folder}")
    assert x.name == "full+benchmark=-writingbench", "where its files lie is no part of its name"
    (cost,) = judge_costs(x)
    assert isinstance(cost, JudgeCost)
    assert (cost.items, cost.calls) == (1000, 5000)
    assert cost.health_calls == (6 * 4 + 20) * 5 + 5
    assert cost.written_tokens == 5225 * x.estimate.verdict_tokens
    assert cost.usd == pytest.approx((cost.read_tokens * 5 + cost.written_tokens * 15) / 1e6)


def test_a_folder_stands_in_no_name() -> None:
    assert derived_name("full", ["benchmark.hellobench.data.folder=/some/where"]) == "full"
