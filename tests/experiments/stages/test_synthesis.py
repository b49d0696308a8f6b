"""The metrics that synthesis computes from its rows."""

import pytest

from experiments.stages.synthesis import mean_gains
from reer.types import Edit, Refinement


def refinement(draft_score: float, *scores: float) -> Refinement:
    """A refinement with an edit of each segment, after which the thinking has these scores."""
    edits = (Edit(index=index, candidates=(), chosen=None, score=score) for index, score in enumerate(scores))
    return Refinement(
        pair_id="p",
        draft=("a",),
        segments=("b",),
        draft_score=draft_score,
        score=scores[-1],
        edits=tuple(edits),
        stopped="exhausted",
    )


def test_gains_are_averaged_by_segment() -> None:
    rows = [refinement(0.9, 0.5, 0.5, 0.4), refinement(0.6, 0.4)]
    assert mean_gains(rows) == pytest.approx({"0": 0.3, "1": 0.0, "2": 0.1})
    assert mean_gains([]) == {}
