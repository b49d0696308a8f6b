"""A judge for each benchmark: who grades what, and what of it identifies a result."""

from dataclasses import replace
from pathlib import Path

import pytest

from evals.benchmark import JudgedBenchmark
from evals.judging.judge import Judge
from evals.judging.panel import JudgePanel
from evals.judging.per_benchmark import JudgePerBenchmark, default_judge, judge_of
from experiments.pipeline import pipeline
from experiments.report.published import judge_settings
from experiments.store.runs import identity_of
from experiments.store.step import StepName
from experiments.sweeps.checks import preflight
from reer.errors import InputError
from reer.models.local.model import LocalModel
from reer.models.protocols import Sampling
from tests.fakes.commands import finished
from tests.fakes.plans import compose

ALL = "benchmark=[writing,writingbench,hellobench,hellobench_length]"


def test_the_judges_of_the_paper_grade_the_benchmarks_of_the_paper() -> None:
    exp = compose("scale=smoke", ALL, "judge=paper")
    names = {role: judge.name for role, judge in exp.judges.items()}
    assert names == {
        "judge of writing": "claude-sonnet-4-6",
        "judge of writingbench": "claude-sonnet-4-6",
        "judge of hellobench": "gpt-5.5",
    }
    record = compose("scale=smoke", ALL, "judge=paper_record")
    assert (judge_of(record.judge, "hellobench").name, judge_of(record.judge, "writingbench").name) == (
        "gpt-4o-2024-05-13",
        "claude-3-7-sonnet-20250219",
    )


def test_the_open_judges_are_weights_that_an_engine_serves() -> None:
    exp = compose("scale=smoke", ALL, "judge=open", "engine=vllm")
    models = {role: judge.model for role, judge in exp.judges.items()}
    assert models["judge of writingbench"].name.startswith("AQuarterMile/WritingBench-Critic-Model-Qwen-7B@")
    assert models["judge of writing"].name.startswith(
        "Qwen/Qwen2.5-7B-Instruct@a09a35458c702b33eeacc393d103063234e8bc28"
    )
    assert all(isinstance(model, LocalModel) and model.engine == "vllm" for model in models.values())


def test_the_critic_of_writingbench_asks_and_samples_as_its_script_and_grades_nothing_else() -> None:
    exp = compose("scale=smoke", ALL, "judge=writingbench_critic")
    critic, (writing, writingbench, *_) = exp.judge, exp.benchmarks.values()
    assert isinstance(critic, Judge)
    assert isinstance(writing, JudgedBenchmark)
    assert isinstance(writingbench, JudgedBenchmark)
    assert critic.sampling(writingbench) == Sampling(temperature=1.0, top_p=0.95, max_tokens=2048)
    critic.require_meant_for(writingbench)
    with pytest.raises(InputError, match=r"trained to grade writingbench alone, got writing; .* such as judge=open$"):
        critic.require_meant_for(writing)
    with pytest.raises(InputError, match="trained to grade writingbench alone"):
        preflight(compose("scale=smoke", "judge=writingbench_critic"))


def test_a_critic_is_planned_without_the_files_that_it_would_be_asked_from(tmp_path: Path) -> None:
    without = ["scale=smoke", "benchmark=[writingbench]", "judge=writingbench_critic"]
    exp = compose(*without, f"benchmark.writingbench.data.folder={tmp_path}")
    assert StepName("grade", "writingbench") in pipeline(exp)
    with pytest.raises(InputError, match=r"benchmark_all\.jsonl is missing; run `reer fetch writingbench`"):
        preflight(exp)


def test_the_judge_of_one_benchmark_identifies_its_own_grades_only() -> None:
    before, after = (
        pipeline(compose("scale=smoke", ALL, "judge=paper", *more))
        for more in ((), ("judge.by_benchmark.hellobench.attempts=2",))
    )
    changed = {str(name) for name in before if before[name].fingerprint != after[name].fingerprint}
    assert {"grade:hellobench", "grade:hellobench_length"} <= changed
    assert not any(name.endswith((":writing", ":writingbench")) for name in changed)
    alone = pipeline(compose("scale=smoke", ALL, "judge=claude_46_sonnet"))
    grade = StepName("grade", "writing")
    assert alone[grade].fingerprint == before[grade].fingerprint, "the same judge alone gives the same grades"


def test_a_panel_may_grade_one_benchmark_or_every_other() -> None:
    panels = ["judge@judge.default=panel", "+judge@judge.by_benchmark.writingbench=panel"]
    exp = compose("scale=smoke", "benchmark=[writing,writingbench,hellobench]", "judge=paper", *panels)
    assert list(exp.judges) == [
        *(f"judge {member} of {name}" for name in ("writing", "writingbench") for member in ("claude", "gpt", "qwen")),
        "judge of hellobench",
    ]
    panel = judge_of(exp.judge, "writing")
    assert isinstance(panel, JudgePanel)
    assert judge_of(exp.judge, "writingbench") == panel
    assert (default_judge(exp.judge).name, judge_settings(identity_of(exp), "writing")["name"]) == (
        "claude-sonnet-4-6",
        "panel",
    )
    grade = StepName("grade", "writing")
    bound, alone = (pipeline(replace(exp, judge=judge))[grade] for judge in (exp.judge, panel))
    assert bound.fingerprint == alone.fingerprint, "the same panel alone gives the same grades"


def test_a_benchmark_that_does_not_exist_is_refused_with_the_nearest() -> None:
    judge = compose("scale=smoke").judge
    assert isinstance(judge, Judge)
    with pytest.raises(InputError, match="did you mean hellobench"):
        JudgePerBenchmark(name="x", default=judge, by_benchmark={"helobench": judge})


def test_the_judge_of_a_number_is_that_of_its_benchmark() -> None:
    identity = identity_of(compose("scale=smoke", ALL, "judge=paper"))
    assert judge_settings(identity, "hellobench")["name"] == "gpt-5.5"
    assert judge_settings(identity, "writing")["name"] == "claude-sonnet-4-6"
    alone = identity_of(compose("scale=smoke"))
    assert judge_settings(alone, "hellobench")["name"] == "scripted"


def test_a_plan_names_each_judge(tmp_path: Path) -> None:
    shown = finished(tmp_path, "plan", "scale=smoke", "judge=paper").text
    assert "judge of writing: claude-sonnet-4-6" in shown
