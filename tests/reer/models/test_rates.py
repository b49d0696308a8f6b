"""Rates are scaled to the size of a model, and to the rows that are decoded at once."""

import pytest

from reer.errors import InputError
from reer.models.rates import closest_rate
from tests.fakes.costs import rate


def find(*rates: object, billions: float | None = 1.0, devices: int = 1) -> object:
    return closest_rate(rates, engine="vllm", precision="bfloat16", devices=devices, billions=billions)  # pyright: ignore


def test_a_model_of_twice_the_size_has_half_the_rate() -> None:
    found = find(rate(), billions=2.0)
    assert found == rate(billions=2.0, reads_per_second=500.0, writes_per_second={1: 5.0, 8: 20.0})


def test_the_closest_size_counts() -> None:
    small, large = rate(source="small"), rate(source="large", billions=30.0)
    assert find(small, large, billions=4.0).source == "small"
    assert find(small, large, billions=8.0).source == "large"


def test_what_was_measured_here_counts_for_models_of_about_its_size() -> None:
    table, measured = rate(source="table", billions=8.0), rate(source="measured", measured=True)
    assert find(table, measured, billions=2.9).source == "measured"
    assert find(table, measured, billions=3.1).source == "table", "more than three times the size"
    assert find(measured, billions=15.0).source == "measured", "nothing else is known"


def test_nothing_is_said_about_a_size_far_from_all_that_is_known() -> None:
    assert find(rate(), billions=21.0) is None


def test_another_engine_precision_or_number_of_devices_has_no_rate() -> None:
    for other in ({"engine": "sglang"}, {"precision": "fp8"}, {"devices": 2}):
        assert find(rate(**other)) is None
    assert find(rate(devices=2), devices=2) is not None


def test_a_model_of_unknown_size_has_the_rate_that_is_stated() -> None:
    assert find(rate(), billions=None) == rate()


def test_rows_between_known_numbers_are_interpolated() -> None:
    known = rate()
    assert [known.writing(rows) for rows in (1, 8, 99, None)] == [10.0, 40.0, 40.0, 40.0]
    assert 10.0 < known.writing(3) < 40.0
    assert rate(writes_per_second={4: 200.0}).writing(1) == 200.0


def test_a_rate_without_rows_is_refused() -> None:
    with pytest.raises(InputError, match="writes_per_second"):
        rate(writes_per_second={})
