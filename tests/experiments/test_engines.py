"""A run whose student is served: its stages share one server, which ends with the run."""

import json
from pathlib import Path

from experiments.experiment import Placements, Runtime
from experiments.pipeline import pipeline
from reer.models.placement import Engines, Placement
from reer.models.protocols import Device
from reer.training.parallelism import Parallelism
from tests.fakes.commands import finished
from tests.fakes.engines import engines, processes
from tests.fakes.http import Handler, Serve, says
from tests.fakes.plans import compose

SERVED = [
    "scale=smoke",
    "engine=vllm",
    "tracking=silent",
    "benchmark=[writing,everyday]",
    "experiment=no_synthetic_data",
]


def test_the_student_answers_and_is_probed_through_one_server(tmp_path: Path, serve: Serve) -> None:
    """A judge at an address is asked while the student still answers."""
    unanswered: list[bool] = []

    def grades(handler: Handler) -> None:
        unanswered.append(not list((tmp_path / "store/generate").glob("*/record.json")))
        says('{"score": 7, "reason": "scripted"}')(handler)

    _, url = serve(grades)
    judge = ["judge=server", "judge.model.model=m", f"judge.model.base_url={url}", "judge.model.health_check=false"]
    served = f"runtime.device.engines.vllm=[{','.join(engines('--delays').vllm)}]"
    command = [served, *judge, "runtime.width=1"]  # so that answers come one after another
    done = finished(tmp_path, "run", *SERVED, *command)
    assert "writing/quality" in done.text
    assert unanswered[0]
    assert unanswered.count(True) <= 14
    (log,) = (tmp_path / "engines").glob("*.log")
    assert log.read_text().count("/v1/completions") > 14
    assert processes() == []
    (answers,) = (tmp_path / "store/generate").glob("*/rows.jsonl")
    assert all(json.loads(line)["tokens"] for line in answers.read_text().splitlines())
    finished(tmp_path, "run", *SERVED, *command)
    assert [log] == list((tmp_path / "engines").glob("*.log")), "a run that has all its results starts no server"


def test_stages_that_ask_one_model_follow_one_another() -> None:
    steps = [str(name) for name in pipeline(compose("benchmark=[writing,everyday]", "engine=vllm"))]
    before, after = steps[: steps.index("train")], steps[steps.index("train") :]
    assert {"draft", "refine", "anchoring"} <= set(before)
    asks_student = [name in ("termination", "perplexity", "generate:writing", "harness:everyday") for name in after]
    last = max(at for at, asks in enumerate(asks_student) if asks)
    assert not any(name.startswith(("grade", "reliability")) for name in after[:last])


def test_each_role_has_its_own_placement_and_the_scorer_its_own_device() -> None:
    stated = Placement(gpus=(1,))
    device = Device("cuda:0", engines=Engines(placement=Placement(memory_share=0.5)))
    runtime = Runtime(
        name="two",
        root="outputs",
        device=device,
        parallelism=Parallelism(micro_batch=1, checkpoint_steps=1, recompute_activations=False),
        width=1,
        scorer_device="cuda:1",
        placements=Placements(scorer=stated),
    )
    scorer, student = runtime.device_for("scorer"), runtime.device_for("student")
    assert (scorer.name, scorer.engines.placement) == ("cuda:1", stated)
    assert (student.name, student.engines.placement) == ("cuda:0", Placement(memory_share=0.5))
    assert student.engines.logs == "outputs/engines"
