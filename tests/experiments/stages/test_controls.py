"""What replaces the thinking before the training: at smoke scale, on the rows of the bundled texts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from experiments.metrics.controls import ControlMetrics
from experiments.pipeline import pipeline
from experiments.stages import controls
from experiments.store.step import Step
from reer.curation.controls import Controlled, ThinkingControl, TokenCount
from reer.curation.transforms import Curated
from reer.models.local.checkpoints import TinyModel
from reer.search.methods import BestOfN
from reer.text import split_segments
from tests.fakes.curated import curated_texts
from tests.fakes.plans import compose
from tests.fakes.stages import a_store


def controlled(choice: str, rows: int = 8) -> Step[ControlMetrics]:
    exp = compose("scale=smoke", f"thinking={choice}")
    assert isinstance(exp.thinking, ThinkingControl)
    before = curated_texts(exp, pairs=12)
    return controls.control(
        curated=before,
        control=exp.thinking,
        student=TinyModel(),
        markers=exp.reflection.markers,
        rows=rows,
        seed=exp.data.seed,
    )


@pytest.mark.parametrize("choice", ["mismatched", "shuffled", "filler"])
def test_a_control_keeps_its_promise(tmp_path: Path, choice: str) -> None:
    metrics = a_store(tmp_path).build(controlled(choice)).metrics
    assert (metrics.rows, metrics.true_pairs) == (8, 0)
    assert abs(metrics.tokens_after - metrics.tokens_before) <= 0.02 * metrics.tokens_before
    if choice == "mismatched":
        assert metrics.tokens_after == metrics.tokens_before


def test_thinkings_are_exchanged_among_the_rows_that_the_mixture_takes(tmp_path: Path) -> None:
    few, many = (a_store(tmp_path).build(controlled("mismatched", rows)).rows(Curated) for rows in (4, 8))
    assert [row.pair for row in few] == [row.pair for row in many[:4]]
    assert {row.segments for row in few} == {tuple(split_segments(row.pair.solution)) for row in few}


@dataclass(frozen=True)
class Unchanged(ThinkingControl):
    """Replaces nothing."""

    def applied(self, rows: Sequence[Curated], tokens: TokenCount) -> Controlled:
        return Controlled(tuple(rows))


@dataclass(frozen=True)
class Shortened(ThinkingControl):
    """Replaces thinking by less of it."""

    def applied(self, rows: Sequence[Curated], tokens: TokenCount) -> Controlled:
        return Controlled(tuple(replace(row, segments=("short",)) for row in rows))


@pytest.mark.parametrize(
    ("broken", "message"), [(Unchanged, "a control had no effect: 8 rows, 8"), (Shortened, "changed the amount")]
)
def test_a_control_that_breaks_its_promise_stops_the_run(
    tmp_path: Path, broken: type[ThinkingControl], message: str
) -> None:
    step = controlled("shuffled")
    with pytest.raises(RuntimeError, match=message):
        a_store(tmp_path).build(replace(step, values={**step.values, "control": broken("broken", False)}))


def test_thinking_of_the_source_can_be_controlled_too() -> None:
    steps = pipeline(compose("scale=smoke", "thinking=mismatched", "thinking.from_source=true"))
    assert {"source_thinking", "control"} <= {step.stage.name for step in steps.values()}


def test_the_controls_of_the_search_have_the_budget_of_the_released_search() -> None:
    full, random, best_of_n = (compose(f"experiment={arm}").search for arm in ("full", "random_search", "best_of_n"))
    assert random.budget() == full.budget()
    assert isinstance(best_of_n, BestOfN)
    assert best_of_n.like == full
