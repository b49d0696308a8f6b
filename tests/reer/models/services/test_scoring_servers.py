"""Scoring servers: every wire format gives the scores of the model in process, and one that gives others is refused."""

import base64
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from reer.calls import all_of
from reer.errors import Incomplete, InputError
from reer.models.http.client import Unreadable
from reer.models.local.checkpoints import TinyModel
from reer.models.local.model import LocalModel, LocalSession
from reer.models.protocols import Device, Nats, Passage
from reer.models.services.scoring_servers import CACHED_TOKENS, ENGINES, ScoringServer, ScoringSession, checked
from tests.fakes.calls import scores
from tests.fakes.http import Act, Handler, Serve, respond
from tests.fakes.texts import passages, prompt

Fault = Callable[[list[float]], list[Any]]
WIRES = sorted(ENGINES)
BLOCK = 16  # tokens that a prefix cache holds or lacks together


@pytest.fixture(scope="module")
def session() -> Iterator[LocalSession]:
    with LocalModel(TinyModel()).open_here(Device("cpu")) as opened:
        yield opened


@pytest.fixture(scope="module")
def other() -> Iterator[LocalSession]:
    with LocalModel(TinyModel(seed=1)).open_here(Device("cpu")) as opened:
        yield opened


def logprobs(session: LocalSession, ids: list[int]) -> tuple[list[float], int, float]:
    """log p of each token after the first given those before it, and the likeliest next token with its own."""
    with torch.inference_mode():
        rows = session.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
    given = [float(rows[i, token]) for i, token in enumerate(ids[1:])]
    return given, int(rows[-1].argmax()), float(rows[-1].max())


def speaks(
    session: LocalSession,
    fault: Fault = lambda values: values,
    status: int = 200,
    counts_cached: bool = True,
) -> Act:
    """A server that holds the tiny model and speaks all wire formats, `fault` applied to what it says. If it is to read
    its prefix cache, the rows of cached tokens are those of no token."""
    cached: list[list[int]] = []

    def tokens_cached(ids: list[int]) -> int:
        ends = (end for end in range(len(ids) - 1, 0, -1) if any(old[:end] == ids[:end] for old in cached))
        return next(ends, 0) // BLOCK * BLOCK

    def prompt_rows(ids: list[int], values: list[Any], hit: int) -> list[Any]:
        rows = [{str(token): {"logprob": value, "rank": 1}} for token, value in zip(ids[1:], values, strict=False)]
        return [None, *[{"-7": {"logprob": 1e35, "rank": 0}}] * hit, *rows[hit:]]

    def act(handler: Handler) -> None:
        body: dict[str, Any] = handler.asked
        settings = body.get("sampling_params", body)
        ids = body.get("input_ids") or body.get("prompt") or body["token_ids"]
        given, token, best = logprobs(session, ids)
        reply: dict[str, Any]
        if "skip_reading_prefix_cache" in settings:
            hit = 0 if settings["skip_reading_prefix_cache"] else tokens_cached(ids)
            cached.append(ids)
            counts = {"prompt_tokens_details": {"cached_tokens": hit} if counts_cached else None}
            reply = {"prompt_logprobs": prompt_rows(ids, fault(given), hit), "usage": counts}
        elif handler.path.endswith("/inference/v1/generate"):
            values = np.array([fault(given[settings["prompt_logprob_start"] :])], dtype=np.float32).T
            file = io.BytesIO()
            np.save(file, values)
            reply = {"prompt_token_id_logprobs": base64.b64encode(file.getvalue()).decode()}
        elif handler.path.endswith("/v1/completions"):
            chosen = {"tokens": [f"token_id:{token}"], "token_logprobs": [best]}
            reply = {"choices": [{"prompt_logprobs": prompt_rows(ids, fault(given), 0), "logprobs": chosen}]}
        else:
            start = body.get("logprob_start_len", len(ids) - 1)
            scored = [[v, t, None] for t, v in zip(ids[start + 1 :], fault(given[start:]), strict=False)]
            reply = {"meta_info": {"input_token_logprobs": [[None, ids[start], None], *scored]}}
            reply["meta_info"]["output_token_logprobs"] = [[best, token, None]]
        respond(status, reply)(handler)

    return act


def score(url: str, engine: Any, asked: list[Passage], **settings: Any) -> list[Nats | None]:
    with scoring_server(url, engine, **settings).open(Device()) as opened:
        return scores(opened, asked)


