"""The bridge between two judges: a line with errors in both, whose interval holds the truth."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evals.judging.bridge import bridge, deming, noise_ratio, without_each
from experiments.bridge import bridges
from experiments.store.step import StepName
from reer.errors import InputError
from tests.benchmarks.bridge import World, coverage
from tests.fakes.commands import finished
from tests.fakes.results import GRADE, finish, generated, graded, step


def scores(values: np.ndarray) -> dict[str, float]:
    return {f"i{n}": float(value) for n, value in enumerate(values)}


def test_the_line_of_two_judges_without_noise_is_exact() -> None:
    old = np.linspace(1, 10, 40)
    made = bridge(scores(old), scores(0.5 + 0.8 * old))
    assert (made.slope.value, made.intercept.value) == (pytest.approx(0.8), pytest.approx(0.5))
    assert made.placed(6.0).value == pytest.approx(5.3)
    assert (made.items, made.correlation) == (40, pytest.approx(1.0))


def test_noise_of_the_old_judge_does_not_flatten_the_line() -> None:
    draw = np.random.default_rng(1)
    quality = draw.normal(6, 1.5, 20_000)
    old, new = (quality + draw.normal(0, 1.0, quality.shape) for _ in range(2))
    (_,), (slope,) = deming(old[None], new[None], 1.0)
    assert slope == pytest.approx(1.0, abs=0.03)
    assert np.polyfit(old, new, 1)[0] == pytest.approx(0.69, abs=0.03), "a least-squares line is too flat"


def test_lines_without_each_item_equal_those_that_are_fitted_anew() -> None:
    draw = np.random.default_rng(2)
    x = draw.normal(5, 2, 35)
    y = x + draw.normal(0, 1, 35)
    intercepts, slopes = without_each(x, y, 0.7)
    for place in (0, 17, 34):
        (intercept,), (slope,) = deming(np.delete(x, place)[None], np.delete(y, place)[None], 0.7)
        assert (intercepts[place], slopes[place]) == (pytest.approx(intercept), pytest.approx(slope))


@pytest.mark.parametrize("published", [5.0, 7.5])
def test_a_placed_score_has_an_interval_that_holds_the_truth(published: float) -> None:
    """The bound is 93 %, less two standard errors of the simulation; all worlds: tests/benchmarks/bridge.py."""
    world = World(items=30, slope=0.8, old_noise=0.5, new_noise=0.5, published=published, whole_grades=True)
    tries = 600
    assert coverage(world, tries) >= 0.93 - 2 * math.sqrt(0.95 * 0.05 / tries)


def test_the_error_of_a_published_mean_widens_the_interval() -> None:
    draw = np.random.default_rng(3)
    old = draw.normal(6, 1.5, 60)
    made = bridge(scores(old), scores(old + draw.normal(0, 0.5, 60)))
    exact, uncertain = made.placed(7.0), made.placed(7.0, standard_error=0.5)
    assert uncertain.high - uncertain.low > 2 * (exact.high - exact.low)


def test_a_line_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="at least 30 answers that both judges scored, got 5"):
        bridge(scores(np.arange(5.0)), scores(np.arange(5.0)))
    with pytest.raises(InputError, match="do not vary together"):
        bridge(scores(np.arange(40.0)), scores(np.full(40, 3.0)))


def test_the_noise_of_both_judges_is_taken_from_their_repeats() -> None:
    assert (noise_ratio(0.5, 1.0), noise_ratio(None, 1.0), noise_ratio(0.0, 1.0)) == (4.0, 1.0, 1.0)


def test_runs_are_bridged_where_their_answers_are_the_same(tmp_path: Path) -> None:
    old = np.linspace(1, 9, 40)
    runs = [graded(tmp_path, name, scores(values)) for name, values in (("old", old), ("new", 1 + 0.9 * old))]
    answers = {StepName("generate", GRADE.label): step(generated(0))}
    before, after = (replace(run, steps={**run.steps, **answers}) for run in runs)
    (made,) = bridges(before, after)
    assert (made.measure, made.bridge.slope.value) == ("writing/quality", pytest.approx(0.9))
    for run in (before, after):
        finish(run, tmp_path)
    shown = finished(tmp_path, "bridge", "old", "new", "--published", "5")
    assert "writing/quality: 5 by the old judge is 5.5 [5.5, 5.5] by the new one" in shown.text
    assert len(list((tmp_path / "bridges").iterdir())) == 1, "kept for comparisons"
    (read,) = json.loads(finished(tmp_path, "bridge", "old", "new", "--published", "5", "--json").out)
    assert (read["measure"], read["placed"]["value"]) == ("writing/quality", pytest.approx(5.5))
