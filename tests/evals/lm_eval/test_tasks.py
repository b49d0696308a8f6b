"""The judged benchmarks through lm-eval: its aggregates equal this project's own from the same records."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import evals
from evals.benchmark import Item, Response, item_scores, measures
from evals.benchmarks.writing import WritingPrompts
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all
from evals.lm_eval.tasks import Settings, documents, judged, scores_of
from reer.errors import InputError
from reer.models.local.checkpoints import TinyModel
from reer.models.protocols import Device
from tests.fakes.plans import compose

FOLDER = Path(evals.__path__[0]) / "data" / "lm_judged"
TASKS = sorted(file.stem for file in FOLDER.glob("*.yaml"))
SCRIPTED = {
    "name": "t",
    "model": {"kind": "scripted"},
    "temperature": 0.5,
    "top_p": 1.0,
    "max_tokens": 40,
    "attempts": 1,
}


def stated(task: str) -> dict[str, Any]:
    """The content of a task's file and its include, read without lm-eval."""

    class Plain(yaml.SafeLoader): ...

    Plain.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))  # type: ignore[arg-type]
    common, own = (yaml.load((FOLDER / f).read_text(), Plain) for f in ("judged", f"{task}.yaml"))
    return {**common, **own}


def given(task: str, **metadata: Any) -> dict[str, Any]:
    """The arguments that lm-eval passes to a task's `custom_dataset`."""
    content = stated(task)
    return {**content["metadata"], "judge": SCRIPTED, **metadata, **content["dataset_kwargs"]}


def run(metadata: Mapping[str, Any], tasks: Sequence[str] = ("reer_writing",), **settings: Any) -> dict[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    made, evaluate = HFLM, simple_evaluate  # type: Any, Any
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=dict(metadata))
    lm = made(pretrained=str(TinyModel().fetch()), device="cpu", batch_size=16, max_length=4000)
    return evaluate(
        lm,
        tasks=list(tasks),
        task_manager=manager,
        apply_chat_template=True,
        bootstrap_iters=0,
        gen_kwargs={"max_gen_toks": 24},
        **settings,
    )


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judgements")


@pytest.fixture(scope="module")
def out(records: Path) -> dict[str, Any]:
    """The random model's texts under a judge with some unparsable replies."""
    judge = {**SCRIPTED, "stop": ["7", "5"]}
    return run({"judge": judge, "records": str(records), "pretrained": "added by lm-eval"})


def test_lm_eval_aggregates_as_this_project_does_from_the_same_records(out: dict[str, Any], records: Path) -> None:
    samples = out["samples"]["reer_writing"]
    settings = Settings.read(json.loads(samples[0]["doc"]["settings"]))
    bench, items = settings.benchmark, settings.benchmark.items()
    responses = [Response.read(s["doc"]["id"], s["resps"][0][0], False, 0) for s in samples]
    with JudgeSession(settings.judge, Judgements(records), Device()) as session:
        verdicts = judge_all(bench, items, responses, session)
        assert session.asked == 0, "every judgement is on record"
    by_metric = {measure.metric: measure for measure in measures(bench, item_scores(bench, items, responses, verdicts))}
    aggregated = out["results"]["reer_writing"]
    quality = by_metric["quality"]
    assert 0 < quality.scored < quality.total == len(samples) == 14, "some verdicts parsed, some did not"
    assert aggregated["quality,judged"] == pytest.approx(quality.mean_of_scored)
    assert aggregated["length,judged"] == pytest.approx(by_metric["length"].mean_of_scored)
    assert aggregated["judge_ok,judged"] == pytest.approx(quality.coverage)


def test_each_sample_contains_its_verdict(out: dict[str, Any]) -> None:
    for sample in out["samples"]["reer_writing"]:
        (verdict,) = sample["filtered_resps"][0]["verdicts"]
        assert set(sample["metrics"]) == {"quality", "length", "judge_ok"}
        assert (verdict["why"] is None) == bool(sample["judge_ok"]) == (not math.isnan(sample["quality"]))
        assert sample["arguments"][0][1] == {
            "until": [],
            "do_sample": True,
            "temperature": 0.7,
            "top_p": 0.95,
            "top_k": 0,
            "max_gen_toks": 24,
        }


def test_replies_and_measures_are_stored_with_the_records(out: dict[str, Any], records: Path) -> None:
    (replies,), (scores,) = (list((records / "lm_eval").glob(f"*.{kind}.json")) for kind in ("responses", "scores"))
    assert len(json.loads(replies.read_text())) == 14
    found = json.loads(scores.read_text())
    quality = next(m for m in found["measures"] if (m["benchmark"], m["metric"]) == ("writing", "quality"))
    assert quality["value"] is None, "too few are scored for a headline"
    assert quality["low"] < quality["mean_of_scored"] < quality["high"]
    assert sum(found["unscored"].values()) == quality["total"] - quality["scored"]


