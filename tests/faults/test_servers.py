"""Model servers that limit, fail, hang, restart or answer as another model: bounded waiting, one item lost at most, and
the work of the others kept."""

from __future__ import annotations

import base64
import io
import socket
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest

from reer.errors import Incomplete, InputError
from reer.models.http.adaptive_limit import MAX_PAUSE_SECONDS, retry_after
from reer.models.http.replies import UNREADABLE
from reer.models.protocols import Completion, Device, Generator
from reer.models.services.openai import ChatServer
from reer.models.services.scoring_servers import ENGINES, checked
from tests.fakes.calls import completions
from tests.fakes.http import Act, Handler, Serve, ask, cuts_off, hangs, request, respond, says
from tests.fakes.virtual_time import Scripted, completion, opened


def for_prompt(text: str, act: Act, others: Act) -> Act:
    """`act` for this prompt, `others` for all other prompts."""
    return lambda handler: (act if handler.asked["messages"][0]["content"] == text else others)(handler)


def collect(generator: Generator, texts: Sequence[str], replies: dict[str, Completion]) -> None:
    """Add the replies by prompt as they come."""
    for i, reply in generator.generate([request(text) for text in texts]):
        replies[texts[i]] = reply


def answered(url: str, *texts: str, **settings: Any) -> dict[str, Completion]:
    """The replies by prompt, as far as they came before the calls were given up."""
    replies: dict[str, Completion] = {}
    server = ChatServer(model="m", base_url=url, **{"health_check": False, "attempts": 2, **settings})
    with server.open(Device()) as session, pytest.raises(Incomplete):
        collect(session, texts, replies)
    return replies


def dated(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "3600"}, MAX_PAUSE_SECONDS),
        ({"retry-after": "1e999"}, 0),
        ({"retry-after": "9" * 400}, MAX_PAUSE_SECONDS),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, MAX_PAUSE_SECONDS),
        ({"retry-after": "Mon, 99 Foo 0000"}, 0),
    ],
)
def test_fault_25_a_requested_wait_is_kept_up_to_a_cap(headers: dict[str, str], seconds: float) -> None:
    """`Retry-After` in seconds, milliseconds or as a date is kept, up to two minutes; nonsense counts as none."""
    assert retry_after(headers) == pytest.approx(seconds, abs=2)


@pytest.mark.parametrize(("ahead", "seconds"), [(30, 30), (-30, 0)])
def test_fault_25_a_wait_until_a_date_is_kept(ahead: float, seconds: float) -> None:
    """A date in the future is waited for, one in the past is not."""
    assert retry_after({"retry-after": dated(ahead)}) == pytest.approx(seconds, abs=2)


def test_fault_25_a_limit_loses_no_call_and_lowers_concurrency() -> None:
    """Each call that met a 429 is answered later; fewer are in flight, and they do not all resume at once."""
    limited = iter([Scripted(429, {}, retry_after_seconds=20.0)] * 8)
    with opened(lambda prompt, now: next(limited, completion(prompt, seconds=1.0)), concurrency=8) as server:
        replies = completions(server.session, [request(str(i)) for i in range(8)])
        (replica,) = server.session.client.replicas.values()
        assert replica.limiter.limit < 8
    assert [reply.text for reply in replies] == [str(i) for i in range(8)]
    resumed = server.transport.times[8:]
    assert min(resumed) >= 20
    assert len(set(resumed)) == len(resumed)


def ends_in_a_chunk(handler: Handler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b'ff\r\n{"choices": [')
    handler.close_connection = True


@pytest.mark.parametrize(
    "act",
    [respond(500, {}), respond(502, b"<html>"), respond(503, {}), cuts_off, ends_in_a_chunk, hangs(0.0)],
    ids=["500", "502", "503", "reset", "chunk", "closed"],
)
def test_fault_26_a_failing_call_is_given_up_alone(serve: Serve, act: Act) -> None:
    """A call that fails at each of its attempts has no answer; the others are answered, and the run is incomplete."""
    server, url = serve(for_prompt("bad", act, says("x")))
    replies = answered(url, "a", "bad", "b")
    assert sorted(replies) == ["a", "b"]
    assert sum(body["messages"][0]["content"] == "bad" for body in server.bodies) == 2


def test_fault_26_tls_and_name_errors_are_bounded(serve: Serve) -> None:
    """A server without TLS behind https:// and a name that does not resolve are given up after the attempts."""
    _, url = serve(says("x"))
    assert answered(url.replace("http://", "https://"), "a", timeout_seconds=5.0) == {}
    assert answered("http://host.invalid/v1", "a", timeout_seconds=5.0) == {}


