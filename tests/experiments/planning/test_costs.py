"""Costs follow from what is composed: engine, replicas, devices, rows."""

from dataclasses import replace
from typing import cast

import pytest

from evals.benchmark import JudgedBenchmark
from experiments.experiment import Experiment
from experiments.planning.costs import Costs, Estimate, JudgeCalls, judge_calls, judge_work, template_tokens
from experiments.planning.serving import Serving, best_split, servings
from experiments.stages import data, evaluation, probes, synthesis
from reer.search.cost import calls_of
from tests.fakes.costs import rate
from tests.fakes.plans import compose

SGLANG = ("model@scorer_model=sglang", "scorer_model.base_url=http://127.0.0.1:9")
SERVED = ("model@generator.model=server", "generator.model.model=m", "generator.model.base_url=http://127.0.0.1:8")


IN_PROCESS = ("engine=transformers", "model@scorer_model=qwen3_8b_base")


def paper(*overrides: str) -> Experiment:
    """The paper's scale with every model in this process."""
    return compose("scale=paper", *IN_PROCESS, *overrides)


def refine(exp: Experiment, **changes: object) -> Estimate:
    costs = Costs.of(exp)
    roles = replace(costs.roles, **changes)  # pyright: ignore[reportArgumentType]
    return replace(costs, roles=roles).synthesis()[synthesis.refine.named()]


def test_the_composed_models_run_in_process_with_the_rows_of_the_runtime() -> None:
    roles = servings(paper())
    assert roles.generator is not None
    assert (roles.generator.engine, roles.generator.precision) == ("transformers", "bfloat16")
    assert (roles.generator.rows, roles.generator.place) == (16, "cuda:0")
    assert roles.generator.billions == pytest.approx(32.76, rel=1e-3)
    assert roles.student is not None
    assert roles.student.precision == "bfloat16"
    assert roles.judge is not None
    assert roles.judge.billed


def test_an_engine_has_the_replicas_and_devices_of_its_placement() -> None:
    roles = servings(compose("scale=paper"))
    assert roles.generator is not None
    assert (roles.generator.engine, roles.generator.replicas, roles.generator.devices) == ("vllm", 3, 2)
    assert roles.scorer is not None
    assert (roles.scorer.engine, roles.scorer.replicas, roles.scorer.devices) == ("sglang", 2, 1)
    assert roles.student is not None
    assert (roles.student.engine, roles.student.replicas) == ("vllm", 8)


def test_a_scoring_server_is_its_engine_with_its_replicas() -> None:
    roles = servings(paper(*SGLANG, "scorer_model.replicas=[http://127.0.0.1:10]"))
    assert roles.scorer is not None
    assert (roles.scorer.engine, roles.scorer.replicas, roles.scorer.rows) == ("sglang", 2, None)


def test_scripted_models_take_no_time() -> None:
    assert servings(compose("scale=smoke")).generator is None
    cost = Costs.of(compose("scale=smoke")).synthesis()[synthesis.refine.named()].cost
    assert cost is not None
    assert cost.calls > 0
    assert cost.hours == cost.device_hours == 0


def test_two_models_in_one_process_take_turns_and_a_server_works_beside_them() -> None:
    exp = paper()
    turns, beside = refine(exp).cost, refine(paper(*SGLANG)).cost
    assert turns is not None
    assert beside is not None
    assert turns.hours == pytest.approx(turns.device_hours), "one device computes at a time"
    assert beside.hours < beside.device_hours, "both compute at a time"


def test_replicas_shorten_the_clock_and_cost_the_same_device_hours() -> None:
    exp, scorer = paper(*SGLANG), servings(paper(*SGLANG)).scorer
    assert scorer is not None
    generator = replace(scorer, size=None, engine="server", billed=True)
    one, two = (refine(exp, generator=generator, scorer=replace(scorer, replicas=n)).cost for n in (1, 2))
    assert one is not None
    assert two is not None
    assert two.hours == pytest.approx(one.hours / 2)
    assert two.device_hours == pytest.approx(one.device_hours)


def test_all_devices_of_the_runtime_are_paid_for_while_a_stage_takes() -> None:
    cost = refine(paper()).cost
    assert cost is not None
    assert cost.usd == pytest.approx(cost.hours * 8 * 2.5)


def test_an_engine_that_reads_no_cache_for_scores_computes_every_prompt() -> None:
    work = replace(calls_of(1, 100.0), read=60.0)
    tokens = {
        engine: Serving(model="m", engine=engine, precision="bfloat16").tokens_read(work)
        for engine in ("transformers", "sglang", "vllm", "vllm_cached")
    }
    assert tokens == {"transformers": 60.0, "sglang": 60.0, "vllm": 100.0, "vllm_cached": 60.0}
    written = replace(work, written=1.0)
    assert Serving(model="m", engine="transformers", precision="bfloat16").tokens_read(written) == 100.0
    assert Serving(model="m", engine="vllm", precision="bfloat16").tokens_read(written) == 60.0


def test_vllm_has_one_rate_however_it_reads_prompts() -> None:
    engines = ("vllm", "vllm_cached", "vllm_completions")
    asked = [Serving(model="m", engine=engine, precision="bfloat16").rate([rate()]) for engine in engines]
    assert asked == [rate()] * 3


def test_no_more_rows_are_decoded_at_once_than_there_are_calls() -> None:
    served = Serving(model="m", engine="vllm", precision="bfloat16", replicas=4)
    assert [served.rows_for(calls_of(calls, 1.0)) for calls in (0, 4, 9, 400)] == [1, 1, 3, 100]
    assert replace(served, rows=16).rows_for(calls_of(400, 1.0)) == 16


