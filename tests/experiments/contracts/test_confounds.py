"""Confounds have bounds, and the control that would settle one is named."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.contracts.confounds import CATEGORY_MIX, Flag, flags, total_variation
from experiments.metrics.training import MixMetrics, TrainMetrics
from experiments.store.runs import Result
from experiments.store.step import StepName
from tests.fakes.results import result, step


def trained(root: Path, name: str, tokens: int, categories: dict[str, int] | None = None, steps: int = 9) -> Result:
    train = TrainMetrics(
        rows=9,
        steps=steps,
        resumed_from_step=0,
        first_loss=2.0,
        last_loss=1.0,
        mean_loss_last_quarter=1.0,
        trained_tokens=tokens,
        tokens_per_second=1.0,
        memory_gib=1.0,
        processes=1,
    )
    mix = MixMetrics(rows=9, by_source={}, with_thinking=9, reflection_markers={}, categories=categories or {"a": 1})
    made = result(root, name)
    return replace(made, steps={**made.steps, StepName("mix"): step(mix), StepName("train"): step(train)})


@pytest.mark.parametrize(("tokens", "flagged"), [(100, False), (90, False), (110, False), (89, True), (111, True)])
def test_trained_tokens_are_flagged_beyond_a_tenth_with_their_control(
    tmp_path: Path, tokens: int, flagged: bool
) -> None:
    found = flags(trained(tmp_path, "arm", tokens), trained(tmp_path, "full", 100), ())
    assert found == ((Flag("trained tokens", tokens, 100, "match=tokens"),) if flagged else ())


def test_a_changed_category_mix_is_flagged_unless_the_ablation_is_about_it(tmp_path: Path) -> None:
    arm = trained(tmp_path, "arm", 100, {"poetry": 4, "law": 6})
    baseline = trained(tmp_path, "full", 100, {"poetry": 7, "law": 3})
    (flag,) = flags(arm, baseline, ["search.max_edits: 10 -> 0"])
    assert (flag.label, round(flag.here, 3), flag.baseline) == (CATEGORY_MIX, 0.3, 0.0)
    assert flags(arm, baseline, ['categories.exclude: "none" -> "literature_arts"']) == ()


def test_total_variation_is_of_shares() -> None:
    assert total_variation({"a": 1, "b": 1}, {"a": 50, "b": 50}) == 0
    assert total_variation({"a": 1}, {"b": 3}) == 1
