"""The client of Anthropic's API against a scripted server: requests as they are sent, replies as they are read."""

from typing import Any

import pytest

from reer.errors import InputError
from reer.models.protocols import Completion, Device, Prompt, Request, Sampling
from reer.models.services.anthropic import AnthropicServer
from reer.types import Message
from tests.fakes.calls import completions
from tests.fakes.http import Act, Handler, Serve, respond

TURNS = (Message("system", "Be brief."), Message("user", "Grade it."))


def request(prefill: str = "", turns: tuple[Message, ...] = TURNS) -> Request:
    return Request(
        Prompt(turns, prefill), Sampling(temperature=1.0, top_p=0.95, max_tokens=2048, top_k=20, stop=("</r>",)), 7
    )


def message(*texts: str, reason: str = "end_turn", **usage: int) -> dict[str, Any]:
    return {
        "type": "message",
        "model": "claude-x-20260101",
        "content": [{"type": "text", "text": text} for text in texts],
        "stop_reason": reason,
        "usage": {"input_tokens": 11, "output_tokens": 5, **usage},
    }


def says(*texts: str, reason: str = "end_turn", **usage: int) -> Act:
    return respond(200, message(*texts, reason=reason, **usage))


def rejects(status: int, kind: str, words: str) -> Act:
    return respond(status, {"type": "error", "error": {"type": kind, "message": words}})


def ask(url: str, *requests: Request, model: str = "claude-x", **settings: Any) -> list[Completion]:
    server = AnthropicServer(model=model, base_url=url.removesuffix("/v1"), **{"health_check": False, **settings})
    with server.open(Device()) as session:
        return completions(session, requests or (request(),))


