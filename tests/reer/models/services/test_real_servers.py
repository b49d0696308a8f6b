"""Real servers on this machine: the same scores and the same greedy words as the model in process.

vLLM: a server that holds the bundled model in fp32 under the name `smol`, its address in `$REER_VLLM_URL`; FOLDER is
where `reer.models.local.checkpoints` keeps the model:
`vllm serve FOLDER --served-model-name smol --dtype float32 --max-model-len 4096 --enforce-eager`.
llama.cpp (generation only: it returns no log-probabilities of a prompt): the GGUF file of the bundled model behind
`llama-server` or `xllamacpp.Server`, its address in `$REER_LLAMACPP_URL`.
"""

import os
from collections.abc import Iterator

import pytest

from experiments.experiment import Experiment
from reer.data.rows import Problems
from reer.models.local.model import LocalSession
from reer.models.protocols import Device, Passage, Prompt, Request, Sampling
from reer.models.services.openai import ChatServer
from reer.models.services.scoring_servers import ScoringServer
from reer.types import Message
from tests.fakes.calls import completions, scores
from tests.fakes.plans import compose

pytestmark = pytest.mark.slow


def address(variable: str, server: str) -> str:
    """The root address in an environment variable; without one the test is skipped."""
    if variable not in os.environ:
        pytest.skip(f"no server: set {variable} to the root address of {server} that serves the bundled model")
    return os.environ[variable]


@pytest.fixture(scope="module")
def url() -> str:
    return address("REER_VLLM_URL", "a vLLM")


@pytest.fixture(scope="module")
def llamacpp_url() -> str:
    return address("REER_LLAMACPP_URL", "a llama.cpp server")


@pytest.fixture(scope="module")
def x() -> Experiment:
    return compose("tracking=silent")


@pytest.fixture(scope="module")
def local(x: Experiment) -> Iterator[LocalSession]:
    with x.scorer.model.open(Device("cpu")) as session:
        yield session


def prompt(text: str, prefill: str = "") -> Prompt:
    return Prompt((Message("user", text),), prefill)


def test_a_real_vllm_scores_like_the_model_in_process(url: str, x: Experiment, local: LocalSession) -> None:
    rows = list(x.source.rows(Problems("error")))[:6]
    asked = [
        Passage(
            prompt(row.query or "", f"<think>\nI think of number {n}.\n</think>\n<answer>\n"), row.solution, f"p{n}"
        )
        for row in rows
        for n in range(2)
    ]
    server = ScoringServer(
        engine="vllm_completions",
        checkpoint=x.student.checkpoint,
        dtype="float32",
        limit_tokens=4096,
        served_as="smol",
        base_url=url,
    )
    with server.open(Device()) as session:
        served = scores(session, asked)
    for found, wanted in zip(served, scores(local, asked), strict=True):
        assert found is not None
        assert found == pytest.approx(wanted, abs=1e-3)
        assert sum(found) / len(found) == pytest.approx(sum(wanted or ()) / len(found), abs=1e-4)


def test_a_real_vllm_writes_what_the_model_in_process_writes(url: str, local: LocalSession) -> None:
    greedy = Sampling(temperature=0.0, top_p=1.0, max_tokens=16)
    asked = [Request(prompt("Name three colours."), greedy, 0), Request(prompt("Count.", "One, two,"), greedy, 0)]
    with ChatServer(model="smol", base_url=f"{url}/v1").open(Device()) as session:
        served = completions(session, asked)
    assert [reply.text.strip() for reply in served] == [reply.text.strip() for reply in completions(local, asked)]


def test_a_real_llamacpp_begins_like_the_model_in_process(llamacpp_url: str, local: LocalSession) -> None:
    """Its activations are 8 bits wide, so only the first words of clear cases agree; a prefill is continued, not given
    back, equal seeds give equal words, and a stop string ends them."""
    greedy, free = (
        Sampling(temperature=0.0, top_p=1.0, max_tokens=12),
        Sampling(temperature=0.9, top_p=0.95, max_tokens=24),
    )
    counting = Request(prompt("Count to ten.", "One, two, three,"), greedy, 0)
    stopped = Request(counting.prompt, Sampling(temperature=0.0, top_p=1.0, max_tokens=24, stop=("seven",)), 0)
    drawn = [Request(prompt("Tell me a story.", "<think>\n"), free, seed) for seed in (1, 1, 2)]
    with ChatServer(model="smol", base_url=f"{llamacpp_url}/v1", concurrency=1).open(Device()) as session:
        told, cut = completions(session, [counting, stopped])
        stories = [reply.text for request in drawn for reply in completions(session, [request])]
    (wanted,) = completions(local, [counting])
    assert told.text.strip().startswith("four, five")
    assert wanted.text.strip().startswith("four, five")
    assert (told.stopped, cut.stopped) == ("length", "stop")
    assert "six" in cut.text
    assert "seven" not in cut.text
    assert stories[0] == stories[1] != stories[2]
