"""The report in W&B says of several seeds what they say together."""

from dataclasses import replace
from pathlib import Path

from experiments.report.compare import compare
from experiments.report.page.study import studies
from experiments.store.runs import Result
from experiments.store.step import StepName
from experiments.tracking.ledger import Mirror
from experiments.tracking.view import Study, contracts_markdown, markdown
from tests.fakes.results import generated, graded, step, varied

MIRROR = Mirror(experiment="reer-1", number=1, project="p", online=True)


def cut(run: Result, truncated: int) -> Result:
    return replace(run, steps={**run.steps, StepName("generate", "writing"): step(generated(truncated))})


def shown(runs: list[Result]) -> Study:
    (study,) = studies(compare(runs))
    return Study(study, MIRROR)


def test_the_table_is_that_over_the_seeds_as_in_the_terminal(tmp_path: Path) -> None:
    runs = [graded(tmp_path, "full", varied(0), seed) for seed in range(3)]
    runs += [graded(tmp_path, "arm", varied((3, 0, -3)[seed], 0.1), seed) for seed in range(3)]
    table = markdown(shown(runs))
    assert "Means over seeds 0, 1, 2" in table
    (arm,) = (line for line in table.splitlines() if line.startswith("| arm | 6"))
    assert "undecided" in arm
    one_seed = markdown(shown([run for run in runs if run.seed == 0]))
    assert "different" in one_seed
    assert "Means over seeds" not in one_seed


def test_what_has_no_row_over_the_seeds_is_named_with_its_reason(tmp_path: Path) -> None:
    runs = [graded(tmp_path, name, varied(0, 0.1), seed) for name in ("full", "arm") for seed in range(2)]
    runs[-1] = replace(runs[-1], identity={**runs[-1].identity, "search": "y"})
    table = markdown(shown(runs))
    assert "arm: left out of the comparison over seeds" in table
    assert "Means over seeds" not in table


def test_a_confound_of_any_seed_is_named(tmp_path: Path) -> None:
    runs = [cut(graded(tmp_path, name, varied(0), seed), 0) for name in ("full", "arm") for seed in range(3)]
    runs[-2] = cut(runs[-2], 9)
    study = shown(runs)
    assert "truncated answers" in contracts_markdown(study.table)
    assert "truncated answers" not in contracts_markdown(study.comparison), "the first seed has none"
