"""What a server refuses: one call alone, which is then its answer, or what every call sends, which stops the work."""

import pytest

from reer.errors import InputError
from reer.models.protocols import Device
from reer.models.services.openai import ChatServer
from tests.fakes.calls import completions
from tests.fakes.http import Handler, Serve, ask, request, respond, says


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422])
def test_a_refusal_is_not_tried_again(serve: Serve, status: int) -> None:
    server, url = serve(respond(status, {"error": "no such model"}))
    with pytest.raises(InputError, match=rf"server m rejected the request: HTTP {status}: .*no such model"):
        ask(url)
    assert len(server.bodies) == 1


REFUSAL = respond(400, {"error": "invalid_prompt"})


def picky(handler: Handler) -> None:
    """Refuses what holds the word `bad`."""
    text = handler.asked["messages"][0]["content"]
    (REFUSAL if "bad" in text else says(text))(handler)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_call_is_an_answer_among_others(serve: Serve, status: int) -> None:
    server, url = serve(says("one"), respond(status, {"error": "invalid_prompt"}), says("three"))
    replies = ask(url, *(request(text) for text in "abc"), concurrency=1)
    assert [reply.stopped for reply in replies] == ["stop", "refused", "stop"]
    assert f"HTTP {status}" in replies[1].text
    assert "invalid_prompt" in replies[1].text
    assert len(server.bodies) == 3


def test_once_a_call_was_answered_refusals_are_never_the_parameters(serve: Serve) -> None:
    _, url = serve(picky)
    with ChatServer("m", base_url=url, health_check=False, concurrency=1).open(Device()) as session:
        completions(session, [request("good")])
        replies = completions(session, [request(f"bad {i}") for i in range(6)])
    assert {reply.stopped for reply in replies} == {"refused"}


def test_a_refusal_that_names_the_content_is_not_the_parameters_though_it_is_the_only_call(serve: Serve) -> None:
    _, url = serve(respond(400, {"error": {"code": "content_filter"}}))
    assert ask(url)[0].stopped == "refused"


def test_refused_parameters_stop_everything_and_say_what_leaves_them_out(serve: Serve) -> None:
    server, url = serve(respond(400, {"error": "`temperature` and `top_p` cannot both be specified"}))
    with pytest.raises(InputError) as refused:
        ask(url, *(request(str(i)) for i in range(50)), concurrency=3)
    told = str(refused.value)
    assert all(word in told for word in ("cannot both be specified", "temperature=0.7", "top_p=0.9", "a seed"))
    assert "send_top_p=false" in told
    assert len(server.bodies) <= 6


def test_refusals_are_yielded_with_the_others(serve: Serve) -> None:
    _, url = serve(picky)
    with ChatServer("m", base_url=url, health_check=False).open(Device()) as session:
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
def test_a_prompt_that_does_not_fit_is_no_refusal(serve: Serve, text: str) -> None:
    _, url = serve(respond(400, {"error": {"message": text}}), says("x"))
    assert [reply.stopped for reply in ask(url, request("long"), request("short"), concurrency=1)] == [
        "prompt_too_long",
        "stop",
    ]