def scoring_server(url: str, engine: Any, **settings: Any) -> ScoringServer:
    return ScoringServer(
        engine=engine,
        checkpoint=TinyModel(),
        dtype="float32",
        limit_tokens=8192,
        served_as="tiny",
        base_url=url.removesuffix("/v1"),
        **{"attempts": 1, **settings},
    )


@pytest.mark.parametrize("engine", WIRES)
def test_the_same_cases_have_the_same_scores_through_every_wire(
    serve: Serve, session: LocalSession, engine: str
) -> None:
    _, url = serve(speaks(session))
    asked = passages(24)
    for served, local in zip(score(url, engine, asked, concurrency=5), scores(session, asked), strict=True):
        assert served == pytest.approx(local, abs=1e-4)


@pytest.mark.parametrize("engine", WIRES)
def test_a_server_whose_prompt_scores_are_off_by_one_does_not_pass(
    serve: Serve, session: LocalSession, engine: str
) -> None:
    _, url = serve(speaks(session, lambda values: [*values[1:], -9.0]))
    with pytest.raises(InputError, match="its prompt scores cannot be trusted"):
        score(url, engine, passages(2))


@pytest.mark.parametrize("engine", WIRES)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda v: [1e35] * len(v), id="memory that was never written"),
        pytest.param(lambda v: [0.5] * len(v), id="above zero"),
        pytest.param(lambda v: v[:-1], id="a row too few"),
    ],
)
def test_what_is_no_score_is_an_error_and_never_a_mean(
    serve: Serve, session: LocalSession, engine: str, fault: Fault
) -> None:
    _, url = serve(speaks(session, fault))
    with pytest.raises((Incomplete, InputError), match=r"not a log-probability|rows for|are not the|a matrix of"):
        score(url, engine, passages(2))


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "-1.0", True, 0.01])
def test_what_cannot_be_a_log_probability(value: Any) -> None:
    with pytest.raises(Unreadable, match="is not a log-probability"):
        checked([-1.0, value])


def test_a_log_probability_a_hair_above_zero_is_rounding() -> None:
    assert checked([-1.5, 1e-6, 0]) == (1.5, 0.0, 0.0)


@pytest.mark.parametrize("engine", WIRES)
@pytest.mark.parametrize("value", [math.nan, -math.inf, None])
def test_a_log_probability_that_stays_none_costs_its_passage_alone(
    serve: Serve, session: LocalSession, engine: str, value: float | None
) -> None:
    """The same every time it is asked: the passage has no score, the others have theirs, and the work ends."""
    if engine == "vllm" and value is None:
        pytest.skip("a matrix of numbers holds no null")
    good, bad = speaks(session), speaks(session, lambda values: [*values[:-1], value])
    marked = str(session.tokens.ids("zzzz"))[1:-1]

    def act(handler: Handler) -> None:
        (bad if marked in json.dumps(handler.asked) else good)(handler)

    _, url = serve(act)
    asked = [Passage(prompt("q"), "first"), Passage(prompt("q"), "zzzz"), Passage(prompt("q"), "third")]
    first, lost, third = score(url, engine, asked, attempts=2)
    assert (first is None, lost, third is None) == (False, None, False)
    assert score(url, engine, asked[1:2], attempts=1) == [None], "the others may be on record"


def test_a_prompt_for_which_vllm_cannot_write_its_numbers_has_no_score(serve: Serve, session: LocalSession) -> None:
    """vLLM answers 500 where a log-probability is NaN, which JSON cannot hold."""
    good, bad = speaks(session), respond(500, {"error": "Out of range float values are not JSON compliant"})
    marked = str(session.tokens.ids("zzzz"))[1:-1]
    _, url = serve(lambda handler: (bad if marked in json.dumps(handler.asked) else good)(handler))
    assert score(url, "vllm_completions", [Passage(prompt("q"), "zzzz")], attempts=1) == [None]


def generate_calls(bodies: list[dict[str, Any]]) -> list[bool]:
    """Of each call that scores on a server with a cache, whether it asks not to read it."""
    settings = [body.get("sampling_params", {}) for body in bodies]
    return [each["skip_reading_prefix_cache"] for each in settings if "skip_reading_prefix_cache" in each]


