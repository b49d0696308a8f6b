"""Real engines on this machine: `$REER_VLLM` and `$REER_SGLANG` are the commands that start them, as in
`/path/to/vllm serve --enforce-eager` and `/path/to/python -m sglang.launch_server`.

The main job runs with the bundled 135M model in every role, each served by the engine; its server is killed in the
middle of the search, and the run itself in the middle of the answers. That has run with vLLM on CPUs only; all else
also on an H100, with vLLM 0.26 (without `--enable-scale-out`, which it does not know) and SGLang 0.5.17.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from evals.benchmark import JudgedBenchmark, Response
from evals.judging.judge import Judge
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all
from experiments.experiment import Experiment
from reer.data.rows import Problems
from reer.models.engines.commands import SERVED_AS
from reer.models.engines.session import EngineSession
from reer.models.placement import Engines, Placement, ServerEngine, software
from reer.models.protocols import Device, LoadedModel, Passage, Prompt, Request, Sampling
from reer.models.services.openai import ChatServer
from reer.types import Message
from tests.conftest import REPOSITORY
from tests.fakes.calls import completions, scores
from tests.fakes.plans import compose

pytestmark = pytest.mark.slow
SAME_CHARACTERS = 40  # of greedy words in bfloat16, before two words are about as likely
PATIENCE = 3600.0  # seconds: a loaded machine takes minutes to start vLLM
SIZE = ["scale.pairs=2", "scale.synthetic_rows=2", "scale.public_rows=2", "scale.train_tokens=700"]
SIZE += ["scale.draft_tokens=64", "scale.edit_tokens=32", "search.max_edits=2", "scale.anchoring_samples=1"]
SIZE += ["scale.held_out_texts=1", "scale.termination_samples=1", "scale.benchmark_items=6", "scale.answer_tokens=32"]
SIZE += ["reliability.repeat_items=1", "reliability.null_answer_items=1", "benchmark.everyday.limit=4"]
SIZE += ["runtime.width=2"]  # answers come in several waves, between which the run can be killed
SIZE += ["runtime.device.engines.placement={memory_share: 0.1, context_tokens: 4096}"]
STAGES = ("draft", "refine", "anchoring", "train", "termination", "perplexity", "generate", "harness", "grade")


def engines_here(engine: ServerEngine) -> Engines:
    """How an engine is started here; without a command the test is skipped."""
    name = software(engine)
    variable = f"REER_{name.upper()}"
    if variable not in os.environ:
        pytest.skip(f"no engine: set {variable} to the command that starts {name}")
    command = tuple(shlex.split(os.environ[variable]))
    return replace(Engines(placement=Placement(memory_share=0.1, context_tokens=4096)), **{name: command})


@pytest.fixture(scope="module")
def x() -> Experiment:
    return compose("tracking=silent")


@pytest.fixture(scope="module")
def here(x: Experiment) -> Iterator[LoadedModel]:
    with x.student.open(Device("cpu")) as session:
        yield session


@pytest.fixture(scope="module", params=["vllm", "vllm_cached", "sglang"])
def served(request: pytest.FixtureRequest, x: Experiment) -> Iterator[LoadedModel]:
    engine: ServerEngine = request.param
    engines = engines_here(engine)
    dtype = "bfloat16" if engine == "sglang" else x.student.dtype  # its kernels compute no float32
    with replace(x.student, engine=engine, dtype=dtype).open(Device("cpu", engines=engines)) as session:
        yield session


def tolerance(served: LoadedModel) -> float:
    """Of the mean nats per token, against this process in float32: bfloat16 rounds, and kernels for GPUs may multiply
    float32 numbers as TF32, with 10 bits of fraction (vLLM 0.26 on an H100: 2.9e-4 at the one text compared)."""
    import torch

    if "bfloat16" in served.name:
        return 0.05
    return 1e-3 if torch.cuda.is_available() else 1e-4


def test_scores_are_those_of_the_model_in_process(x: Experiment, served: LoadedModel, here: LoadedModel) -> None:
    rows = [row for row in x.source.rows(Problems("error")) if len(row.solution) < 1500][:4]
    shared = "What I write depends on who reads it. " * 40  # more than a block of the prefix cache
    context = f"<think>\n{shared}I think of number {{n}}.\n</think>\n<answer>\n"
    asked = [
        Passage(Prompt((Message("user", row.query or ""),), context.format(n=n)), row.solution, f"pair {i}")
        for i, row in enumerate(rows)
        for n in range(2)
    ]
    for found, wanted in zip(scores(served, asked), scores(here, asked), strict=True):
        assert found is not None
        assert wanted is not None
        assert len(found) == len(wanted)
        assert sum(found) / len(found) == pytest.approx(sum(wanted) / len(wanted), abs=tolerance(served))


def test_greedy_words_are_those_of_the_model_in_process(served: LoadedModel, here: LoadedModel) -> None:
    greedy = Sampling(temperature=0.0, top_p=1.0, max_tokens=24)
    turns = [("Name three colours.", ""), ("Count.", "One, two,")]
    asked = [Request(Prompt((Message("user", text),), prefill), greedy, 0) for text, prefill in turns]
    found, wanted = completions(served, asked), completions(here, asked)
    if "bfloat16" in served.name:
        assert [reply.text[:SAME_CHARACTERS] for reply in found] == [reply.text[:SAME_CHARACTERS] for reply in wanted]
    else:
        assert found == wanted


@dataclass(frozen=True)
class Opened:
    """A model that is served already."""

    session: EngineSession
    follows_schemas: bool = True

    @property
    def name(self) -> str:
        return self.session.name

    @contextmanager
    def open(self, device: Device) -> Iterator[EngineSession]:
        yield self.session


@pytest.mark.parametrize("kind", ["the engine's own parameter", "the chat server's response_format"])
def test_a_verdict_is_held_to_its_schema_and_read(
    x: Experiment, served: LoadedModel, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(served, EngineSession)
    monkeypatch.setenv("KEY_OF_ENGINE", served.serving.key)
    url = f"{served.serving.urls[0]}/v1"
    chat = ChatServer(model=SERVED_AS, base_url=url, key_variable="KEY_OF_ENGINE", health_check=False)
    model = Opened(served) if kind == "the engine's own parameter" else chat
    judge = Judge(name="held", model=model, temperature=1.0, top_p=0.9, max_tokens=400, attempts=3, structured=True)
    benchmark = x.benchmarks["writing"]
    assert isinstance(benchmark, JudgedBenchmark)
    items = benchmark.items()[:2]
    answers = [Response.of_text(item.id, "The kettle sang. She let it sing, and read on.") for item in items]
    with JudgeSession(judge, Judgements(tmp_path), Device("cpu")) as session:
        verdicts = judge_all(benchmark, items, answers, session)
    assert [verdict.why for verdict in verdicts] == [None, None]
    for verdict in verdicts:
        reply = json.loads(verdict.reply)
        assert list(reply) == ["score", "reason"]
        assert reply["score"] in range(1, 11)
        assert verdict.scores == {"quality": reply["score"]}


def run(root: Path, engine: ServerEngine) -> list[str]:
    """The main job, small, with every role served by an engine."""
    engines = engines_here(engine)
    command = ",".join((*engines.program(engine), *engines.options(engine)))
    start = f"runtime.device.engines.{software(engine)}=[{command}]"
    line = ["run", f"engine={engine}", "tracking=silent", start, f"runtime.root={root}", *SIZE]
    if engine == "sglang":
        line += [f"{model}.dtype=bfloat16" for model in ("generator.model", "scorer_model", "judge.model")]
        line += ["train.precision=bfloat16"]
    return [sys.executable, "-m", "experiments.cli", *line]


def rows(root: Path) -> list[str]:
    """The keys of all model calls that are stored."""
    lines = [line for file in (root / "store/replay").rglob("*.jsonl") for line in file.read_text().splitlines()]
    return [json.loads(line)["key"] for line in lines if line.endswith("}")]  # the last one may be in the making


def complete(folder: Path) -> bool:
    """Whether a stage has a complete result."""
    return any(record.parent.suffix != ".part" for record in folder.glob("*/record.json"))


def soon(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, f"the run ended with code {process.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_the_main_job_outlives_its_server_and_resumes_after_its_own_death(tmp_path: Path, engine: ServerEngine) -> None:
    (program, *_), command = engines_here(engine).program(engine), run(tmp_path, engine)
    store = tmp_path / "store"

    def amid(stage: str) -> Callable[[], bool]:
        """Whether a stage is at work and has stored answers since it began."""
        before: list[int] = []

        def check() -> bool:
            if not any((store / stage).glob("*.part")):
                return False
            before.append(len(rows(tmp_path)))
            return before[-1] > before[0]

        return check

    with (tmp_path / "first.log").open("wb") as log:
        first = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
    soon(amid("refine"), first)
    family = psutil.Process(first.pid).children(recursive=True)
    next(process for process in family if program in process.cmdline()[:2]).kill()
    soon(amid("generate"), first)
    family = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive, "no process of the run is left"
    kept = rows(tmp_path)
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [stage for stage in STAGES if not complete(store / stage)] == []
    assert "started again" in "".join(file.read_text() for file in (tmp_path / "engines").glob("*.log"))
    assert [key for key, times in Counter(rows(tmp_path)).items() if times > 1] == []
    assert set(kept) <= set(rows(tmp_path))
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]
