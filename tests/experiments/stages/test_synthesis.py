"""The metrics that synthesis computes from its rows."""

import pytest

from experiments.stages.synthesis import mean_gains
from reer.types import Edit, Refinement


def test_gains_are_averaged_by_segment() -> None:
    edits = (Edit(0, (), 0, 0.5), Edit(1, (), None, 0.5), Edit(2, (), 1, 0.4))
    row = Refinement("p", ("a",), ("b",), 0.9, 0.4, edits, "exhausted")
    other = Refinement("q", ("a",), ("b",), 0.6, 0.4, (Edit(0, (), 0, 0.4),), "exhausted")
    assert mean_gains([row, other]) == pytest.approx({"0": 0.3, "1": 0.0, "2": 0.1})
    assert mean_gains([]) == {}
