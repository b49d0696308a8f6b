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
        ({"mix.rows": "around 3"}, "contract.arm.mix.rows: want a number"),
        ({"rows": 0}, "want STAGE.FIELD"),
        ({"refin.edits": 0}, "no stage is called 'refin'; did you mean refine"),
        ({"refine.edit_accepted": 0}, "measures no 'edit_accepted'; did you mean edits_accepted"),
        ({"mix.by_source": 0}, "want a key after it"),
        ({"mix.rows.public": 0}, "want no key after it"),
        ({"held_out.why": 0}, "is no number; stage held_out has"),
    ],
)
def test_a_statement_that_nothing_can_measure_is_refused(arm: dict[str, int | float | str], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        check_names(Contract(arm=arm))


def test_the_baselines_number_cannot_be_compared_with_itself() -> None:
    with pytest.raises(InputError, match="it is the baseline's own"):
        Contract(baseline={"curate.rows": "> baseline"})


def test_a_group_holds_its_keys_and_no_group_that_begins_like_it() -> None:
    assert is_touched("search.max_edits", ["search"])
    assert is_touched("search", ["search"])
    assert not is_touched("searches.max_edits", ["search"])
    assert not is_touched("search", ["search.max_edits"])
