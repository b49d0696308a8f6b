"""A run repeated by name: the verdict on plan, bytes and scores, and what it says of each stage."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.benchmark import Measure
from experiments.history.verdict import check_score, check_scores
from experiments.metrics.evaluation import HeldOutScoreMetrics
from experiments.store.records import again_mark
from experiments.store.runs import Result
from experiments.store.step import StepName
from tests.fakes.commands import finished, reer
from tests.fakes.plans import compose
from tests.fakes.results import result
from tests.fakes.results import step as step_result
from tests.fakes.runs import rewritten, stage_folder

FULL = "full/smoke/s0"


def result_file(root: Path, run: str = FULL) -> Path:
    return root / "runs" / run / "result.json"


def earlier(root: Path, step: str, quality: float) -> None:
    """Let the result say that a step had another build before, and the benchmark another score."""

    def change(result: dict[str, Any]) -> None:
        result["steps"][step]["build"] = "0" * 12
        if step == "grade:writing":
            result["steps"][step]["metrics"]["measures"][0]["value"] = quality

    rewritten(result_file(root), change)


def verdict_of(root: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    """The verdict on one run, as JSON; nothing else may be on stdout."""
    done = reer(root, "rerun", *arguments, "--json")
    assert done.code == code, done.text
    (found,) = json.loads(done.out)
    return found


def made(found: dict[str, Any], origin: str) -> list[str]:
    """The steps of a verdict that came to be in this way."""
    return [check["step"] for check in found["steps"] if check["origin"] == origin]


def test_a_finished_run_is_repeated_from_the_store_with_its_digests_verified(arms: Path) -> None:
    done = finished(arms, "rerun", FULL)
    assert "same plan yes" in done.text
    assert "same bytes yes: 19 of 19 stages (19 from the store, digests verified)" in done.text
    assert "same scores yes: 2 of 2 measures (by same bytes)" in done.text
    assert "recomputed" not in done.out
    assert max(map(len, done.out[done.out.index("verdict") :].split("\n"))) <= 80


def test_a_moved_root_is_verified_from_another_folder(
    arms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Path(shutil.move(arms, tmp_path / "elsewhere" / "copied"))
    monkeypatch.chdir(moved.parent)
    done = finished(Path("copied"), "rerun", "full", "no_synthetic_data/smoke/s0", "--verify")
    assert done.text.count("from the store, digests verified") == 2
    assert "stages" not in done.text.split("verdict")[0], "nothing ran"
    finished(Path("copied"), "rerun", "full")
    assert not (moved.parent / "outputs").exists()
    assert json.loads((moved / "runs" / FULL / "plan.json").read_text())["runtime"]["root"] == "copied"


@pytest.mark.parametrize(("step", "file"), [("render", "rows.jsonl"), ("train", "model/model.safetensors")])
def test_verification_names_the_file_that_was_changed(arms: Path, step: str, file: str) -> None:
    path = stage_folder(arms, FULL, step) / file
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    found = verdict_of(arms, FULL, "--verify", code=1)
    (damaged,) = (check for check in found["steps"] if not check["same"])
    assert (damaged["step"], damaged["origin"]) == (step, "store")
    assert str(path) in damaged["why"]
    assert (found["same_bytes"], found["same_scores"], found["reproduced"]) == (False, False, False)
    text = reer(arms, "rerun", FULL, "--verify").text
    assert "not checked: stages are damaged" in text
    intact = sum(step["same"] for step in found["steps"])
    assert f"no: {intact} of {len(found['steps'])} stages ({intact} from the store, digests verified)" in text


def test_a_stage_that_was_removed_is_recomputed_and_the_verdict_says_so(arms: Path) -> None:
    shutil.rmtree(stage_folder(arms, FULL, "perplexity"))
    found = verdict_of(arms, FULL)
    assert made(found, "recomputed") == ["perplexity"]
    assert found["same_bytes"]
    shutil.rmtree(stage_folder(arms, FULL, "hygiene:writing"))
    text = finished(arms, "rerun", FULL).text
    assert "(recomputed with the model calls that are stored: hygiene:writing; 18 from the store" in text


def test_fresh_computes_a_stage_and_all_after_it_again_and_keeps_the_old_attempt(arms: Path) -> None:
    before = stage_folder(arms, FULL, "grade:writing")
    found = verdict_of(arms, FULL, "--fresh", "generate")
    again = ["generate:writing", "grade:writing", "hygiene:writing", "reliability:writing"]
    assert made(found, "fresh") == again
    assert found["reproduced"]
    assert len(list(before.parent.glob(f"{before.name}.superseded-*/record.json"))) == 1
    metrics = json.loads((before / "record.json").read_text())["metrics"]
    assert metrics["judgements_asked_here"] == metrics["judgements"] == 14, "no verdict is taken from the records"


def test_a_fresh_repetition_that_was_interrupted_goes_on_by_name(arms: Path) -> None:
    folder = stage_folder(arms, FULL, "hygiene:writing")
    mark = again_mark(folder.parent, folder.name[-12:])
    mark.mkdir()
    found = verdict_of(arms, FULL)
    assert made(found, "fresh") == ["hygiene:writing"]
    assert not mark.exists()


@pytest.mark.parametrize(("quality", "code", "words"), [(6.5, 0, "within ±1.7"), (9.5, 1, "beyond ±1.7")])
def test_scores_of_other_bytes_are_the_same_within_the_noise_of_the_judge(
    arms: Path, quality: float, code: int, words: str
) -> None:
    earlier(arms, "grade:writing", quality)
    done = reer(arms, "rerun", FULL, "--fresh", "grade")
    assert done.code == code, done.text
    assert "same bytes no: 18 of 19 stages" in done.text
    assert "the earlier files are gone" in done.text
    assert f"writing/quality: {quality} -> 6.429, {words}, the noise of the judge" in done.text
    assert "writing/length: 0 -> 0, equal" in done.text


def test_other_bytes_of_an_earlier_attempt_are_named_by_file(arms: Path) -> None:
    """The earlier attempt is stored: its record says which file of it was another one."""
    folder = stage_folder(arms, FULL, "termination")

    def change(record: dict[str, Any]) -> None:
        record["build"] = "0" * 12
        record["files"]["rows.jsonl"]["sha256"] = "0" * 64

    rewritten(folder / "record.json", change)
    earlier(arms, "termination", 0)
    found = verdict_of(arms, FULL, "--fresh", "termination")
    (differs,) = (check for check in found["steps"] if not check["same"])
    assert differs["why"] == "other bytes in rows.jsonl with the same inputs"
    assert found["reproduced"], "no score depends on it"


def test_what_moved_since_is_listed_once_with_its_stages(arms: Path) -> None:
    def as_elsewhere(record: dict[str, Any]) -> None:
        record["provenance"].update(git="abcdef123456", changes=None)
        record["provenance"]["packages"]["torch"] = "1.0"
        record["provenance"]["hardware"] = {"cpu": "Another", "cpus": 3, "gpus": ["NVIDIA H100", "NVIDIA H100"]}

    for step in ("train", "perplexity"):
        rewritten(stage_folder(arms, FULL, step) / "record.json", as_elsewhere)
    moved = {move["what"]: move for move in verdict_of(arms, FULL, "--verify")["moved"]}
    assert moved.keys() == {"code", "package torch", "processor", "processors", "GPUs"}
    assert moved["code"]["before"] == "abcdef123456"
    assert moved["GPUs"]["before"] == "2 x NVIDIA H100"
    assert moved["GPUs"]["steps"] == ["train", "perplexity"]
    assert "package torch: 1.0 -> 2" in finished(arms, "rerun", FULL, "--verify").text


def test_a_plan_that_was_edited_is_not_run_and_the_field_is_named(arms: Path) -> None:
    path = arms / "runs" / FULL / "plan.json"
    plan = json.loads(path.read_text())
    plan["search"]["max_edits"] = 3
    path.write_text(json.dumps(plan))
    done = reer(arms, "rerun", FULL)
    assert done.code == 1
    assert "same plan no: nothing was run" in done.text
    assert "same bytes not compared" in done.text
    assert "refine: search.max_edits: 10 -> 3" in done.text
    assert "filter:" not in done.text, "a stage that only reads it is not its cause"
    assert not list(arms.glob("store/refine/*.part"))


def test_a_source_that_is_not_on_this_machine_leaves_the_plan_unchecked_but_not_the_bytes(arms: Path) -> None:
    path = arms / "runs" / FULL / "plan.json"
    plan = json.loads(path.read_text())
    plan["public"].update(repo=None, path="nowhere.jsonl")
    path.write_text(json.dumps(plan))
    done = finished(arms, "rerun", FULL, "--verify")
    assert "same plan not checked" in done.text
    assert "nowhere.jsonl" in done.text
    assert "same bytes yes" in done.text


def test_other_runs_that_read_a_stage_of_other_bytes_are_named(arms: Path) -> None:
    for run in (FULL, "no_literature_arts/smoke/s0"):
        rewritten(result_file(arms, run), lambda result: result["steps"]["pairs"].update(build="0" * 12))
    found = verdict_of(arms, FULL)
    assert found["stale"] == ["no_literature_arts/smoke/s0"]
    assert not found["same_bytes"]
    assert found["reproduced"], "its scores are those of the same bytes"


def test_a_run_without_a_result_is_finished_and_has_nothing_to_compare_with(arms: Path) -> None:
    result_file(arms).unlink()
    refused = reer(arms, "rerun", FULL, "--verify")
    assert refused.code == 2
    assert f"finish it with: reer rerun {FULL}" in refused.text
    text = finished(arms, "rerun", FULL).text
    assert "no earlier result to compare with" in text
    assert "moved since" not in text
    assert result_file(arms).exists()


def test_a_name_that_does_not_exist_is_answered_with_the_nearest(sweep: Path) -> None:
    for name, hint in (("ful", "did you mean full?"), ("full/smoke/s1", "did you mean full/smoke/s0?")):
        done = reer(sweep, "rerun", name)
        assert done.code == 2
        assert hint in done.text
    done = reer(sweep, "rerun", "full", "--fresh", "trian")
    assert done.code == 2
    assert "did you mean train?" in done.text
    assert reer(sweep, "rerun", "full", "--fresh", "train", "--verify").code == 2


def measure(value: float | None, scored: int = 8) -> Measure:
    return Measure(
        benchmark="b", metric="m", value=value, mean_of_scored=value, low=None, high=None, scored=scored, total=8
    )


def test_a_score_may_move_by_what_the_noise_of_the_judge_explains() -> None:
    for change, same in ((0.97, True), (0.99, False)):
        found = check_score(measure(5.0), measure(5.0 + change), same_bytes=False, noise=1.96)
        assert (found.rule, found.same) == ("noise of the judge", same)
        assert found.bound == pytest.approx(0.98)


def test_a_score_without_measured_noise_must_be_equal() -> None:
    assert check_score(measure(5.0), measure(5.0), same_bytes=False, noise=None).same
    found = check_score(measure(5.0), measure(5.0001), same_bytes=False, noise=None)
    assert (found.rule, found.same) == ("equality", False)


def test_a_score_that_is_withheld_now_is_not_the_same() -> None:
    assert not check_score(measure(5.0), measure(None), same_bytes=False, noise=9.0).same
    assert check_score(measure(None, 0), measure(None, 0), same_bytes=False, noise=9.0).same


def test_scores_of_held_out_texts_are_checked_although_they_are_no_benchmark(tmp_path: Path) -> None:
    def scored(name: str, value: float) -> Result:
        metrics = HeldOutScoreMetrics(measures=(measure(value),), rows=8, closed=8, looping=0, mean_tokens=9.0)
        run = result(tmp_path, name)
        return replace(run, steps={**run.steps, StepName("held_out_scores"): step_result(metrics)})

    (_, found) = check_scores(compose("scale=smoke"), scored("before", 5.0), scored("now", 5.1))
    assert (found.measure, found.rule, found.same) == ("b/m", "same bytes", False)
