"""A rejection of one call becomes its answer; a rejection of the parameters of all calls stops the work."""

import pytest

from reer.calls import all_of
from reer.errors import Incomplete, InputError
from reer.models.protocols import Completion, Device
from reer.models.services.openai import ChatServer
from tests.fakes.calls import completions
from tests.fakes.http import Handler, Serve, ask, request, respond, says


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422])
def test_a_rejected_call_is_not_retried(serve: Serve, status: int) -> None:
    server, url = serve(respond(status, {"error": "no such model"}))
    with pytest.raises(InputError, match=rf"server m rejected the request: HTTP {status}: .*no such model"):
        ask(url)
    assert len(server.bodies) == 1


REJECTION = respond(400, {"error": "invalid_prompt"})


def picky(handler: Handler) -> None:
    """Rejects prompts that contain the word `bad`."""
    text = handler.asked["messages"][0]["content"]
    (REJECTION if "bad" in text else says(text))(handler)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_rejected_call_among_others_is_an_answer(serve: Serve, status: int) -> None:
    server, url = serve(says("one"), respond(status, {"error": "invalid_prompt"}), says("three"))
    replies = ask(url, *(request(text) for text in "abc"), concurrency=1)
    assert [reply.stopped for reply in replies] == ["stop", "refused", "stop"]
    assert f"HTTP {status}" in replies[1].text
    assert "invalid_prompt" in replies[1].text
    assert len(server.bodies) == 3


def test_after_a_success_rejections_never_concern_the_parameters(serve: Serve) -> None:
    _, url = serve(picky)
    with ChatServer(model="m", base_url=url, health_check=False, concurrency=1).open(Device()) as session:
        completions(session, [request("good")])
        replies = completions(session, [request(f"bad {i}") for i in range(6)])
    assert {reply.stopped for reply in replies} == {"refused"}


def test_a_rejection_that_names_the_content_is_an_answer_even_of_a_single_call(serve: Serve) -> None:
    _, url = serve(respond(400, {"error": {"code": "content_filter"}}))
    assert ask(url)[0].stopped == "refused"


def test_rejected_parameters_stop_the_work_and_the_error_names_the_settings_that_omit_them(serve: Serve) -> None:
    server, url = serve(respond(400, {"error": "`temperature` and `top_p` cannot both be specified"}))
    with pytest.raises(InputError) as rejected:
        ask(url, *(request(str(i)) for i in range(50)), concurrency=3)
    message = str(rejected.value)
    assert all(word in message for word in ("cannot both be specified", "temperature=0.7", "top_p=0.9", "a seed"))
    assert "send_top_p=false" in message
    assert len(server.bodies) <= 6


def test_rejections_are_yielded_with_the_other_answers(serve: Serve) -> None:
    _, url = serve(picky)
    with ChatServer(model="m", base_url=url, health_check=False).open(Device()) as session:
        stopped = {i: r.stopped for i, r in session.generate([request("a"), request("bad"), request("c")])}
    assert stopped == {0: "stop", 1: "refused", 2: "stop"}


@pytest.mark.parametrize(
    "text",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "context_length_exceeded",
    ],
)
def test_a_prompt_that_exceeds_the_context_is_not_a_rejection(serve: Serve, text: str) -> None:
    _, url = serve(respond(400, {"error": {"message": text}}), says("x"))
    assert [reply.stopped for reply in ask(url, request("long"), request("short"), concurrency=1)] == [
        "prompt_too_long",
        "stop",
    ]


def in_flight(url: str, *texts: str, prefill: str = "") -> list[Completion]:
    """The completions of requests that are in flight together, from a server with four slots."""
    server = ChatServer(model="m", base_url=url, health_check=False, concurrency=4)
    with server.open(Device()) as session:
        return session.client.runner.run(all_of(session.complete(request(text, prefill=prefill)) for text in texts))


def test_a_call_in_flight_that_is_rejected_alone_is_an_answer(serve: Serve) -> None:
    """Before any call has succeeded, a harmless prompt with the same parameters shows what the rejection concerns."""
    server, url = serve(picky)
    assert [reply.stopped for reply in in_flight(url, "bad", "b")] == ["refused", "stop"]
    assert [reply.stopped for reply in in_flight(url, "bad")] == ["refused"]
    assert server.bodies[-1]["messages"][0]["content"] == "Hello"


def test_after_a_success_a_rejected_call_in_flight_is_an_answer_at_once(serve: Serve) -> None:
    server, url = serve(picky)
    with ChatServer(model="m", base_url=url, health_check=False).open(Device()) as session:
        run = session.client.runner.run
        assert [run(session.complete(request(text))).stopped for text in ("a", "bad")] == ["stop", "refused"]
    assert len(server.bodies) == 2


@pytest.mark.parametrize("texts", [["a"], ["a", "b"], list("abcdef")])
def test_parameters_that_are_rejected_stop_the_calls_in_flight(serve: Serve, texts: list[str]) -> None:
    _, url = serve(REJECTION)
    with pytest.raises(InputError, match=r"rejects the parameters or the model's name. Sent: max_tokens=32"):
        in_flight(url, *texts)


def test_a_call_in_flight_without_an_answer_says_how_to_go_on(serve: Serve) -> None:
    server, url = serve(respond(500, {"error": "down"}))
    with (
        ChatServer(model="m", base_url=url, health_check=False, attempts=2).open(Device()) as session,
        pytest.raises(Incomplete, match=r"a call has no answer: no answer after 2 attempts.*the same command"),
    ):
        session.client.runner.run(session.complete(request("a")))
    assert len(server.bodies) == 2
