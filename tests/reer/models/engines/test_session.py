"""A model behind an engine's servers: the same protocol as in process, through either wire format."""

from collections.abc import Iterator
from typing import cast, get_args

import pytest

from reer.calls import all_of
from reer.models.engines.session import EngineSession
from reer.models.placement import Placement, ServerEngine
from reer.models.protocols import ConcurrentGenerator, ConcurrentScorer, LoadedModel, Passage, Sampling, generated
from tests.fakes import engine as fake
from tests.fakes.calls import completions, scores
from tests.fakes.engines import device, tiny
from tests.fakes.http import request
from tests.fakes.texts import passages, prompt

GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=32)
CONTEXT = 200


@pytest.fixture(scope="module", params=["vllm", "vllm_cached", "sglang"])
def session(request: pytest.FixtureRequest) -> Iterator[EngineSession]:
    engine: ServerEngine = request.param
    with tiny(engine).open(device(placement=Placement(context_tokens=CONTEXT))) as opened:
        yield cast(EngineSession, opened)


def test_it_is_a_generator_and_a_scorer_with_the_name_of_its_model(session: EngineSession) -> None:
    assert isinstance(session, LoadedModel)
    assert isinstance(session, ConcurrentGenerator)
    assert isinstance(session, ConcurrentScorer)
    assert session.name in {tiny(engine).name for engine in get_args(ServerEngine)}


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


def test_single_requests_are_answered_as_in_a_call(session: EngineSession) -> None:
    asked = [request("a"), request("word " * CONTEXT), request("b", 3, GREEDY)]
    wanted = [*passages(3), Passage(prompt("word " * CONTEXT), "answer")]
    run = session.client.runner.run
    assert run(all_of(session.complete(each) for each in asked)) == completions(session, asked)
    assert run(all_of(session.nats_of(each) for each in wanted)) == scores(session, wanted)


def test_a_slow_completion_of_an_engine_holds_up_no_other() -> None:
    asked = [request(f"question {n}", n, GREEDY) for n in range(24)]
    slow = device("--delays", "--hold", "16")
    with tiny().open(slow) as session:
        came = list(generated(session, asked, 4))
    order = [at for at, _ in came]
    assert max(order.index(at) for at in range(4)) >= 8, "one of the first was held"
    with tiny().open(device()) as session:
        assert dict(came) == dict(session.generate(asked))


def test_an_engine_has_no_more_calls_in_flight_than_their_tokens_allow() -> None:
    with tiny().open(device("--delays", placement=Placement(tokens=1))) as opened:
        session = cast(EngineSession, opened)
        (replica,) = session.client.replicas.values()
        replies = generated(session, [request(f"question {n}") for n in range(6)], 4)
        assert [replica.limiter.in_flight for _ in replies] == [1, 1, 1, 1, 1, 0]


def test_within_a_session_its_thread_gets_the_same_one_again() -> None:
    """So the bounds of calls in flight hold for whoever asks the model, and its proof is given once."""
    place = device(placement=Placement(calls=2))
    with tiny().open(place) as first:
        with tiny().open(place) as second, tiny(seed=1).open(place) as other:
            assert second is first
            assert other is not first
        assert list(generated(first, [request("still open")], 1))
    with tiny().open(place) as later:
        assert later is not first
