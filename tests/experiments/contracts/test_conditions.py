"""What limits the comparison of an arm at any of its seeds limits it over the seeds, and its seeds are named."""

from experiments.contracts.check import CheckedTerm, ContractReport
from experiments.contracts.conditions import Conditions, over_seeds
from experiments.contracts.confounds import Flag
from experiments.report.formatting import controls_text, flag_text


def at_seed(rows: float, *flags: Flag, **fields: object) -> Conditions:
    values = {"label": "arm", "is_baseline": False, "changed": ("search: x -> y",), "confounds": {"rows": rows}}
    return Conditions(**{**values, "flags": flags, **fields})  # type: ignore[arg-type]


def term(measured: float, holds: bool | None) -> CheckedTerm:
    return CheckedTerm("arm", "refine.edits = 0", measured, holds)


def test_confounds_are_means_over_the_seeds_that_have_them() -> None:
    seeds = {0: at_seed(4), 1: at_seed(7), 2: at_seed(1, confounds={"rows": None})}
    assert over_seeds(seeds).confounds == {"rows": 5.5}
    assert over_seeds({0: seeds[2]}).confounds == {"rows": None}
    assert over_seeds(seeds).changed == ("search: x -> y",)


def test_a_confound_of_the_first_seed_is_flagged_although_the_last_has_none() -> None:
    small = Flag("rows", 4, 10, "match=steps")
    (flag,) = over_seeds({0: at_seed(4, small), 1: at_seed(10)}).flags
    assert flag_text(flag) == "rows 4 vs 10 (0.4 ×) at seed 0"
    (everywhere,) = over_seeds({0: at_seed(4, small), 1: at_seed(2, Flag("rows", 2, 10, "match=steps"))}).flags
    assert flag_text(everywhere) == "rows 3 vs 10 (0.3 ×)", "at all seeds, the mean without their list"


def test_a_matched_arm_takes_its_time_at_each_seed() -> None:
    flag = Flag("rows", 4, 10, "match=steps")
    conditions = over_seeds({seed: at_seed(4, flag, control_seconds=60.0) for seed in (0, 1, 2)})
    assert controls_text(conditions) == "the same arm with match=steps, about 3 min 0 s"


def test_a_contract_broken_at_one_seed_is_broken() -> None:
    reports = [ContractReport(terms=(term(value, value == 0),), stated=True) for value in (0, 3, 5)]
    pooled = over_seeds({seed: at_seed(4, contract=report) for seed, report in enumerate(reports)}).contract
    assert pooled.broken == ("refine.edits = 0 (measured: 4 at seeds 1, 2)",)
    assert over_seeds({0: at_seed(4, contract=reports[0])}).contract_word == "kept"
    unknown = ContractReport(terms=(term(0, None),), stated=True)
    (open_term,) = over_seeds({0: at_seed(4, contract=reports[0]), 1: at_seed(4, contract=unknown)}).contract.terms
    assert (open_term.holds, open_term.seeds) == (None, (1,))
    dead = ContractReport(no_op=True, leaked=("judge",))
    assert len(over_seeds({0: at_seed(4, contract=reports[0]), 1: at_seed(4, contract=dead)}).contract.broken) == 2


def test_a_model_that_is_degenerate_at_some_seeds_is_named_with_them() -> None:
    loops = at_seed(4, degenerate=("60% of answers loop",))
    assert over_seeds({0: loops, 1: at_seed(4)}).degenerate == ("60% of answers loop at seed 0",)
    assert over_seeds({0: loops, 1: loops}).degenerate == ("60% of answers loop",)
    more = at_seed(4, degenerate=("71% of answers loop",))
    assert over_seeds({2: more, 0: loops, 1: at_seed(4)}).degenerate == ("60 to 71% of answers loop at seeds 0, 2",)