def test_a_model_without_a_rate_is_named_with_what_to_do() -> None:
    estimate = refine(paper(*SERVED))
    assert "no rate is known for m" in estimate.missing
    assert "estimate.rates" in estimate.missing
    assert estimate.cost is not None
    assert estimate.cost.device_hours > 0, "the scorer's time is known"


def test_a_rate_may_be_stated_for_a_server() -> None:
    exp = paper(*SERVED)
    exp = replace(exp, estimate=replace(exp.estimate, rates={**exp.estimate.rates, "mine": rate(engine="server")}))
    assert not refine(exp).missing


def test_prompts_are_as_long_as_those_that_are_composed() -> None:
    reer, brief = (template_tokens(paper(f"prompts={name}")) for name in ("reer", "brief"))
    assert reer.draft == pytest.approx(570, rel=0.1), "2,600 characters with the request to reflect"
    assert brief.draft < reer.draft / 3
    without = template_tokens(paper("reflection=never"))
    assert without.draft < reer.draft


def test_categories_are_asked_for_where_the_source_has_none() -> None:
    assert data.pairs.named() in Costs.of(paper()).synthesis()
    assert data.pairs.named() not in Costs.of(compose()).synthesis()


def test_an_open_judge_takes_device_time_and_a_paid_one_money() -> None:
    grade = evaluation.grade.named("writing")
    local = Costs.of(compose("scale=single_gpu")).all()[grade].cost
    paid = Costs.of(compose("scale=single_gpu", "judge=claude_46_sonnet")).all()[grade].cost
    assert local is not None
    assert paid is not None
    assert local.device_hours > 0 == paid.device_hours
    assert paid.usd > 0


def test_a_panel_takes_what_its_members_take() -> None:
    grade, alone = evaluation.grade.named("writing"), ("claude_46_sonnet", "gpt_55", "qwen25_7b")
    costs = [Costs.of(compose("scale=single_gpu", f"judge={judge}")).all()[grade].cost for judge in (*alone, "panel")]
    *members, panel = [(cost.calls, cost.usd, cost.device_hours) for cost in costs if cost]
    assert panel == pytest.approx(tuple(map(sum, zip(*members, strict=True))))


def test_the_bundled_benchmark_is_counted() -> None:
    exp = compose("benchmark=[writing,everyday]")
    work = judge_work(exp.benchmark["writing"], exp)  # pyright: ignore[reportArgumentType]
    assert (work.items, work.grading.calls) == (14, 14)
    assert work.reliability.calls == 6 * 1 + 4 + 5, "null answers to one item, four repeats, five anchors"
    assert work.grading.read + work.grading.written > 14 * 100


def test_the_second_judges_calls_are_counted_at_its_prices() -> None:
    exp = compose("reliability=two_judges")
    work = judge_work(exp.benchmark["writing"], exp)  # pyright: ignore[reportArgumentType]
    assert work.second.calls == 14, "sixty items are wanted, fourteen exist"
    cost = Costs.of(exp).all()[probes.reliability.named("writing")].cost
    assert cost is not None
    assert cost.calls == work.reliability.calls + 14
    assert cost.usd == pytest.approx(exp.reliability.second.usd(work.second.read, work.second.written))


def test_a_benchmark_without_its_files_is_planned_with_the_size_of_the_official_ones() -> None:
    costs = Costs.of(paper()).all()
    answers = costs[evaluation.generate.named("writingbench")]
    assert answers.cost is not None
    assert answers.cost.calls == 1000
    assert "its files are not here" in answers.remark
    unknown = Costs.of(paper("estimate=two_cores", "train=full")).all()[evaluation.grade.named("writingbench")]
    assert unknown.cost is None
    assert unknown.missing.startswith("file data/writingbench/")


def test_requests_of_lm_eval_are_planned_where_they_are_bounded() -> None:
    name = evaluation.harness.named("lm_eval")
    open_ended, bounded = (
        Costs.of(paper("benchmark=[lm_eval]", f"benchmark.lm_eval.limit={limit}")).all()[name]
        for limit in ("null", "10")
    )
    assert open_ended.cost is None
    assert bounded.cost is not None
    assert bounded.cost.calls == 20, "two tasks"


def test_the_best_split_gives_each_model_what_it_needs() -> None:
    assert best_split(300.0, 100.0, 8) == (6, 2, 50.0)
    assert best_split(100.0, 100.0, 8, (2, 1)) == (2, 4, 50.0)
    assert best_split(100.0, 50.0, 1) == (1, 1, 150.0), "one device: in turn"


def test_scoring_held_out_texts_after_thinking_is_planned_where_it_is_asked_for() -> None:
    name = evaluation.held_out_scores.named()
    assert name not in Costs.of(compose("scale=laptop")).probes()
    planned = Costs.of(compose("scale=laptop", "scale.held_out_thinking_tokens=32")).probes()[name].cost
    assert planned is not None
    assert (planned.calls, planned.written) == (4 + 3 * 4, 4 * 32), "a thinking for each text, and three scores"


def test_a_benchmarks_judge_prompts_are_counted_once_for_all_arms() -> None:
    def counted(*overrides: str) -> JudgeCalls:
        return judge_calls(cast(JudgedBenchmark, compose("scale=laptop", *overrides).benchmarks["writing"]))

    assert counted("experiment=no_synthetic_data") is counted()
    assert (counted().items, counted("benchmark.writing.items_limit=7").items) == (14, 7)
