"""Dead switches, leaking switches and baselines without an object are each named."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.judging.reliability import AnchorScores
from experiments.contracts.check import CheckedTerm, ContractReport, checked, report_of, require_before_training
from experiments.contracts.check import changed_between as changed
from experiments.contracts.terms import Contract
from experiments.experiment import Experiment
from experiments.metrics.probes import ReliabilityMetrics
from experiments.metrics.synthesis import CurateMetrics, RefineMetrics
from experiments.metrics.training import MixMetrics
from experiments.stages.synthesis import search_metrics
from experiments.store.fingerprint import Json
from experiments.store.metrics import StageMetrics
from experiments.store.records import RECORD, read_record, write_record
from experiments.store.runs import Result, write_result
from experiments.store.step import Artifact, StepName
from reer.errors import InputError
from tests.fakes.plans import compose
from tests.fakes.results import GRADE, grades, measure, result, step
from tests.fakes.stages import recorded

SEARCH = {"touches": ["search"], "arm": {"refine.edits_accepted": 0}, "baseline": {"refine.edits_accepted": "> 0"}}


def refined(accepted: int) -> RefineMetrics:
    return replace(search_metrics([], [], calls=0, noise=0.0), edits=9, edits_accepted=accepted)


def curated(markers: int) -> CurateMetrics:
    return CurateMetrics(
        rows=3,
        dropped={},
        mean_words=9.0,
        max_words=9,
        reflection_markers=markers,
        words_over_bound=0,
        literature_arts_rows=1,
        excluded_rows=1,
    )


def mixed(synthetic: int) -> MixMetrics:
    return MixMetrics(rows=9, by_source={"public": 9, "synthetic": synthetic}, with_thinking=9, reflection_markers={})


def run(
    root: Path,
    name: str,
    accepted: int,
    contract: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    **parts: Any,
) -> Result:
    """A finished run with its frozen plan, whose training rows are its own."""
    made = result(root, name, rows=name, **parts)
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    composed = {"choices": {}, "overrides": [f"experiment={name}", "scale=smoke", *overrides]}
    plan = {"contract": contract, "composed_of": composed}
    (folder / "plan.json").write_text(json.dumps(plan if contract is not None else {}))
    return replace(made, folder=folder, steps={**made.steps, StepName("refine"): step(refined(accepted))})


def beside(arm: Result, baseline: Result) -> ContractReport:
    return report_of(arm, baseline, changed(baseline.identity, arm.identity))


def test_a_switch_that_acts_keeps_its_contract(tmp_path: Path) -> None:
    report = beside(run(tmp_path, "arm", 0, SEARCH, search="y"), run(tmp_path, "full", 5, {"touches": []}))
    assert (report.word, report.broken, len(report.terms)) == ("kept", (), 2)


def test_a_dead_switch_is_named(tmp_path: Path) -> None:
    report = beside(run(tmp_path, "arm", 4, SEARCH, search="y"), run(tmp_path, "full", 5))
    assert report.broken == ("refine.edits_accepted = 0 (measured: 4)",)
    assert report.word.startswith("not comparable: ")


def test_a_switch_that_leaves_the_training_rows_as_they_are_changed_nothing(tmp_path: Path) -> None:
    arm, baseline = result(tmp_path, "arm", rows="same", search="y"), result(tmp_path, "full", rows="same")
    assert report_of(arm, baseline, ()).broken == ("trained on the tokens of the baseline: the switch changed nothing",)
    assert not report_of(result(tmp_path, "other", rows="others"), baseline, ()).no_op


@pytest.mark.parametrize(
    "part", ["student", "train", "seed", "scale", "benchmark", "answering", "judge", "reliability", "embedding"]
)
def test_what_acts_after_the_rows_are_rendered_may_leave_them_as_they_are(tmp_path: Path, part: str) -> None:
    arm = result(tmp_path, "arm", rows="same", **{part: "another"})
    assert not report_of(arm, result(tmp_path, "full", rows="same", **{part: "one"}), ()).no_op


def test_runs_without_a_training_are_not_said_to_have_trained_on_the_same_rows(tmp_path: Path) -> None:
    arm, baseline = (result(tmp_path, name, answers=name) for name in ("arm", "full"))
    bare = [replace(run, steps={GRADE: run.steps[GRADE]}) for run in (arm, baseline)]
    assert not report_of(bare[0], bare[1], ()).no_op


def test_matched_rows_are_the_ones_that_are_trained_on(tmp_path: Path) -> None:
    arm, baseline = result(tmp_path, "arm", rows="same", search="y"), result(tmp_path, "full", rows="same")
    (tmp_path / "matched").mkdir()
    (tmp_path / "matched" / "rows.jsonl").write_text("fewer")
    matched = replace(step(refined(0)), path=tmp_path / "matched")
    assert not report_of(replace(arm, steps={**arm.steps, StepName("match"): matched}), baseline, ()).no_op


def test_a_baseline_that_gives_the_switch_nothing_to_act_on_is_named(tmp_path: Path) -> None:
    report = beside(run(tmp_path, "arm", 0, SEARCH, search="y"), run(tmp_path, "full", 0))
    assert report.broken == ("baseline refine.edits_accepted > 0 (measured: 0)",)
    without = replace(run(tmp_path, "other", 0), steps={})
    report = beside(run(tmp_path, "again", 0, SEARCH, search="y"), without)
    assert report.broken == ("baseline refine.edits_accepted > 0 (measured: –)",)


def test_a_leaking_switch_is_named_with_its_key(tmp_path: Path) -> None:
    arm = run(tmp_path, "arm", 0, SEARCH, search="y", filters={"leak": "a: b"})
    report = beside(arm, run(tmp_path, "full", 5, filters={"leak": "a: c"}))
    assert report.broken == ("also changed filters.leak",)


def test_what_the_command_overrides_is_no_leak(tmp_path: Path) -> None:
    arm = run(tmp_path, "arm", 0, SEARCH, ["match=tokens"], search="y", match="tokens")
    assert beside(arm, run(tmp_path, "full", 5)).leaked == ()


def test_an_arm_that_states_nothing_is_not_said_to_keep_anything(tmp_path: Path) -> None:
    report = beside(run(tmp_path, "arm", 3, search="y", filters="z"), run(tmp_path, "full", 5))
    assert (report.word, report.leaked) == ("no contract stated", ())


def test_other_hardware_and_code_are_named_and_break_nothing(tmp_path: Path) -> None:
    arm, full = run(tmp_path, "arm", 0, SEARCH, search="y"), run(tmp_path, "full", 5)
    name = StepName("grade", "writing")
    folder = arm.steps[name].path
    record = read_record(folder)
    write_record(folder, replace(record, provenance=replace(record.provenance, git="other", changes=None)))
    arm = replace(arm, steps={**arm.steps, name: replace(arm.steps[name], fingerprint="g")})
    report = beside(arm, full)
    assert report.word == "kept"
    before = record.provenance
    changed = f" ({before.changes})" if before.changes else ""
    assert report.moved == (f"code: {before.git or 'outside a checkout'}{changed} -> other",)


def test_what_made_a_stage_without_a_record_is_not_known(tmp_path: Path) -> None:
    arm, full = run(tmp_path, "arm", 0, SEARCH, search="y"), run(tmp_path, "full", 5)
    name = StepName("grade", "writing")
    other = replace(arm, steps={**arm.steps, name: replace(arm.steps[name], fingerprint="g")})
    (arm.steps[name].path / RECORD).unlink()
    assert beside(other, full).moved == ()
    assert report_of(full, other, ()).moved == ()


def graded_anchors(run: Result, grade: float) -> Result:
    """The same run, whose judge gave every anchor this grade."""
    scores = {f"anchor-{number}": grade for number in range(5)}
    anchors = AnchorScores(drift=0.0, items=5, flagged=False, bound=0.45, scores=scores)
    made = step(ReliabilityMetrics(note="", anchors=anchors))
    return replace(run, steps={**run.steps, StepName("reliability", "writing"): made})


def test_a_judge_that_drifted_between_two_runs_is_named_and_one_within_its_noise_is_not(tmp_path: Path) -> None:
    arm, full = run(tmp_path, "arm", 0, SEARCH, search="y"), run(tmp_path, "full", 5)
    report = beside(graded_anchors(arm, 4.0), graded_anchors(full, 6.0))
    assert (report.word, report.moved) == ("kept", ("judge of writing: its grades of the anchors changed by -2",))
    assert beside(graded_anchors(arm, 5.6), graded_anchors(full, 6.0)).moved == ()
    assert beside(graded_anchors(arm, 4.0), full).moved == ()
    unmeasured = step(ReliabilityMetrics(note=""))
    without = replace(full, steps={**full.steps, StepName("reliability", "writing"): unmeasured})
    assert beside(graded_anchors(arm, 4.0), without).moved == ()


def test_two_judges_behind_one_name_are_distinguished(tmp_path: Path) -> None:
    def answered(run: Result, *served: str) -> Result:
        made = step(replace(grades(measure(3.0)), judge_served=served))
        return replace(run, steps={**run.steps, StepName("grade", "other"): made})

    arm, full = run(tmp_path, "arm", 0, SEARCH, search="y"), run(tmp_path, "full", 5)
    report = beside(answered(arm, "m-2", "m-3"), answered(full, "m-1"))
    assert (report.word, report.moved) == ("kept", ("judge of other: m-1 -> m-2, m-3",))
    assert beside(answered(arm, "m-2", "m-1"), answered(full, "m-1", "m-2")).moved == ()
    assert beside(answered(arm), answered(full, "m-1")).moved == ()
    assert beside(answered(arm, "m-2"), answered(full)).moved == ()
    assert beside(answered(arm, "m-2"), full).moved == ()


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("data=public_only", True),
        ("data.extra=1", True),
        ("+data.extra=1", True),
        ("++data.extra=1", True),
        ("~data.extra", True),
        ("data.rest=1", False),
        ("name=data.extra", False),
        ("place@data.extra=a", True),
        ("data/extra=a", True),
        ("data@other=a", False),
    ],
)
def test_what_an_override_of_either_side_sets_is_no_leak(tmp_path: Path, override: str, allowed: bool) -> None:
    for side, (of_arm, of_full) in {"arm": ([override], []), "full": ([], [override])}.items():
        arm = run(tmp_path / side, "arm", 0, SEARCH, of_arm, search="y", data={"extra": 1})
        full = run(tmp_path / side, "full", 5, {"touches": []}, of_full, data={"extra": 2})
        assert beside(arm, full).leaked == (() if allowed else ("data.extra",))


def test_the_model_of_the_scorer_is_a_part_of_the_scorer(tmp_path: Path) -> None:
    arm = run(tmp_path, "arm", 0, SEARCH, ["model@scorer_model=a"], search="y", scorer={"model": 1})
    assert beside(arm, run(tmp_path, "full", 5, scorer={"model": 2})).leaked == ()


def test_what_the_baseline_may_touch_is_no_leak_of_the_arm(tmp_path: Path) -> None:
    arm = run(tmp_path, "arm", 0, SEARCH, search="y", filters="a")
    assert beside(arm, run(tmp_path, "full", 5, {"touches": ["filters"]})).leaked == ()


def test_the_differences_of_two_identities_leave_out_their_names() -> None:
    baseline: dict[str, Json] = {"name": "full", "search": {"edits": 1, "same": 2}, "judge": "j", "gone": 1}
    arm: dict[str, Json] = {"name": "arm", "search": {"edits": 3, "same": 2}, "judge": "j", "new": None}
    assert changed(baseline, arm) == ("gone: 1 -> (default)", "new: (default) -> null", "search.edits: 1 -> 3")


def test_everything_that_breaks_a_contract_is_in_one_line(tmp_path: Path) -> None:
    arm = run(tmp_path, "arm", 4, {**SEARCH, "expects": "worse"}, search="y", filters="a")
    (arm.steps[StepName("render")].path / "rows.jsonl").write_text("full")
    report = beside(arm, run(tmp_path, "full", 5))
    assert report.word == (
        "not comparable: trained on the tokens of the baseline: the switch changed nothing; also changed filters; "
        "refine.edits_accepted = 0 (measured: 4)"
    )
    assert (report.stated, report.expects) == (True, "worse")


def test_a_frozen_contract_of_another_form_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^contract\b.*touch"):
        beside(run(tmp_path, "arm", 0, {"touch": []}), run(tmp_path, "full", 5))


def test_a_stage_that_has_not_run_leaves_its_statement_open(tmp_path: Path) -> None:
    contract = Contract(arm={"refine.edits": 0}, baseline={"refine.edits": "> 0"})
    assert checked(contract, {}, None) == (
        CheckedTerm("arm", "refine.edits = 0", None, None),
        CheckedTerm("baseline", "baseline refine.edits > 0", None, None),
    )
    measured = {StepName("refine"): refined(3)}
    assert [(term.of, term.measured, term.holds) for term in checked(contract, measured, measured)] == [
        ("arm", 9, False),
        ("baseline", 9, True),
    ]


def artifacts(**metrics: StageMetrics) -> dict[StepName, Artifact]:
    return {
        StepName(name): Artifact(stage=name, path=Path("none"), fingerprint="f", build="b", metrics=of)
        for name, of in metrics.items()
    }


def experiment(root: Path, *overrides: str) -> Experiment:
    composed = compose("scale=smoke", *overrides)
    return replace(composed, runtime=replace(composed.runtime, root=str(root)))


def finished(exp: Experiment, **metrics: StageMetrics) -> None:
    """A finished run of an experiment that measured this."""
    made = artifacts(**metrics)
    for name, artifact in made.items():
        path = Path(exp.runtime.root) / "store" / name.stage
        path.mkdir(parents=True)
        recorded(path)
        made[name] = replace(artifact, path=path)
    exp.folder.mkdir(parents=True)
    write_result(exp, made, None, lambda _: {})


def test_an_arm_whose_switch_did_not_act_is_not_trained(tmp_path: Path) -> None:
    arm = experiment(tmp_path, "experiment=no_synthetic_data")
    require_before_training(arm, artifacts(mix=mixed(synthetic=0)))
    with pytest.raises(InputError) as broken:
        require_before_training(arm, artifacts(mix=mixed(synthetic=3)))
    assert str(broken.value) == (
        "no_synthetic_data/smoke/s0 is not trained, because its contract is broken: mix.by_source.synthetic = 0 "
        "(measured: 3). As it is, its switch did not act; change the override that undoes it, or use a larger scale or "
        "another source"
    )


def test_a_mislabelled_arm_is_not_trained(tmp_path: Path) -> None:
    arm = experiment(tmp_path, "experiment=no_iterative_search", "search=iterative")
    with pytest.raises(InputError, match=r"refine\.edits_accepted = 0 \(measured: 3\)"):
        require_before_training(arm, artifacts(refine=refined(3)))


def test_an_arm_is_not_trained_beside_a_baseline_that_gives_it_nothing_to_act_on(tmp_path: Path) -> None:
    arm = experiment(tmp_path, "experiment=no_reflection_tokens")
    require_before_training(arm, artifacts(curate=curated(0)))
    finished(experiment(tmp_path, "experiment=full"), curate=curated(0))
    with pytest.raises(InputError, match=r"baseline curate\.reflection_markers > 0 \(measured: 0\).*nothing to act on"):
        require_before_training(arm, artifacts(curate=curated(0)))


def test_a_run_with_other_settings_is_not_taken_for_the_baseline(tmp_path: Path) -> None:
    finished(experiment(tmp_path, "experiment=full", "search.max_edits=3", "name=full"), curate=curated(0))
    require_before_training(experiment(tmp_path, "experiment=no_reflection_tokens"), artifacts(curate=curated(0)))
