"""A measured number is found by its name, and what has none is open."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from experiments.contracts.measured import metrics_in, value_of
from experiments.contracts.terms import MetricPath
from experiments.metrics.probes import HeldOutMetrics
from experiments.metrics.training import MixMetrics
from experiments.store.metrics import StageMetrics
from experiments.store.step import StepName
from tests.fakes.results import generated, result, step

METRICS: dict[StepName, StageMetrics] = {
    StepName("mix"): MixMetrics(rows=9, by_source={"public": 4}, with_thinking=0, reflection_markers={}),
    StepName("generate", "writing"): generated(3),
    StepName("held_out"): HeldOutMetrics(rows=1, dropped={}, wanted=2, why="no more"),
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("mix.rows", 9),
        ("mix.with_thinking", 0),
        ("mix.by_source.public", 4),
        ("mix.by_source.synthetic", 0),
        ("generate:writing.truncated", 3),
        ("generate.truncated", None),
        ("refine.edits", None),
        ("mix.headline", None),
        ("mix.renamed", None),
        ("held_out.why", None),
    ],
)
def test_a_number_is_found_by_its_path(path: str, value: float | None) -> None:
    found = value_of(METRICS, MetricPath.parse(path))
    assert found == value
    assert found is None or isinstance(found, float)


@dataclass(frozen=True, kw_only=True)
class Unknown(StageMetrics):
    """What a stage of another version measured."""

    by_name: Mapping[str, int]

    def headline(self) -> str:
        return ""


def test_the_metrics_of_a_run_are_those_of_the_stages_that_are_known_and_asked_for(tmp_path: Path) -> None:
    made = result(tmp_path, "arm", cut=(1, 2))
    steps = {StepName("old"): step(Unknown(by_name={})), **made.steps}
    run = type(made)(**{**{name: getattr(made, name) for name in asdict(made)}, "steps": steps})
    assert list(metrics_in(run)) == list(made.steps)
    asked = metrics_in(run, {"generate", "old"})
    assert asked == {StepName("generate", f"b{n}"): generated(n + 1) for n in range(2)}
