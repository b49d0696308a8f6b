"""A design says which arms a sweep over factors has; an arm has the same name and the same steps in every design."""

import pytest

from experiments.config.compose import Jobs, compose_jobs
from experiments.config.parts import experiment_from
from experiments.pipeline import pipeline
from experiments.sweeps.designs import Arm, Design
from reer.errors import InputError
from reer.parts import NAME
from tests.fakes.plans import plan

WITHOUT = {"a": {"search": "single_pass"}, "b": {"reflection": "strip"}, "c": {"trajectory": "short"}}


def design(arms: str, *factors: str) -> Design:
    return Design(arms=arms, factors=factors, without=WITHOUT)


def jobs(*overrides: str) -> Jobs:
    return compose_jobs(["scale=smoke", *overrides], multirun=False)


def fingerprints(content: dict) -> list[str]:
    return [step.fingerprint for step in pipeline(experiment_from(content)).values()]


@pytest.mark.parametrize(
    ("arms", "lacks"),
    [
        ("none", [""]),
        ("leave_one_out", ["", "a", "b", "c"]),
        ("add_one_in", ["abc", "bc", "ac", "ab"]),
        ("pairs", ["", "ab", "ac", "bc"]),
        ("factorial", ["", "a", "b", "c", "ab", "ac", "bc", "abc"]),
    ],
)
def test_each_design_has_its_arms_with_the_baseline_first(arms: str, lacks: list[str]) -> None:
    assert ["".join(arm.lacks) for arm in design(arms, "a", "b", "c").all_arms()] == lacks


def test_an_arm_takes_its_factors_out_by_overrides() -> None:
    assert design("pairs", "a", "c").all_arms()[1] == Arm(("a", "c"), ("search=single_pass", "trajectory=short"))


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (("a", "bb"), r"design\.factors: want some of a, b, c, got 'bb'"),
        (("a", "a"), "each factor once"),
        (("a",), "pairs wants at least 2"),
    ],
)
def test_factors_that_make_no_design_are_refused(factors: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        design("pairs", *factors)


def test_two_factors_may_not_vary_the_same_group() -> None:
    with pytest.raises(InputError, match="want each group in one factor that is varied, got search in two"):
        Design(arms="pairs", factors=("a", "b"), without={"a": {"search": "random"}, "b": {"search": "single_pass"}})


def test_leave_one_out_is_the_papers_ablations() -> None:
    """The same steps under names of the design, so the two share every stage."""
    made = jobs("design=leave_one_out")
    arms = ("full", "no_synthetic_data", "no_iterative_search", "no_reflection_tokens", "short_trajectories")
    named = [plan("scale=smoke", f"experiment={arm}") for arm in (*arms, "no_literature_arts")]
    assert list(map(fingerprints, made.plans)) == list(map(fingerprints, named))
    assert [content["name"] for content in made.plans] == [
        "full",
        "no_synthetic",
        "no_search",
        "no_reflection",
        "no_full_length",
        "no_literature",
    ]
    assert {content["baseline"] for content in made.plans} == {"full"}
    assert made.is_sweep


def test_the_baseline_of_add_one_in_is_the_arm_without_any_factor() -> None:
    made = jobs("design=add_one_in", "design.factors=[search,reflection]", "seed=0,1")
    assert [(content["name"], content["seed"]) for content in made.plans] == [
        ("no_search+no_reflection", 0),
        ("no_search+no_reflection", 1),
        ("no_reflection", 0),
        ("no_reflection", 1),
        ("no_search", 0),
        ("no_search", 1),
    ]
    assert {content["baseline"] for content in made.plans} == {"no_search+no_reflection"}


def test_the_baseline_is_that_of_the_same_crossing() -> None:
    made = jobs("design=leave_one_out", "design.factors=[literature]", "search.max_edits=3,4")
    assert [(content["name"], content["baseline"]) for content in made.plans] == [
        (f"{arm}+search.max_edits={edits}", f"full+search.max_edits={edits}")
        for arm in ("full", "no_literature")
        for edits in (3, 4)
    ]


def test_names_of_all_arms_fit_and_differ() -> None:
    factors = ("synthetic", "search", "reflection", "full_length", "literature")
    every = Design(arms="factorial", factors=factors, without={factor: {factor: "off"} for factor in factors})
    names = [arm.named("full", "full") for arm in every.all_arms()]
    assert len(set(names)) == 2**5
    assert all(map(NAME.fullmatch, names))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["design=leave_one_out", "search=random"], "search=random: the design varies search"),
        (["design=leave_one_out", "sweep=ablations"], "want one of them"),
        (["design=leave_one_out,pairs"], "want one design at a time"),
        (["design=leave_one_ou"], "did you mean leave_one_out"),
        (["design.factors=[serch]", "design=pairs"], "did you mean search"),
        (["design=pairs", "design.factor=[search]"], r"design\.factor: unknown key; .*did you mean factors"),
    ],
)
def test_a_design_that_cannot_be_meant_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        jobs(*overrides)
