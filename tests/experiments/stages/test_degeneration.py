"""A model that is asked in another template than it was trained in is named, with the reason."""

from dataclasses import replace
from pathlib import Path

import pytest

from evals.hygiene import Symptoms
from experiments.metrics.degeneration import TemplateMetrics
from experiments.pipeline import pipeline
from experiments.report import terminal
from experiments.report.compare import compare
from experiments.stages import degeneration, probes
from experiments.store.runs import Result
from tests.fakes.plans import compose
from tests.fakes.results import result, step
from tests.fakes.stages import a_store


def measured(root: Path, arm: str) -> TemplateMetrics:
    """The probe of a real training at smoke scale, on public rows."""
    steps = pipeline(compose("scale=smoke", f"experiment={arm}", "data=public_only", "train.epochs=1"))
    metrics = a_store(root).build(steps[degeneration.template.named()]).metrics
    assert isinstance(metrics, TemplateMetrics)
    return metrics


def test_the_arm_with_a_foreign_template_is_found_and_the_baseline_is_sound(tmp_path: Path) -> None:
    sound, foreign = measured(tmp_path, "full"), measured(tmp_path, "foreign_template")
    assert (sound.rows, sound.asked_otherwise, sound.without_end) == (4, 0, 0)
    assert (foreign.rows, foreign.asked_otherwise, foreign.without_end) == (4, 4, 4)


HEALTHY = Symptoms(loops=0.1, unfinished=0.4, ended=0.6, asked_otherwise=0.0, without_end=0.0)


@pytest.mark.parametrize(
    ("symptoms", "reasons"),
    [
        (HEALTHY, []),
        (Symptoms(loops=None, unfinished=None, ended=None, asked_otherwise=None, without_end=None), []),
        (
            Symptoms(loops=0.2, unfinished=0.5, ended=0.4, asked_otherwise=0.0, without_end=0.0),
            ["no end token learned", "20% of answers loop", "50% of answers unfinished"],
        ),
        (
            Symptoms(loops=0.0, unfinished=0.0, ended=1.0, asked_otherwise=1.0, without_end=1.0),
            ["trained in another template than it is asked in", "no end token learned"],
        ),
    ],
)
def test_each_sign_is_a_reason(symptoms: Symptoms, reasons: list[str]) -> None:
    assert symptoms.reasons() == reasons


@pytest.mark.parametrize(
    ("unfinished", "reasons"),
    [(1.0, ["100% of answers unfinished"]), (0.8, []), (0.4, [])],
)
def test_beside_a_baseline_with_the_same_sign_only_what_is_worse_is_a_reason(
    unfinished: float, reasons: list[str]
) -> None:
    baseline = replace(HEALTHY, unfinished=0.7)
    assert replace(HEALTHY, unfinished=unfinished).reasons(baseline) == reasons


def test_a_sign_that_the_baseline_does_not_have_is_a_reason_beside_it() -> None:
    assert replace(HEALTHY, loops=0.2).reasons(HEALTHY) == ["20% of answers loop"]


def run_with(root: Path, name: str, share_ended: float, asked_otherwise: int) -> Result:
    """A finished run with these signs of a degenerate model."""
    ended = probes.TerminationMetrics(rows=8, ended=int(8 * share_ended), share_ended=share_ended, cap_tokens=9)
    mismatch = TemplateMetrics(rows=8, asked_otherwise=asked_otherwise, without_end=0)
    added = {probes.termination.named(): step(ended), degeneration.template.named(): step(mismatch)}
    run = result(root, name)
    return replace(run, steps={**run.steps, **added})


def test_compare_says_which_arm_is_degenerate_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run_with(tmp_path, "full", 1.0, 0), run_with(tmp_path, "foreign_template", 0.0, 8)]
    (comparison,) = compare(runs)
    terminal.comparison(comparison)
    printed = " ".join(capsys.readouterr().out.split())
    assert "degenerate: trained in another template than it is asked in, no end token learned" in printed
    assert printed.count("degenerate") == 1
    assert [bool(arm.degenerate) for arm in comparison.arms] == [False, True]


def test_what_the_baseline_shares_with_its_arms_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("full", "no_iterative_search", "short_trajectories")
    (comparison,) = compare([run_with(tmp_path, name, 0.0, 0) for name in names])
    terminal.comparison(comparison)
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("degenerate") == 1
    said = "The model of full is degenerate (no end token learned), and so are those of 2 of 2 other arms"
    assert comparison.cautions[0].startswith(said)
    assert said in printed
    assert [arm.degenerate for arm in comparison.arms] == [(), (), ()]


def test_over_seeds_it_is_said_once_for_all_runs(tmp_path: Path) -> None:
    runs = [
        replace(run_with(tmp_path / str(seed), name, ended, 0), seed=seed)
        for seed, ended in ((0, 0.0), (1, 1.0), (2, 0.0))
        for name in ("full", "no_iterative_search")
    ]
    first, _, last = compare(runs)
    assert last.over_seeds is not None
    (said,) = (line for line in last.over_seeds.cautions if "degenerate" in line)
    assert said.startswith(
        "The model of full is degenerate (no end token learned at seeds 0, 2), and so are those of 2 of 3 runs of other"
    )
    assert first.cautions[0].startswith("Seed 0: The model of full is degenerate (no end token learned), and so are")
