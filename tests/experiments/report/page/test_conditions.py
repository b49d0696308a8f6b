"""What differs between arms besides their scores."""

from pathlib import Path

from experiments.metrics.evaluation import GenerateMetrics
from experiments.metrics.probes import TerminationMetrics
from experiments.report.compare import compare
from experiments.report.page.conditions import conditions_view
from experiments.report.page.study import studies
from experiments.store.step import StepName
from tests.fakes.reports import scored_run, varied, with_metrics, with_training_rows


def test_confounds_that_arms_share_are_one_line_and_flags_name_their_arm(tmp_path: Path) -> None:
    runs = []
    for name, cut in (("full", 2), ("arm", 8)):
        answers = GenerateMetrics(
            rows=9, empty_answers=0, truncated=cut, unclosed_thinking=0, with_thinking=0, mean_tokens=9.0
        )
        run = scored_run(tmp_path, name, {"writing/quality": varied(0)})
        runs.append(with_metrics(run, StepName("generate", "writing"), answers))
    (study,) = studies(compare(runs))
    view = conditions_view(study)
    assert [row.label for row in view.confounds] == ["truncated answers"]
    assert "empty answers 0" in view.equal
    assert view.flagged == ("arm: truncated answers 8 vs 2 (4 ×)",)
    assert [cell.ratio for cell in view.confounds[0].cells] == ["", "4 ×"]


def test_only_an_arm_that_is_worse_than_the_baseline_is_called_degenerate_on_the_page(tmp_path: Path) -> None:
    runs = []
    for name, ended in (("full", 4), ("arm", 4), ("worse", 0)):
        metrics = TerminationMetrics(rows=10, ended=ended, share_ended=ended / 10, cap_tokens=9)
        run = scored_run(tmp_path, name, {"writing/quality": varied(0)})
        runs.append(with_metrics(run, StepName("termination"), metrics))
    (study,) = studies(compare(runs))
    assert [change.degenerate for change in conditions_view(study).changes] == [(), ("no end token learned",)]


def test_an_arm_that_trained_on_the_baselines_tokens_is_said_to_have_changed_nothing(tmp_path: Path) -> None:
    runs = [
        with_training_rows(scored_run(tmp_path, name, {"writing/quality": varied(0)}), tmp_path / f"{name}-rows", "one")
        for name in ("full", "arm")
    ]
    (study,) = studies(compare(runs))
    (change,) = conditions_view(study).changes
    assert (change.name, change.changed) == ("arm", ('search: "full" -> "arm"',))
    assert change.broken == ("trained on the tokens of the baseline: the switch changed nothing",)
