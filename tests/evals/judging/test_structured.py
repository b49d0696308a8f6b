"""Replies that a server holds to a JSON schema: what is sent, what is refused, and that the strict parser reads it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evals.benchmark import Benchmark, JudgeCall
from evals.judging.judge import Judge
from evals.judging.pairwise import Pairwise, PairwiseBenchmark
from evals.judging.records import Judgements
from evals.judging.session import JudgeSession
from evals.judging.verdicts import judge_all
from reer.errors import InputError
from reer.models.engines.wire import WIRES, Writing
from reer.models.protocols import Device, Prompt, Request, Sampling
from reer.models.scripted import ScriptedModel
from reer.models.services.anthropic import AnthropicServer
from reer.models.services.openai import ChatServer
from reer.types import Message
from tests.fakes.judging import ANSWERS, BENCHMARK, ITEMS
from tests.fakes.plans import compose

SAMPLING = Sampling(temperature=0.5, top_p=1.0, max_tokens=99)
SCHEMA = '{"type": "object", "properties": {"score": {"type": "integer", "enum": [2, 1]}}}'
HELD = Request(Prompt((Message("user", "Grade it."),)), SAMPLING, 7, schema=SCHEMA)
FREE = replace(HELD, schema=None)
SCRIPTED = Judge(name="scripted", model=ScriptedModel(), temperature=0.5, top_p=1.0, max_tokens=40, attempts=1)


def benchmarks() -> list[Benchmark]:
    """Every benchmark whose prompts ask for an object."""
    exp = compose("scale=smoke", "benchmark=[writing,writingbench,longbench_write]", "judge=scripted")
    pairwise = PairwiseBenchmark(Pairwise(prompt="{{prompt}}{{first}}{{second}}"), tuple(ITEMS), {})
    return [*exp.benchmarks.values(), pairwise]  # pyright: ignore[reportReturnType]  # lm-eval is not among them


@pytest.mark.parametrize("benchmark", benchmarks(), ids=lambda benchmark: benchmark.name)
@pytest.mark.parametrize("seed", range(5))
def test_every_reply_of_a_schema_is_a_verdict(benchmark: Benchmark, seed: int) -> None:
    schema = replace(SCRIPTED, structured=True).schema_of(benchmark)
    with ScriptedModel(seed).open(Device()) as model:
        ((_, reply),) = model.generate([replace(HELD, schema=schema)])
    scores = benchmark.parse(JudgeCall("i0", "first", HELD.prompt), reply.text)
    assert scores
    assert all(isinstance(score, float) for score in scores.values())


@pytest.mark.parametrize(
    ("model", "field"),
    [
        (ChatServer(model="m", base_url="http://127.0.0.1:1/v1"), "response_format"),
        (AnthropicServer(model="m"), "output_config"),
    ],
)
def test_a_service_is_sent_the_schema_in_its_own_field(model: ChatServer | AnthropicServer, field: str) -> None:
    body, free = model.body(HELD), model.body(FREE)
    held = body.pop(field)
    assert body == free
    described = held["json_schema"] if field == "response_format" else held["format"]
    assert described["schema"] == json.loads(SCHEMA)
    assert list(described["schema"]["properties"]["score"]["enum"]) == [2, 1], "the order is the prompt's"


def test_an_engine_is_sent_the_schema_in_its_own_parameter() -> None:
    held = Writing(context=[1], sampling=SAMPLING, seed=7, limit=9, ends=[2], schema=SCHEMA)
    vllm, sglang = (WIRES[engine].write("m", held).body for engine in ("vllm", "sglang"))
    assert vllm["structured_outputs"] == {"json": json.loads(SCHEMA)}
    assert sglang["sampling_params"]["json_schema"] == SCHEMA
    free = WIRES["vllm"].write("m", replace(held, schema=None)).body
    assert "structured_outputs" not in free


def test_a_verdict_held_to_a_schema_is_another_one_than_a_free_one(tmp_path: Path) -> None:
    for judge in (SCRIPTED, replace(SCRIPTED, structured=True)):
        with JudgeSession(judge, Judgements(tmp_path), Device()) as session:
            verdicts = judge_all(BENCHMARK, ITEMS, ANSWERS, session)
            assert session.asked == len(ITEMS), "neither is taken for the other"
            records = [session.records.find(verdict.records[0]) for verdict in verdicts]
            assert [r.schema for r in records if r] == [judge.schema_of(BENCHMARK)] * len(ITEMS)


def test_the_numbers_of_the_authors_are_left_out_where_replies_are_held_to_a_schema() -> None:
    assert SCRIPTED.asks_as_published
    assert not replace(SCRIPTED, structured=True).asks_as_published


def test_prompts_that_ask_for_a_list_are_refused() -> None:
    (hellobench,) = compose("scale=smoke", "benchmark=[hellobench]").benchmarks.values()
    assert isinstance(hellobench, Benchmark)
    with pytest.raises(InputError, match="prompts of hellobench ask for another form than one JSON object"):
        replace(SCRIPTED, structured=True).require_form_of(hellobench)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["judge=local"], "leave out judge.prefill, judge.stop and judge.grades"),
        (["judge=qwen25_7b"], r"transformers cannot be held to a JSON schema; .* choose engine=vllm"),
        (["judge=gpt_55", "judge.model.send_schema=false"], "cannot be held to a JSON schema"),
    ],
)
def test_a_judge_that_cannot_be_held_to_a_schema_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compose("scale=smoke", "judge.structured=true", *overrides)


def test_engines_and_services_hold_to_schemas() -> None:
    for overrides in (["judge=qwen25_7b", "judge.model.engine=sglang"], ["judge=gpt_55"], ["judge=claude_46_sonnet"]):
        assert compose("scale=smoke", "judge.structured=true", *overrides).judge.structured  # pyright: ignore[reportAttributeAccessIssue]
