"""`reer plan` prints the design first, then total and marginal cost, in lines that fit a terminal."""

import pytest

from experiments.config.compose import compose_jobs
from experiments.config.parts import experiment_from
from experiments.plan import make_plan
from experiments.report.plan_tables import show_plan


def shown(capfd: pytest.CaptureFixture[str], *overrides: str) -> str:
    jobs = compose_jobs(["scale=smoke", *overrides], multirun=False)
    show_plan(make_plan([experiment_from(plan) for plan in jobs.plans], jobs.arms, jobs.design.factors))
    return capfd.readouterr().out


def test_the_design_comes_first_then_total_and_marginal_cost(capfd: pytest.CaptureFixture[str]) -> None:
    text = shown(capfd, "design=leave_one_out", "design.factors=[search,literature]")
    order = [text.index(title) for title in ("design", "total cost", "marginal cost", "remaining cost by stage")]
    assert order == sorted(order)
    rows = {cells[0]: cells[1:] for line in text.split("\n") if (cells := line.split())}
    lines = text[: text.index("total cost")].split("\n")
    assert [line.split() for line in lines if line.startswith(("full", "no_"))] == [
        ["full", "+", "+"],
        ["no_search", "–", "+"],
        ["no_literature", "+", "–"],
    ]
    assert rows["arm"][:2] == ["to", "run"]
    assert max(map(len, text.split("\n"))) <= 80


def test_an_arm_that_equals_another_says_so_and_costs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    text = shown(capfd, "design=factorial", "design.factors=[synthetic,search]")
    lines = [line.split() for line in text.split("\n") if line.startswith("no_synthetic+no_search")]
    assert lines[0] == ["no_synthetic+no_search", "–", "–", "no_synthetic"]
    assert lines[-1] == ["no_synthetic+no_search", "0"], "nothing is to run, nothing to pay"


def test_one_arm_is_a_table_of_its_stages(capfd: pytest.CaptureFixture[str]) -> None:
    text = shown(capfd)
    assert "in total, empty store" in text
    assert "pairs" in text
    assert "marginal" not in text