def test_what_candidates_share_comes_from_the_cache_and_the_answer_never_does(
    serve: Serve, session: LocalSession
) -> None:
    """A passage that was scored before would have rows of its answer in the cache: it alone is computed again."""
    server, url = serve(speaks(session))
    shared = prompt("the same long beginning " * 4)
    asked = [Passage(shared, f"{number} is the first of an answer") for number in range(3)]
    with scoring_server(url, "vllm_cached", concurrency=1).open(Device()) as opened:
        opening = len(server.bodies)
        first = scores(opened, asked)
        assert generate_calls(server.bodies[opening:]) == [False] * 3
        assert scores(opened, asked[:1]) == first[:1]
        assert generate_calls(server.bodies[opening + 3 :]) == [False, True]
    for served, local in zip(first, scores(session, asked), strict=True):
        assert served == pytest.approx(local, abs=1e-4)


def without_reading(session: LocalSession, reads_fail: Callable[[int, Sequence[int]], bool]) -> Act:
    """Memory that was never written may hold NaN, for which vLLM answers 500. `reads_fail` says so of a call that
    reads the cache, from the number of such calls before it and from its tokens."""
    good, bad = speaks(session), respond(500, {"error": "Out of range float values are not JSON compliant"})
    before = count()

    def act(handler: Handler) -> None:
        reads = handler.asked.get("sampling_params", {}).get("skip_reading_prefix_cache") is False
        (bad if reads and reads_fail(next(before), handler.asked["token_ids"]) else good)(handler)

    return act


def test_rows_of_cached_tokens_that_json_cannot_hold_cost_no_score(serve: Serve, session: LocalSession) -> None:
    """The prompt is computed again; on opening, another context is tried until the cache is proven."""
    server, url = serve(without_reading(session, lambda before, ids: before < 6 or len(ids) <= BLOCK * 10))
    asked = passages(3)
    for served, local in zip(score(url, "vllm_cached", asked), scores(session, asked), strict=True):
        assert served == pytest.approx(local, abs=1e-4)
    assert sorted(generate_calls(server.bodies)[-6:]) == [False] * 3 + [True] * 3
    proofs = [
        tuple(body["token_ids"][:CACHED_TOKENS])
        for body in server.bodies
        if len(body.get("token_ids", "")) > CACHED_TOKENS
    ]
    assert len(set(proofs)) == 3


def test_a_server_whose_cache_never_gives_a_score_is_refused(serve: Serve, session: LocalSession) -> None:
    _, url = serve(without_reading(session, lambda _before, ids: len(ids) > CACHED_TOKENS))
    with pytest.raises(InputError, match=r"no scores after cached tokens for 8 new contexts; choose engine=vllm"):
        score(url, "vllm_cached", passages(2))


def test_a_server_whose_cached_scores_are_others_is_refused(serve: Serve, session: LocalSession) -> None:
    """One that says that it read less from its cache than it did returns rows that were never computed."""
    plain, stale = speaks(session), speaks(session, lambda values: [value / 2 for value in values])

    def act(handler: Handler) -> None:
        reads = handler.asked.get("sampling_params", {}).get("skip_reading_prefix_cache") is False
        (stale if reads and len(handler.asked["token_ids"]) > BLOCK * 10 else plain)(handler)

    _, url = serve(act)
    with pytest.raises(InputError, match="after cached tokens the scores of a text differ"):
        score(url, "vllm_cached", passages(2))


def test_a_server_that_does_not_count_cached_tokens_is_refused_with_the_option(
    serve: Serve, session: LocalSession
) -> None:
    _, url = serve(speaks(session, counts_cached=False))
    with pytest.raises(InputError, match="start the server with --enable-scale-out --enable-prompt-tokens-details"):
        score(url, "vllm_cached", passages(2))


def test_other_tokens_than_those_sent_are_noticed(session: LocalSession) -> None:
    read = ENGINES["sglang"].score("m", [1, 2], [3, 4]).read
    with pytest.raises(Unreadable, match="are not the 2 tokens of the answer"):
        read({"meta_info": {"input_token_logprobs": [[None, 2, None], [-1.0, 3, None], [-1.0, 5, None]]}})


def test_a_null_matrix_is_no_score(session: LocalSession) -> None:
    """vLLM answers null when its cache held rows that were to be scored."""
    with pytest.raises(TypeError):
        ENGINES["vllm"].score("m", [1, 2], [3]).read({"prompt_token_id_logprobs": None})