ITEM = Item(id="i", prompt="p", language="en", category="c", length=100, rubric=("good?",))


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ({"quality": {"i": 4.0}, "length": {"i": 50.0}}, {"quality": 4.0, "length": 50.0, "judge_ok": 1.0}),
        ({"quality": {"i": None}, "length": {"i": 50.0}}, {"quality": None, "length": 50.0, "judge_ok": 0.0}),
        ({"length": {"i": 50.0}, "quality": {"other": 3.0}}, {"quality": None, "length": 50.0, "judge_ok": 1.0}),
    ],
)
def test_every_metric_is_present_and_judge_ok_counts_the_items_own_metrics(table: Any, wanted: dict[str, Any]) -> None:
    found = scores_of(ITEM, WritingPrompts(judge_prompt="", temperature=0.7, top_p=0.95, min_coverage=0.98), table)
    assert {name: None if math.isnan(score) else score for name, score in found.items()} == wanted


def test_several_replies_to_a_document_are_refused(tmp_path: Path) -> None:
    rows = documents(**given("reer_writing", records=str(tmp_path)))["test"]
    with pytest.raises(InputError, match="set repeats: 1"):
        judged([["a", "b"]], [rows[0]])


def test_an_empty_answer_gets_the_worst_score_and_judge_ok(tmp_path: Path) -> None:
    rows = documents(**given("reer_writing", records=str(tmp_path)))["test"]
    (found,) = judged([["<think>never ends"]], [rows[0]])
    assert found["scores"] == {"quality": 1.0, "length": 0.0, "judge_ok": 1.0}


@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_the_settings_of_the_benchmark_in_conf(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two files with a benchmark's settings, the task's and the one in conf, must agree."""
    from experiments.store.fingerprint import encode

    content = given(task)
    name = content["benchmark"]["kind"]
    in_conf, in_task = compose("scale=smoke", f"benchmark=[{name}]").benchmark[name], Settings.read(content).benchmark
    assert encode(in_task) == encode(in_conf)
    generation = stated(task)["generation_kwargs"]
    sampling = in_task.sampling(10**6 if name != "writing" else generation["max_gen_toks"])
    assert (generation["temperature"], generation["top_p"], generation["top_k"]) == (
        sampling.temperature,
        sampling.top_p,
        sampling.top_k,
    )
    assert (generation["until"], generation["do_sample"], generation["max_gen_toks"]) == ([], True, sampling.max_tokens)
    assert [m["metric"] for m in stated(task)["metric_list"]] == [*in_task.ranges, "judge_ok"]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_loads_with_its_documents(task: str, shared: Path, tmp_path: Path) -> None:
    from lm_eval.tasks import TaskManager

    name = stated(task)["dataset_kwargs"]["benchmark"]["kind"]
    if name == "hellobench":  # a user's file that includes the task, since nltk's data may be missing
        own = {"benchmark": {**stated(task)["dataset_kwargs"]["benchmark"], "tokenize": False}}
        (tmp_path / "own.yaml").write_text(
            f"include: {FOLDER / task}.yaml\ntask: {task}\ndataset_kwargs: {json.dumps(own)}\n"
        )
    metadata: Any = {"judge": SCRIPTED, "data": {name: str(shared / "benchmarks" / name)}}
    manager = TaskManager(include_path=[str(FOLDER), str(tmp_path)], include_defaults=False, metadata=metadata)
    loaded = manager.load([task])["tasks"][task]
    sizes = {"writing": 14, "longbench_write": 120, "hellobench": 647, "writingbench": 1000}
    assert len(loaded.eval_docs) == len(set(loaded.eval_docs["id"])) == sizes[name]
    assert loaded.doc_to_text(loaded.eval_docs[0]) == loaded.eval_docs[0]["prompt"]
    assert set(loaded.aggregation()) == {metric["metric"] for metric in stated(task)["metric_list"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judge": {**SCRIPTED, "atempts": 2}}, r"judge\.atempts: unknown key; .*did you mean attempts"),
        (
            {"judge": {**SCRIPTED, "model": {"kind": "oracle"}}},
            r"judge\.model\.kind: expected one of .*server.*got 'oracle'",
        ),
        (
            {"judge": {**SCRIPTED, "model": {"kind": "server", "model": "m"}}},
            r"judge\.model\.base_url: a value is required",
        ),
        ({"judge": {**SCRIPTED, "max_tokens": "many"}}, r"judge\.max_tokens"),
        ({"judge": stated("reer_writing")["metadata"]["judge"]}, "environment variable OPENAI_API_KEY, got none"),
        ({"judge": {**SCRIPTED, "trained_for": ["writingbench"]}}, "trained to grade writingbench alone"),
        ({"judge": {**SCRIPTED, "grades": [1, 2]}}, "needs verdicts that are more than one grade"),
        ({"data": {"longbench_write": "/nowhere"}}, "/nowhere/longbench_write.jsonl is missing"),
    ],
)
def test_invalid_settings_are_refused_before_generation(
    change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InputError, match=message):
        documents(**given("reer_longbench_write", **change))


def test_a_local_judge_is_built_with_its_weights() -> None:
    chat = {"kind": "local", "dtype": "float32", "checkpoint": {"kind": "folder", "path": str(TinyModel().fetch())}}
    found = Settings.read(given("reer_writing", judge={**SCRIPTED, "model": chat}))
    assert found.judge.model.name.startswith("folder@")
