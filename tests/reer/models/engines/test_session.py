"""A model behind an engine's servers: the same protocol as in process, through either wire format."""

from collections.abc import Iterator
from typing import cast

import pytest

from reer.models.engines.session import EngineSession
from reer.models.placement import Placement, ServerEngine
from reer.models.protocols import LoadedModel, Passage, Sampling
from tests.fakes import engine as fake
from tests.fakes.calls import completions, scores
from tests.fakes.engines import device, tiny
from tests.fakes.http import request
from tests.fakes.texts import passages, prompt

GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=32)
CONTEXT = 200


@pytest.fixture(scope="module", params=["vllm", "sglang"])
def session(request: pytest.FixtureRequest) -> Iterator[EngineSession]:
    engine: ServerEngine = request.param
    with tiny(engine).open(device(placement=Placement(context_tokens=CONTEXT))) as opened:
        yield cast(EngineSession, opened)


def test_it_is_a_generator_and_a_scorer_with_the_name_of_its_model(session: EngineSession) -> None:
    assert isinstance(session, LoadedModel)
    assert session.name in (tiny("vllm").name, tiny("sglang").name)


def test_scores_are_those_of_the_tokens_in_process(session: EngineSession) -> None:
    asked = passages(12)
    for passage, nats in zip(asked, scores(session, asked), strict=True):
        context, answer = session.tokens.passage_ids(passage)
        ids = [*context, *answer]
        assert nats == pytest.approx([-fake.logprob(ids[:at], ids[at]) for at in range(len(context), len(ids))])


def test_a_completion_ends_at_an_end_token_which_counts_and_is_no_text(session: EngineSession) -> None:
    (done,) = completions(session, [request("Tell me", sampling=GREEDY)])
    ids = session.tokens.context_ids(prompt("Tell me"))
    wanted, _ = fake.written(ids, 32, {"temperature": 0, "stop_token_ids": list(session.ends)}, 0)
    assert done.text == session.tokens.tokenizer.decode(wanted[:-1])
    assert (done.stopped, done.tokens, done.prompt_tokens) == ("stop", len(wanted), len(ids))


def test_a_seed_decides_and_a_limit_cuts(session: EngineSession) -> None:
    warm = Sampling(temperature=1.0, top_p=0.9, max_tokens=2)
    first, same, other = completions(session, [request("q", seed, warm) for seed in (1, 1, 2)])
    assert first == same != other
    assert (first.stopped, first.tokens) == ("length", 2)


def test_what_exceeds_the_context_is_said_and_not_sent(session: EngineSession) -> None:
    asked = [request("word " * CONTEXT), request("a"), request("x" * (CONTEXT - 30), sampling=GREEDY)]
    too_long, fine, cut = completions(session, asked)
    assert too_long.stopped == "prompt_too_long"
    assert fine.stopped == "stop"
    assert cut.prompt_tokens + cut.tokens <= CONTEXT
    assert scores(session, [Passage(prompt("word " * CONTEXT), "answer")]) == [None]


def test_an_answer_is_greedy_where_each_token_is_the_likeliest(session: EngineSession) -> None:
    context = session.tokens.context_ids(prompt("q"))
    likeliest = fake.likeliest(context)
    rated = dict(session.rate([(context, [likeliest]), (context, [likeliest + 1])]))
    assert (rated[0].is_greedy, rated[1].is_greedy) == (True, False)
    assert rated[0].nats == pytest.approx([-fake.logprob(context, likeliest)])