def test_a_pickle_in_the_place_of_a_matrix_is_not_opened() -> None:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        ENGINES["vllm"].score("m", [1], [3]).read(
            {"prompt_token_id_logprobs": base64.b64encode(file.getvalue()).decode()}
        )


def test_what_exceeds_the_servers_context_has_no_score_and_is_not_sent(serve: Serve, session: LocalSession) -> None:
    server, url = serve(speaks(session))
    root = url.removesuffix("/v1")
    with ScoringServer(
        engine="sglang", checkpoint=TinyModel(), dtype="float32", limit_tokens=120, served_as="tiny", base_url=root
    ).open(Device()) as opened:
        sent = len(server.bodies)
        found = scores(opened, [Passage(prompt("q"), "x" * 200), Passage(prompt("q"), "short")])
    assert (found[0], len(server.bodies) - sent) == (None, 1)
    assert found[1] == pytest.approx(scores(session, [Passage(prompt("q"), "short")])[0], abs=1e-4)


def test_every_replica_has_to_prove_itself(serve: Serve, session: LocalSession) -> None:
    (_, good), (_, bad) = serve(speaks(session)), serve(speaks(session, lambda v: [value - 1 for value in v]))
    with pytest.raises(InputError, match=bad.removesuffix("/v1")):
        score(good, "sglang", passages(1), replicas=(bad.removesuffix("/v1"),))


def test_the_name_holds_weights_precision_and_engine_and_no_address(serve: Serve, session: LocalSession) -> None:
    _, url = serve(speaks(session))
    with ScoringServer(
        engine="vllm",
        checkpoint=TinyModel(),
        dtype="bfloat16",
        limit_tokens=8192,
        served_as="x",
        base_url=url.removesuffix("/v1"),
    ).open(Device()) as opened:
        assert opened.name == f"{TinyModel().name}/bfloat16/vllm-server"


@pytest.mark.parametrize("engine", WIRES)
def test_a_scorer_that_restarts_with_another_model_stops_the_work(
    serve: Serve, session: LocalSession, other: LocalSession, engine: str
) -> None:
    """Scores that come after an interruption are handed on only if the server still scores a fixed text as before."""
    restarted: list[bool] = []
    same_model, other_model = speaks(session), speaks(other)

    def act(handler: Handler) -> None:
        if restarted == [True]:
            restarted.append(True)
            respond(500, {"error": "restarting"})(handler)
        else:
            (other_model if restarted and another else same_model)(handler)

    _, url = serve(act)
    server = scoring_server(url, engine, attempts=3, concurrency=1)
    asked = passages(4)
    for another in (False, True):
        restarted.clear()
        with server.open(Device()) as opened:
            first = scores(opened, asked)
            restarted.append(True)
            if another:
                with pytest.raises(InputError, match="it serves another model"):
                    next(opened.score(asked))
            else:
                assert scores(opened, asked) == first


def in_flight(opened: ScoringSession, asked: Sequence[Passage]) -> list[Nats | None]:
    return opened.client.runner.run(all_of(opened.nats_of(passage) for passage in asked))


@pytest.mark.parametrize("engine", WIRES)
def test_passages_in_flight_together_have_the_scores_of_a_batch(
    serve: Serve, session: LocalSession, engine: str
) -> None:
    _, url = serve(speaks(session))
    asked = [*passages(6), Passage(prompt("q " * 9000), "too long")]
    with scoring_server(url, engine).open(Device()) as opened:
        assert in_flight(opened, asked) == scores(opened, asked)


def test_a_score_that_comes_after_an_interruption_waits_until_the_server_has_proved_itself(
    serve: Serve, session: LocalSession
) -> None:
    server, url = serve(speaks(session))
    with scoring_server(url, "sglang", attempts=3, concurrency=2).open(Device()) as opened:
        proof = len(server.bodies)
        first = in_flight(opened, passages(4))
        assert len(server.bodies) == proof + 4
        server.acts = [respond(500, {"error": "restarting"}), speaks(session)]
        assert in_flight(opened, passages(4)) == first
        assert len(server.bodies) == proof + 4 + 5 + proof
        server.acts = [respond(500, {"error": "restarting"}), speaks(session, lambda values: [v - 1 for v in values])]
        with pytest.raises(InputError, match="cannot be trusted"):
            in_flight(opened, passages(4))