def test_a_request_has_the_format_of_the_messages_api(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TEST_KEY", "secret-canary")
    paths: list[str] = []

    def act(handler: Handler) -> None:
        paths.append(handler.path)
        says("7")(handler)

    server, url = serve(act)
    ask(url, request('{"score":'), key_variable="MY_TEST_KEY")
    headers = {name.lower(): value for name, value in server.headers[0].items()}
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("secret-canary", "2023-06-01")
    assert "authorization" not in headers
    assert paths == ["/v1/messages"]
    assert server.bodies == [
        {
            "model": "claude-x",
            "system": "Be brief.",
            "max_tokens": 2048,
            "temperature": 1.0,
            "top_p": 0.95,
            "stop_sequences": ["</r>"],
            "messages": [{"role": "user", "content": "Grade it."}, {"role": "assistant", "content": '{"score":'}],
        }
    ]


@pytest.mark.parametrize(
    ("settings", "name", "unsent"),
    [
        ({"send_top_p": False}, "claude-x/anthropic-no_top_p", {"top_p"}),
        ({"send_temperature": False}, "claude-x/anthropic-no_temperature", {"temperature"}),
        (
            {"send_top_p": False, "send_temperature": False},
            "claude-x/anthropic-no_top_p-no_temperature",
            {"top_p", "temperature"},
        ),
        ({}, "claude-x/anthropic", {"seed", "top_k"}),
    ],
)
def test_the_name_tells_which_parameters_are_not_sent(
    serve: Serve, settings: dict[str, Any], name: str, unsent: set[str]
) -> None:
    server, url = serve(says("x"))
    ask(url, **settings)
    assert not unsent & server.bodies[0].keys()
    assert AnthropicServer(model="claude-x", **settings).name == name


def test_no_system_prompt_is_sent_without_a_system_message(serve: Serve) -> None:
    server, url = serve(says("x"))
    ask(url, request(turns=TURNS[1:]))
    assert "system" not in server.bodies[0]


@pytest.mark.parametrize(
    ("act", "text", "stopped"),
    [
        (says("one ", "two"), "one two", "stop"),
        (says("cut", reason="stop_sequence"), "cut", "stop"),
        (says("cut", reason="max_tokens"), "cut", "length"),
        (says("full", reason="model_context_window_exceeded"), "full", "length"),
        (says(reason="refusal"), "", "refused"),
        (says(), "", "stop"),
        (says("half \ud83d"), "half ?", "stop"),
    ],
)
def test_text_and_stop_reason_are_read_from_a_reply(serve: Serve, act: Act, text: str, stopped: str) -> None:
    _, url = serve(act)
    (reply,) = ask(url)
    assert (reply.text, reply.stopped, reply.served) == (text, stopped, "claude-x-20260101")
    assert reply.seconds is not None


def test_only_text_blocks_are_read_and_cached_tokens_count_as_prompt_tokens(serve: Serve) -> None:
    reply = message("words", cache_read_input_tokens=100, cache_creation_input_tokens=10)
    reply["content"].insert(0, {"type": "thinking", "thinking": "hm"})
    _, url = serve(respond(200, reply))
    assert ask(url) == [Completion(text="words", stopped="stop", prompt_tokens=121, tokens=5)]


@pytest.mark.parametrize(("raw", "text"), [(" 7}", "7}"), ("7}", "7}"), ("  7}", " 7}")])
def test_trailing_white_space_of_a_prefill_is_in_neither_text(serve: Serve, raw: str, text: str) -> None:
    server, url = serve(says(raw))
    (reply,) = ask(url, request('{"score": '))
    assert server.bodies[0]["messages"][-1]["content"] == '{"score":'
    assert reply.text == text


@pytest.mark.parametrize(
    "act",
    [
        rejects(529, "overloaded_error", "Overloaded"),
        rejects(500, "api_error", "Internal"),
        rejects(429, "rate_limit_error", "Slow down"),
        respond(200, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    ],
)
def test_a_temporary_failure_is_retried(serve: Serve, act: Act) -> None:
    _, url = serve(act, says("x"))
    assert ask(url)[0].text == "x"


@pytest.mark.parametrize("reason", ["tool_use", "pause_turn", None, "something new"])
def test_a_reply_that_ended_otherwise_is_no_answer(serve: Serve, reason: Any) -> None:
    _, url = serve(says("7", reason=reason))
    with pytest.raises(InputError, match=r"shape that is not read.*is no end of an answer"):
        ask(url, attempts=1)


@pytest.mark.parametrize(
    "usage", [{}, {"output_tokens": 5}, {"input_tokens": 11}, {"output_tokens": 5, "cache_read_input_tokens": 100}]
)
def test_a_usage_without_its_prompt_or_its_reply_is_not_counted(serve: Serve, usage: dict[str, int]) -> None:
    _, url = serve(respond(200, message("7") | {"usage": usage}))
    assert not ask(url)[0].counted


def test_an_address_that_ends_in_v1_is_named_as_the_likely_mistake(serve: Serve) -> None:
    _, url = serve(rejects(404, "not_found_error", "Not Found"))
    server = AnthropicServer(model="claude-x", base_url=url)
    with pytest.raises(InputError, match=rf"base_url must not end in /v1 here; try base_url={url.removesuffix('/v1')}"):
        server.open(Device()).__enter__()


@pytest.mark.parametrize(
    "words",
    [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
    ],
)
def test_a_prompt_that_exceeds_the_context(serve: Serve, words: str) -> None:
    _, url = serve(rejects(400, "invalid_request_error", words))
    assert [reply.stopped for reply in ask(url)] == ["prompt_too_long"]


def test_the_error_for_rejected_parameters_names_the_setting(serve: Serve) -> None:
    _, url = serve(rejects(400, "invalid_request_error", "`temperature` is deprecated for this model."))
    with pytest.raises(InputError, match=r"(?s)deprecated.*temperature=1\.0, top_p=0\.95.*send_temperature=false"):
        ask(url)


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "authentication_error"), (403, "permission_error"), (404, "not_found_error")]
)
def test_a_rejection_of_all_calls_stops_the_work(serve: Serve, status: int, kind: str) -> None:
    server, url = serve(rejects(status, kind, "no"))
    with pytest.raises(InputError, match=kind):
        ask(url, *[request()] * 20, concurrency=2)
    assert len(server.bodies) <= 4


def test_a_health_check_requests_one_token(serve: Serve) -> None:
    server, url = serve(says("x"))
    ask(url, health_check=True)
    assert server.bodies[0]["max_tokens"] == 1


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-1-20250805",
        "claude-opus-4-5-20251101",
        "claude-opus-4-6",
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-4-6",
        "claude-haiku-4-5-20251001",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
    ],
)
def test_models_known_to_reject_temperature_with_top_p_need_a_setting(model: str) -> None:
    with pytest.raises(InputError, match=r"rejects temperature together with top_p.*send_top_p=false"):
        AnthropicServer(model=model)
    AnthropicServer(model=model, send_top_p=False)
    AnthropicServer(model=model, send_temperature=False)


@pytest.mark.parametrize(
    "model", ["claude-3-7-sonnet-20250219", "claude-sonnet-4-20250514", "claude-opus-4-20250514", "claude-next"]
)
def test_other_models_need_no_setting(model: str) -> None:
    assert AnthropicServer(model=model).base_url == "https://api.anthropic.com"