@pytest.mark.parametrize("status", [401, 403, 404])
def test_fault_27_what_concerns_every_call_stops_at_once(serve: Serve, status: int) -> None:
    """A wrong key, permission or address is not retried and stops the stage."""
    server, url = serve(respond(status, {"error": "no"}))
    with pytest.raises(InputError, match=f"HTTP {status}"):
        ask(url, request("a"), request("b"), concurrency=1)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("act", "stopped"),
    [
        (respond(400, {"error": "flagged by the content filter"}), "refused"),
        (respond(413, {"error": "maximum context length exceeded"}), "prompt_too_long"),
    ],
)
def test_fault_27_what_concerns_one_call_is_its_answer(serve: Serve, act: Act, stopped: str) -> None:
    """A rejection of one call's content is not retried; the others are answered."""
    server, url = serve(for_prompt("bad", act, says("x")))
    replies = ask(url, request("a"), request("bad"), request("b"))
    assert [reply.stopped for reply in replies] == ["stop", stopped, "stop"]
    assert len(server.bodies) == 3


def dribbles(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b" ")
        time.sleep(0.05)


@pytest.mark.parametrize("act", [hangs(2.0), dribbles], ids=["hangs", "dribbles"])
def test_fault_28_a_server_that_does_not_finish_is_left_at_the_deadline(serve: Serve, act: Act) -> None:
    """A reply that never comes, or comes byte by byte, ends at the deadline of the attempt; others go on."""
    _, url = serve(for_prompt("bad", act, says("x")))
    start = time.monotonic()
    assert sorted(answered(url, "a", "bad", "b", attempts=1, timeout_seconds=0.3)) == ["a", "b"]
    assert time.monotonic() - start < 1.5


def test_fault_29_an_outage_pauses_and_resumes() -> None:
    """While a server is down only probes are sent; when it answers again every call is answered."""
    with opened(
        lambda prompt, now: completion(prompt) if now > 300 else Scripted(500, {}), concurrency=4, attempts=6
    ) as server:
        replies = completions(server.session, [request(str(i)) for i in range(200)])
        sent_while_down = sum(time < 300 for time in server.transport.times)
    assert [reply.text for reply in replies] == [str(i) for i in range(200)]
    assert sent_while_down < 40


def test_fault_29_a_long_outage_is_given_up_with_its_state() -> None:
    """After `outage_seconds` the server is given up: few calls were sent, no item became a failure by itself, and the
    same session can ask again."""
    with opened(
        lambda prompt, now: completion(prompt) if now > 5000 else Scripted(500, {}), concurrency=4, outage_seconds=900.0
    ) as server:
        requests = [request(str(i)) for i in range(1000)]
        with pytest.raises(Incomplete, match="calls have no answer"):
            completions(server.session, requests)
        assert len(server.transport.calls) < 100
        server.wait(5000)
        assert len(completions(server.session, requests)) == 1000


def named(model: str, fingerprint: str | None = None) -> Act:
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    return respond(200, {"choices": [choice], "usage": usage, "model": model, "system_fingerprint": fingerprint})


def test_fault_30_another_model_behind_the_address_stops_the_work(serve: Serve) -> None:
    """A server that restarts with another model stops the work: results of two models are never mixed."""
    _, url = serve(named("model-a", "fp1"), named("model-a", "fp2"), respond(503, {}), named("model-b"))
    replies: dict[str, Completion] = {}
    server = ChatServer(model="m", base_url=url, concurrency=1, reroutes="record")
    refused = pytest.raises(InputError, match=r"'model-b' answers now, 'model-a' did before.*must not be mixed")
    with server.open(Device()) as session, refused:
        collect(session, "012", replies)
    assert list(replies) == ["0"], "the health check and the first call were answered by the first model"


def test_fault_30_a_server_that_restarts_with_the_same_model_goes_on(serve: Serve) -> None:
    """A restart with the same model costs no answer; a new fingerprint of the same model is no other model."""
    _, url = serve(named("model-a", "fp1"), respond(503, {}), cuts_off, named("model-a", "fp2"))
    with ChatServer(model="model-a", base_url=url, concurrency=1).open(Device()) as session:
        assert len(completions(session, [request(str(i)) for i in range(3)])) == 3


def test_fault_31_a_health_check_generates(serve: Serve) -> None:
    """An engine that is dead behind a server that still answers GET is found before any work."""

    def act(handler: Handler) -> None:
        alive = handler.command == "GET"
        (respond(200, {"version": "1"}) if alive else respond(500, {"error": "engine dead"}))(handler)

    server, url = serve(act)
    with pytest.raises(Incomplete, match="engine dead"):
        ask(url, health_check=True, attempts=1)
    assert len(server.bodies) == 1


