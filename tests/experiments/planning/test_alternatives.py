"""A plan says what other engines would take."""

import pytest

from experiments.planning.alternatives import Alternative, alternatives, serving_hours
from experiments.planning.costs import Costs
from experiments.report.plan_tables import alternative_text
from tests.fakes.plans import compose

IN_PROCESS = ("engine=transformers", "model@scorer_model=qwen3_8b_base")


def test_in_process_at_the_papers_scale_an_engine_is_many_times_faster() -> None:
    costs = Costs.of(compose("scale=paper", *IN_PROCESS))
    by_kind = {(one.in_process, one.eight_bit): one for one in alternatives(costs)}
    plain, eight_bit = by_kind[False, False], by_kind[False, True]
    assert plain.composed_hours == pytest.approx(serving_hours(costs))
    assert plain.ratio > 10
    assert eight_bit.hours < plain.hours
    assert 2 * plain.generators + plain.scorers <= 8, "a generator in bfloat16 takes two devices"
    assert (True, False) not in by_kind, "that is what is composed"


def test_where_engines_are_composed_the_plan_says_how_much_longer_this_process_takes() -> None:
    by_kind = {(one.in_process, one.eight_bit): one for one in alternatives(Costs.of(compose("scale=paper")))}
    assert by_kind[True, False].ratio > 10
    assert not by_kind[True, False].is_cheaper


def test_scores_from_vllms_cache_are_named_where_they_save_time() -> None:
    (named,) = [
        one for one in alternatives(Costs.of(compose("engine=vllm", "runtime=cpu2"))) if one.engine == "vllm_cached"
    ]
    assert named.is_cheaper


def test_models_without_other_rates_have_no_alternative() -> None:
    assert alternatives(Costs.of(compose("scale=smoke"))) == []


def test_the_sentence_says_how_many_times() -> None:
    slower = Alternative(
        engine="transformers", eight_bit=False, hours=22.0, composed_hours=2.0, generators=1, scorers=1
    )
    assert alternative_text(slower, "full") == (
        "full in this process: 22 h instead of 2 h without the training, 11 times as long"
    )
