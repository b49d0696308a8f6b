"""Each of the 60 items has a test that states the expected behaviour, and the page lists them."""

from __future__ import annotations

import pytest

from tests.faults.items import FOLDER, ITEMS, fault_tests, items_table

TESTS = fault_tests()


def test_each_of_the_60_items_has_a_test() -> None:
    missing = sorted(set(ITEMS) - {test.item for test in TESTS})
    assert not missing, f"no test_fault_NN_… for the items {missing}"


def test_no_test_is_numbered_beyond_the_list() -> None:
    assert {test.item for test in TESTS} <= set(ITEMS)


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_every_test_of_an_item_states_the_expected_behaviour(test: object) -> None:
    assert getattr(test, "expected", ""), "its docstring is the expected behaviour"


def test_the_page_lists_the_items_as_they_are_tested() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert items_table() in page, "run python -m tests.faults.table items"


def test_the_page_reports_measurements_in_which_everything_survived() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    measured = page.partition("## The 60 items")[0].partition("|---")[2].split("\n")[1:]
    rows = [line.strip("| ").split(" | ") for line in measured if line.startswith("| ")]
    assert len(rows) == 4, "run python -m tests.faults.table"
    for kind, injected, survived, identical, _, lost, doubled in rows:
        assert survived == identical == injected, kind
        assert (lost, doubled) == ("0", "0"), kind