def scored(engine: str, logprobs: Any) -> object:
    """An engine's reply with these log-probabilities for the answer 5, 6 after the context 1, 2."""
    if engine == "sglang":
        rows = [[None, 2, None], *([value, token, None] for value, token in zip(logprobs, (5, 6, 7), strict=False))]
        return {"meta_info": {"input_token_logprobs": rows}}
    if engine == "vllm":
        file = io.BytesIO()
        np.save(file, np.array([logprobs], dtype=object if None in logprobs else np.float64).T, allow_pickle=True)
        return {"prompt_token_id_logprobs": base64.b64encode(file.getvalue()).decode()}
    rows = [None, {"2": {"logprob": -1.0}}]
    rows += [{str(token): {"logprob": value}} for value, token in zip(logprobs, (5, 6, 7), strict=False)]
    if engine == "vllm_cached":
        return {"prompt_logprobs": rows, "usage": {"prompt_tokens_details": {"cached_tokens": 0}}}
    return {"choices": [{"prompt_logprobs": rows}]}


@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize(
    "logprobs",
    [[-1.0], [-1.0, -1.0, -1.0], [None, -1.0], [float("nan"), -1.0], [float("-inf"), -1.0], [0.5, -1.0], [-1e35, -1.0]],
    ids=str,
)
def test_fault_32_log_probabilities_that_do_not_fit_are_no_score(engine: str, logprobs: list[Any]) -> None:
    """Too few or too many values, none, NaN, infinite or positive ones, and other tokens than those that were sent make
    the reply unreadable; there is never a mean of what is left."""
    call = ENGINES[engine].score("m", [1, 2], [5, 6])
    assert call.read(scored(engine, [-1.0, -0.5])) == (1.0, 0.5)
    with pytest.raises(UNREADABLE):
        call.read(scored(engine, logprobs))


@pytest.mark.parametrize("cached", [2, 3, 10**6, None, "1"])
def test_fault_32_rows_of_cached_tokens_are_no_scores(cached: object) -> None:
    """A cache that reaches into the answer leaves rows that were never computed; without a count nobody knows."""
    reply = scored("vllm_cached", [-1.0, -0.5])
    assert isinstance(reply, dict)
    reply["usage"] = {"prompt_tokens_details": {"cached_tokens": cached}}
    with pytest.raises(UNREADABLE):
        ENGINES["vllm_cached"].score("m", [1, 2], [5, 6]).read(reply)


@pytest.mark.parametrize("engine", ["sglang", "vllm_cached", "vllm_completions"])
def test_fault_32_scores_of_other_tokens_are_refused(engine: str) -> None:
    """Values for other tokens than those of the answer are no score."""
    call = ENGINES[engine].score("m", [1, 2], [5, 9])
    with pytest.raises(UNREADABLE):
        call.read(scored(engine, [-1.0, -0.5]))


@pytest.mark.parametrize("value", [10**400, True, "-1", None, [], float("nan")])
def test_fault_32_a_value_of_another_kind_is_no_log_probability(value: object) -> None:
    """Integers too large for a float, texts and truth values are no log-probabilities."""
    with pytest.raises(ValueError, match="is not a log-probability"):
        checked([value])


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 3.0, None, "x"])
def test_fault_32_a_generated_token_without_a_log_probability_is_unreadable(engine: str, value: object) -> None:
    """A server is not validated against a NaN, which differs from no score by more than the tolerance."""
    reply = {
        "meta_info": {"output_token_logprobs": [[value, 5, None]]},
        "choices": [{"logprobs": {"tokens": ["token_id:5"], "token_logprobs": [value]}}],
    }
    with pytest.raises(UNREADABLE):
        ENGINES[engine].next_token("m", [1, 2]).read(reply)


def too_large() -> bytes:
    """A .npy file whose header claims more numbers than memory can hold."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": (10**15, 1), "fortran_order": False, "descr": "<f8"})
    return file.getvalue()


BROKEN = (b"", b"PK\x05\x06" + bytes(18), too_large(), too_large().replace(b"}", b"{"), too_large()[:20], b"\x93NUMPY")


@pytest.mark.parametrize("content", BROKEN, ids=["empty", "archive", "too large", "header", "cut off", "magic"])
def test_fault_32_a_broken_matrix_is_unreadable(content: bytes) -> None:
    """A matrix of log-probabilities that cannot be read is no score, and ends nothing but its call."""
    reply = {"prompt_token_id_logprobs": base64.b64encode(content).decode()}
    with pytest.raises(UNREADABLE):
        ENGINES["vllm"].score("m", [1, 2], [5, 6]).read(reply)


@pytest.fixture
def free_port() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]


def test_fault_26_a_refused_connection_is_bounded(free_port: int) -> None:
    """Where no server listens, each call is given up after its attempts."""
    assert answered(f"http://127.0.0.1:{free_port}/v1", "a", "b") == {}
