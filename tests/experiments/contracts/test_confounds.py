"""Confounds have bounds, and the control that would settle one is named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.hygiene import summary
from experiments.contracts.confounds import (
    CATEGORY_MIX,
    QUANTITIES,
    Flag,
    confounds,
    flags,
    seconds_from_training,
    total_variation,
)
from experiments.metrics.controls import ControlMetrics
from experiments.metrics.evaluation import GenerateMetrics
from experiments.metrics.probes import HygieneMetrics, PerplexityMetrics, TerminationMetrics
from experiments.metrics.synthesis import CurateMetrics
from experiments.metrics.training import MixMetrics, TrainMetrics
from experiments.store.metrics import StageMetrics
from experiments.store.records import read_record, write_record
from experiments.store.runs import Result
from experiments.store.step import StepName
from tests.fakes.results import result, step
from tests.fakes.stages import recorded

TRAIN = TrainMetrics(
    rows=9,
    steps=9,
    resumed_from_step=0,
    first_loss=2.0,
    last_loss=1.0,
    mean_loss_last_quarter=1.0,
    trained_tokens=100,
    tokens_per_second=1.0,
    memory_gib=1.0,
    processes=1,
)


def trained(root: Path, name: str, tokens: int, categories: dict[str, int] | None = None) -> Result:
    train = replace(TRAIN, trained_tokens=tokens)
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


WHOLE: dict[str, StageMetrics] = {
    "mix": MixMetrics(
        rows=95, by_source={}, with_thinking=9, reflection_markers={}, short={"a": 2, "b": 3}, categories={"a": 1}
    ),
    "curate": CurateMetrics(
        rows=90,
        dropped={},
        mean_words=200.0,
        max_words=300,
        reflection_markers=40,
        words_over_bound=0,
        literature_arts_rows=20,
        excluded_rows=0,
    ),
    "train": replace(TRAIN, rows=90, steps=30, trained_tokens=5000),
    "termination": TerminationMetrics(rows=10, ended=8, share_ended=0.8, cap_tokens=100),
    "perplexity": PerplexityMetrics(
        texts=3, tokens=30, nll=2.5, perplexity=12.2, nll_mean_of_texts=2.6, too_long=0, why=None
    ),
    "generate:a": GenerateMetrics(
        rows=60, empty_answers=1, truncated=3, unclosed_thinking=5, with_thinking=0, mean_tokens=9.0
    ),
    "generate:b": GenerateMetrics(
        rows=40, empty_answers=10, truncated=20, unclosed_thinking=30, with_thinking=0, mean_tokens=9.0
    ),
    "hygiene:a": HygieneMetrics(
        **vars(summary([])) | {"rows": 60, "loops": 1, "wrong_language": 2, "clean": 50}, clean_scores=()
    ),
    "hygiene:b": HygieneMetrics(
        **vars(summary([])) | {"rows": 40, "loops": 4, "wrong_language": 7, "clean": 25}, clean_scores=()
    ),
}
COUNTED = {
    "rows": 90,
    "rows fewer than stated": 5,
    "trained tokens": 5000,
    "optimizer steps": 30,
    "thinking words": 200,
    "reflection markers": 40,
    "literature/arts rows": 20,
    "truncated answers": 23,
    "answers with unclosed thinking": 35,
    "empty answers": 11,
    "looping answers": 5,
    "answers in the wrong language": 9,
    "clean answers": 75,
    "share of answers that end": 0.8,
    "nll of held-out texts, nats/token": 2.5,
}


def whole(root: Path, name: str, **changes: dict[str, Any]) -> Result:
    """A run with every number that may be a confound, some of them changed by stage."""
    metrics = {stage: replace(of, **changes.get(stage.replace(":", "_"), {})) for stage, of in WHOLE.items()}
    steps = {StepName(*stage.split(":")): step(of) for stage, of in metrics.items()}
    return replace(result(root, name), steps=steps)


def test_every_confound_is_counted_over_all_benchmarks(tmp_path: Path) -> None:
    assert confounds(whole(tmp_path, "arm")) == COUNTED
    nothing = replace(whole(tmp_path, "none"), steps={})
    assert confounds(nothing) == dict.fromkeys(COUNTED)
    assert flags(nothing, whole(tmp_path, "full"), ()) == ()
    assert flags(whole(tmp_path, "other"), nothing, ()) == ()


def test_thinking_that_was_replaced_counts_in_the_place_of_the_curated_one(tmp_path: Path) -> None:
    control = ControlMetrics(
        rows=9,
        true_pairs=0,
        unchangeable=0,
        tokens_before=1,
        tokens_after=1,
        mean_words=7.0,
        reflection_markers=0,
        exceptions={},
    )
    run = whole(tmp_path, "arm")
    counted = confounds(replace(run, steps={**run.steps, StepName("control"): step(control)}))
    assert (counted["thinking words"], counted["reflection markers"]) == (7, 0)


@pytest.mark.parametrize(
    ("label", "control", "stage", "within", "beyond"),
    [
        ("rows", "match=steps", "train", {"rows": 99}, {"rows": 100}),
        ("rows fewer than stated", "", "mix", {"short": {"a": 116}}, {"short": {"a": 117}}),
        ("trained tokens", "match=tokens", "train", {"trained_tokens": 4500}, {"trained_tokens": 4499}),
        ("optimizer steps", "match=steps", "train", {"steps": 33}, {"steps": 34}),
        ("thinking words", "", "curate", {"mean_words": 219.0}, {"mean_words": 221.0}),
        ("reflection markers", "", "curate", {"reflection_markers": 80}, {"reflection_markers": 81}),
        ("literature/arts rows", "", "curate", {"literature_arts_rows": 10}, {"literature_arts_rows": 9}),
        ("truncated answers", "", "generate_b", {"truncated": 40}, {"truncated": 41}),
        ("answers with unclosed thinking", "", "generate_b", {"unclosed_thinking": 10}, {"unclosed_thinking": 9}),
        ("empty answers", "", "generate_b", {"empty_answers": 30}, {"empty_answers": 31}),
        ("looping answers", "", "hygiene_a", {"loops": 21}, {"loops": 22}),
        ("answers in the wrong language", "", "hygiene_a", {"wrong_language": 22}, {"wrong_language": 23}),
        ("clean answers", "", "hygiene_b", {"clean": 5}, {"clean": 4}),
        ("share of answers that end", "", "termination", {"share_ended": 0.61}, {"share_ended": 0.59}),
        ("nll of held-out texts, nats/token", "", "perplexity", {"nll": 2.69}, {"nll": 2.71}),
    ],
)
def test_each_confound_has_its_bound_and_its_control(
    tmp_path: Path, label: str, control: str, stage: str, within: dict[str, Any], beyond: dict[str, Any]
) -> None:
    baseline = whole(tmp_path, "full")
    assert flags(whole(tmp_path, "near", **{stage: within}), baseline, ()) == ()
    far = whole(tmp_path, "far", **{stage: beyond})
    here = confounds(far)[label]
    assert here is not None
    assert flags(far, baseline, ()) == (Flag(label, here, COUNTED[label], control),)


def test_every_bound_is_tested_above() -> None:
    assert [quantity.label for quantity in QUANTITIES] == list(COUNTED)


@pytest.mark.parametrize(
    ("part", "label", "change"),
    [
        ("trajectory.short", "thinking words", {"mean_words": 20.0}),
        ("thinking", "thinking words", {"mean_words": 20.0}),
        ("reflection", "reflection markers", {"reflection_markers": 0}),
        ("categories", "literature/arts rows", {"literature_arts_rows": 0}),
        ("data", "literature/arts rows", {"literature_arts_rows": 0}),
        ("source.path", "literature/arts rows", {"literature_arts_rows": 0}),
        ("public", "literature/arts rows", {"literature_arts_rows": 0}),
    ],
)
def test_what_the_ablation_is_about_is_no_confound(
    tmp_path: Path, part: str, label: str, change: dict[str, Any]
) -> None:
    arm, baseline = whole(tmp_path, "arm", curate=change), whole(tmp_path, "full")
    assert [flag.label for flag in flags(arm, baseline, ["search: 1 -> 2"])] == [label]
    assert flags(arm, baseline, ["name: 1 -> 2", f"{part}: old -> new"]) == ()


def test_a_mix_is_compared_where_both_runs_have_one_and_beyond_a_tenth(tmp_path: Path) -> None:
    baseline = trained(tmp_path, "full", 100, {"a": 9, "b": 1})
    assert flags(trained(tmp_path, "near", 100, {"a": 8, "b": 2}), baseline, ()) == ()
    assert flags(trained(tmp_path, "far", 100, {"a": 7, "b": 3}), baseline, ()) == (Flag(CATEGORY_MIX, 0.2, 0.0),)
    without = replace(baseline, steps={StepName("train"): baseline.steps[StepName("train")]})
    other = trained(tmp_path, "other", 100, {"c": 1})
    assert flags(without, other, ()) == flags(other, without, ()) == ()


def test_a_flag_is_a_multiple_of_the_baseline_unless_that_is_zero() -> None:
    assert Flag("rows", 3, 2).ratio == 1.5
    assert Flag("rows", 3, 0).ratio is None


def test_the_cost_of_another_arm_is_that_of_the_training_and_what_follows(tmp_path: Path) -> None:
    run = whole(tmp_path, "arm")
    steps = {}
    for seconds, (name, of) in enumerate(run.steps.items(), start=1):
        folder = tmp_path / "steps" / str(seconds)
        folder.mkdir(parents=True)
        recorded(folder)
        write_record(folder, replace(read_record(folder), seconds=float(seconds)))
        steps[name] = replace(of, path=folder)
    assert seconds_from_training(replace(run, steps=steps)) == sum(range(3, 10)), "the training is the third step"
    assert seconds_from_training(replace(run, steps={})) is None
