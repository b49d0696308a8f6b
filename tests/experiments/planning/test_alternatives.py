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


FP8 = ("generator.model.dtype=fp8", "runtime.placements.generator={gpus:[0,1,2,3,4,5],replicas:6}")


@pytest.mark.parametrize(
    "composed",
    [
        ("scale=paper", *FP8),
        ("scale=paper", "model@generator.model=scripted"),
        (
            "scale=single_gpu",
            "model@generator.model=server",
            "generator.model.model=m",
            "generator.model.base_url=http://h/v1",
        ),
    ],
)
def test_eight_bits_are_named_for_a_generator_that_can_have_them(composed: tuple[str, ...]) -> None:
    assert not [one for one in alternatives(Costs.of(compose(*composed))) if one.eight_bit]


def test_eight_bits_are_faster_than_all_else_that_is_named() -> None:
    found = alternatives(Costs.of(compose("scale=paper")))
    (eight_bit,) = [one for one in found if one.eight_bit]
    assert all(eight_bit.hours < one.hours for one in found if one is not eight_bit)
    assert f"engine={eight_bit.engine} generator.model.dtype=fp8, 1 GPU a replica" in alternative_text(
        eight_bit, "full"
    )


def test_nothing_is_compared_with_hours_that_lack_a_model() -> None:
    """FP8 on two devices has no rate: the rest alone would look faster than any engine that does all the work."""
    assert alternatives(Costs.of(compose("scale=paper", "generator.model.dtype=fp8"))) == []


def test_the_sentence_says_how_many_times() -> None:
    slower = Alternative(
        engine="transformers", eight_bit=False, hours=22.0, composed_hours=2.0, generators=1, scorers=1
    )
    assert alternative_text(slower, "full") == (
        "full in this process: 22 h instead of 2 h without the training, 11 times as long"
    )
