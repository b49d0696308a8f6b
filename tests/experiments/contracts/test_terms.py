"""Contracts are read strictly: each statement is a comparison of one measured number."""

import pytest

from experiments.contracts.measured import check_names
from experiments.contracts.terms import Contract, MetricPath, Term, is_touched
from reer.errors import InputError


@pytest.mark.parametrize("text", ["refine.edits_accepted", "mix.by_source.synthetic", "grade:writing.judgements"])
def test_a_path_is_written_as_it_is_read(text: str) -> None:
    assert str(MetricPath.parse(text)) == text


@pytest.mark.parametrize(
    ("stated", "measured", "of_baseline", "holds"),
    [
        (0, 0, None, True),
        (0, 1, None, False),
        ("> 0", 0, None, False),
        ("<= 2.5", 2.5, None, True),
        ("< baseline", 3, 4, True),
        ("< baseline", 4, 4, False),
        ("baseline", 4, 4, True),
        ("< baseline", 3, None, None),
        ("< 3", 3, None, False),
        ("> 3", 3, None, False),
        (">= 3", 3, None, True),
        (">= 3", 2, None, False),
        ("<= 3", 4, None, False),
        (" = -1.5e2 ", -150, None, True),
        (">=BASELINE", 4, 4, True),
    ],
)
def test_a_statement_compares_a_number(
    stated: int | str, measured: float, of_baseline: float | None, holds: bool | None
) -> None:
    (term,) = Contract(arm={"mix.rows": stated}).terms()
    assert term.holds(measured, of_baseline) is holds


def test_a_statement_in_words() -> None:
    terms = Contract(arm={"curate.max_words": "< baseline"}, baseline={"curate.rows": "> 1"}).terms()
    assert list(map(str, terms)) == ["curate.max_words < the baseline's", "baseline curate.rows > 1"]
    assert isinstance(terms[0], Term)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (
            {"mix.rows": "around 3"},
            "contract.arm.mix.rows: want a number, '> 0' or '< baseline', got 'around 3'",
        ),
        ({"rows": 0}, "rows: no place of a measured number; want STAGE.FIELD, such as refine.edits_accepted"),
        ({"refin.edits": 0}, "contract.arm.refin.edits: no stage is called 'refin'; did you mean refine?"),
        (
            {"refine.edit_accepted": 0},
            "contract.arm.refine.edit_accepted: stage refine measures no 'edit_accepted'; did you mean edits_accepted?",
        ),
        ({"mix.by_source": 0}, "contract.arm.mix.by_source: want a key after it, since it is a mapping"),
        ({"mix.rows.public": 0}, "contract.arm.mix.rows.public: want no key after it, since it is one number"),
        ({"held_out.why": 0}, "contract.arm.held_out.why: is no number; stage held_out has rows, dropped, wanted"),
    ],
)
def test_a_statement_that_nothing_can_measure_is_refused(arm: dict[str, int | float | str], message: str) -> None:
    with pytest.raises(InputError) as refused:
        check_names(Contract(arm=arm))
    assert str(refused.value) == message


def test_a_number_that_may_be_missing_can_be_stated() -> None:
    check_names(Contract(arm={"perplexity.nll": "< 3", "mix.by_source.public": 3, "mix.rows": 1}))


def test_the_baselines_number_cannot_be_compared_with_itself() -> None:
    with pytest.raises(InputError) as refused:
        Contract(baseline={"curate.rows": "> baseline"})
    assert str(refused.value) == ("contract.baseline.curate.rows: want a number, as in '> 0'; it is the baseline's own")
    assert Contract(arm={"curate.rows": "> baseline"}).terms()[0].than is None


def test_a_group_holds_its_keys_and_no_group_that_begins_like_it() -> None:
    assert is_touched("search.max_edits", ["search"])
    assert is_touched("search", ["search"])
    assert not is_touched("searches.max_edits", ["search"])
    assert not is_touched("search", ["search.max_edits"])


def test_two_contracts_are_joined_and_the_first_one_decides() -> None:
    first = Contract(touches=("a", "b"), arm={"mix.rows": 1}, of=("one", "both"), expects="worse")
    second = Contract(
        touches=("b", "c"), arm={"mix.rows": 2, "train.rows": 3}, baseline={"mix.rows": "> 0"}, of=("two", "both")
    )
    assert first.joined(second) == Contract(
        touches=("a", "b", "c"),
        arm={"mix.rows": 1, "train.rows": 3},
        baseline={"mix.rows": "> 0"},
        of=("one", "both", "two"),
    )
    assert second.joined(first).arm == {"mix.rows": 2, "train.rows": 3}
    assert first.joined(Contract(expects="worse")).expects == "worse"
    assert first.joined(Contract()).touches == ("a", "b")
    assert Contract().joined(first).touches is None, "an arm that states nothing is not held to what others state"
    assert second.joined(Contract(baseline={"mix.rows": "> 5"})).baseline == {"mix.rows": "> 0"}
