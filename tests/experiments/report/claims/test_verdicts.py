"""Claims are decided by corrected differences; what cannot be compared is undecided, with the reason."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.statistics.paired import Difference
from experiments.report.claims.evidence import Evidence, length_bin
from experiments.report.claims.expressions import (
    AllOf,
    Claim,
    Equivalent,
    Expression,
    Greater,
    Less,
    Outcome,
    Relation,
    Uneven,
)
from experiments.report.claims.table import claims_table, reasons
from experiments.report.claims.verdicts import ClaimVerdict, ComparisonVerdict, SpreadVerdict, decided, judge_claims
from experiments.report.compare import compare
from experiments.store.runs import Result
from tests.fakes.results import RENDER, graded, varied

QUALITY = ("writing/quality",)


def judged(results: Sequence[Result], holds: Expression) -> ClaimVerdict:
    claim = Claim(name="c", says="It holds.", source="a test", holds=holds)
    (verdict,) = judge_claims([claim], Evidence(compare(results)))
    return verdict


def run(root: Path, name: str, by: float, noise: float = 0.5, rows: str = "", **changes: Any) -> Result:
    """A run that trained on rows of its own, or on these."""
    made = graded(root, name, varied(by, noise), **changes)
    (made.steps[RENDER].path / "rows.jsonl").write_text(rows or name)
    return replace(made, identity={**made.identity, "search": name})


def difference(p: float, p_equivalent: float, mean: float = -1.0) -> Difference:
    return Difference(mean=mean, items=9, p=p, p_holm=p, margin=0.5, p_equivalent_holm=p_equivalent)


@pytest.mark.parametrize(
    ("relation", "p", "p_equivalent", "mean", "outcome"),
    [
        ("less", 0.01, 0.9, -1.0, "supported"),
        ("less", 0.01, 0.9, 1.0, "contradicted"),
        ("less", 0.2, 0.9, -1.0, "undecided"),
        ("less", 0.2, 0.01, -0.1, "contradicted"),
        ("greater", 0.01, 0.9, 1.0, "supported"),
        ("equivalent", 0.2, 0.01, 0.1, "supported"),
        ("equivalent", 0.01, 0.9, 1.0, "contradicted"),
        ("equivalent", 0.2, 0.9, 1.0, "undecided"),
    ],
)
def test_a_corrected_difference_decides(
    relation: Relation, p: float, p_equivalent: float, mean: float, outcome: Outcome
) -> None:
    assert decided(relation, difference(p, p_equivalent, mean)) == outcome


def test_a_difference_between_two_ablations_is_tested_too(tmp_path: Path) -> None:
    runs = [run(tmp_path, "full", 0, 0), run(tmp_path, "a", -1), run(tmp_path, "b", -0.5, 0.2)]
    verdict = judged(runs, AllOf(of=(Less(arm="a", measures=QUALITY), Less(arm="a", than="b", measures=QUALITY))))
    assert verdict.outcome == "supported"
    assert judged(runs, Greater(arm="a", measures=QUALITY)).outcome == "contradicted"
    assert judged(runs, Equivalent(arm="a", measures=QUALITY)).outcome == "contradicted"


def test_more_comparisons_make_wider_intervals_and_larger_p(tmp_path: Path) -> None:
    runs = [run(tmp_path, "full", 0, 0), run(tmp_path, "a", -0.1, 0.6), run(tmp_path, "b", 0.2, 0.4)]
    one = judged(runs, Less(arm="a", measures=QUALITY)).parts[0]
    two = judged(runs, AllOf(of=(Less(arm="a", measures=QUALITY), Less(arm="b", measures=QUALITY)))).parts[0]
    assert isinstance(one, ComparisonVerdict)
    assert isinstance(two, ComparisonVerdict)
    assert (two.low or 0) < (one.low or 0) < 0
    assert (two.p or 0) >= (one.p or 0) > 0


def test_a_comparison_that_two_parts_of_a_claim_share_is_one_test(tmp_path: Path) -> None:
    runs = [run(tmp_path, "full", 0, 0), run(tmp_path, "a", -0.1, 0.6)]
    both = AllOf(of=(Less(arm="a", measures=QUALITY), Equivalent(arm="a", measures=QUALITY)))
    (alone,) = judged(runs, Less(arm="a", measures=QUALITY)).parts
    first, second = judged(runs, both).parts
    assert first == alone
    assert second.p == alone.p


def test_an_undecided_comparison_says_how_many_items_would_decide_it(tmp_path: Path) -> None:
    verdict = judged([run(tmp_path, "full", 0, 0), run(tmp_path, "a", -0.1, 0.9)], Less(arm="a", measures=QUALITY))
    (part,) = verdict.parts
    assert isinstance(part, ComparisonVerdict)
    assert verdict.outcome == "undecided"
    assert part.needed is not None
    assert (part.needed.difference, part.needed.seeds) == (0.225, None)
    assert part.needed.items > part.items


def test_an_arm_that_was_not_run_and_one_that_is_not_comparable_leave_a_claim_open(tmp_path: Path) -> None:
    runs = [run(tmp_path, "full", 0, 0, rows="same"), run(tmp_path, "dead", -1, rows="same")]
    assert judged(runs, Less(arm="missing", measures=QUALITY)).why == ("missing has no current result",)
    dead = judged(runs, Less(arm="dead", measures=QUALITY))
    assert dead.outcome == "undecided"
    assert dead.why[0].startswith("dead is not comparable: trained on the tokens of the baseline")


def test_a_claim_about_measures_that_nobody_took_says_so(tmp_path: Path) -> None:
    runs = [run(tmp_path, "full", 0, 0), run(tmp_path, "a", -1)]
    verdict = judged(runs, Less(arm="a", measures=("elsewhere/*",)))
    assert (verdict.outcome, list(reasons(verdict))) == ("undecided", ["no run here took any of its measures"])


def test_seeds_are_used_where_both_arms_have_them(tmp_path: Path) -> None:
    arms = (("full", 0.0, 0.0), ("a", -1.0, 0.3))
    runs = [run(tmp_path, name, by + 0.1 * seed, noise, seed=seed) for name, by, noise in arms for seed in range(3)]
    verdict = judged(runs, Less(arm="a", measures=QUALITY))
    assert verdict.outcome == "supported"


def test_an_arm_is_found_by_the_choices_that_make_it(tmp_path: Path) -> None:
    arm = run(tmp_path, "no_search", -1)
    folder = tmp_path / "runs/no_search/smoke/s0"
    folder.mkdir(parents=True)
    plan = {"contract": {"touches": ["search"], "of": ["no_iterative_search"]}}
    (folder / "plan.json").write_text(json.dumps(plan))
    runs = [run(tmp_path, "full", 0, 0), replace(arm, folder=folder)]
    assert judged(runs, Less(arm="no_iterative_search", measures=QUALITY)).outcome == "supported"


def test_unevenness_between_measures_is_of_shares_of_their_ranges(tmp_path: Path) -> None:
    runs = [run(tmp_path, "full", 0, 0), run(tmp_path, "a", -1)]
    (part,) = judged(runs, Uneven(arm="a", by="measure", measures=QUALITY)).parts
    assert isinstance(part, SpreadVerdict)
    assert (part.outcome, part.why) == ("undecided", "no two groups by measure with 2 items each that both arms have")


@pytest.mark.parametrize(
    ("words", "name"),
    [(100, "< 500 words"), (500, "500 to 1999 words"), (3999, "2000 to 3999 words"), (4000, ">= 4000 words")],
)
def test_lengths_are_binned_as_longbench_write_does(words: int, name: str) -> None:
    assert length_bin(words) == name


def test_the_table_fits_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run(tmp_path, "full", 0, 0), run(tmp_path, "a", -0.1, 0.9)]
    claims_table("smoke", [judged(runs, Less(arm="a", measures=QUALITY))])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "0 of 1 claims supported, 0 contradicted, 1 undecided" in text
    assert "a < full in writing/quality: undecided" in text
    assert "wants" in text
