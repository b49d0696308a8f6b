"""The metrics that synthesis computes from its rows."""

from pathlib import Path

import pytest

from experiments.metrics.synthesis import RefineMetrics
from experiments.pipeline import pipeline
from experiments.stages.synthesis import mean_gains, refine
from reer.types import Edit, Refinement
from tests.fakes.plans import compose
from tests.fakes.stages import a_store


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


def test_a_search_by_grades_keeps_what_is_graded_best(tmp_path: Path) -> None:
    exp = compose("scale=smoke", "scorer=judge", "scale.pairs=2")
    metrics = a_store(tmp_path).build(pipeline(exp)[refine.named()]).metrics
    assert isinstance(metrics, RefineMetrics)
    assert metrics.rows == 2
    assert metrics.score_draft is not None
    assert metrics.score_refined is not None
    assert 0 <= metrics.score_refined <= metrics.score_draft <= 4, "grades from 1 to 5"
