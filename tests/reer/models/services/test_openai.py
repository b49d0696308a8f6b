"""The chat server's client against a real server on this machine that fails in every way it can."""

import asyncio
import socket
import time
from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from reer.errors import Incomplete, InputError
from reer.models.protocols import Completion, Device, Sampling
from reer.models.services.openai import ChatServer
from reer.models.services.service import is_version_of
from tests.fakes.calls import completions
from tests.fakes.http import SAMPLING, Act, Handler, Serve, ask, cuts_off, hangs, request, respond, says


def test_a_reply_is_read_with_its_account(serve: Serve) -> None:
    _, url = serve(says("Hello."))
    assert ask(url) == [Completion(text="Hello.", stopped="stop", prompt_tokens=7, tokens=3)]


def chat(content: object, finish: object = "stop", usage: object = None, **message: object) -> Act:
    """A reply with this message."""
    choice = {"message": {"content": content, **message}, "finish_reason": finish}
    return respond(200, {"choices": [choice], "usage": usage})


PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "an answer"}]


@pytest.mark.parametrize(
    ("act", "text", "stopped"),
    [
        *((chat("x", finish=name), "x", "stop") for name in ("stop", "eos", "STOP", "COMPLETE", "end_turn")),
        *((chat("x", finish=name), "x", "length") for name in ("length", "max_tokens", "MAX_TOKENS", "model_length")),
        *((chat("x", finish=name), "x", "refused") for name in ("content_filter", "SAFETY", "sensitive", "RECITATION")),
        (chat(None), "", "stop"),
        (chat(None, refusal="I cannot."), "I cannot.", "refused"),
        (chat([{"type": "refusal", "refusal": "I cannot."}]), "I cannot.", "refused"),
        (chat(None, reasoning_content="so much to think"), "", "stop"),
        (chat("", finish="length", reasoning="so much to think"), "", "length"),
        (chat(PARTS), "an answer", "stop"),
        (chat(["an ", {"type": "output_text", "text": "answer"}]), "an answer", "stop"),
        (chat([]), "", "stop"),
        (chat("no usage"), "no usage", "stop"),
        (chat("odd usage", usage=[1, 2]), "odd usage", "stop"),
    ],
)
def test_text_and_end_are_read_in_the_spellings_of_providers(serve: Serve, act: Act, text: str, stopped: str) -> None:
    _, url = serve(act)
    (reply,) = ask(url)
    assert (reply.text, reply.stopped) == (text, stopped)


@pytest.mark.parametrize(
    "act",
    [
        *(chat("half", finish=name) for name in ("error", "abort", "insufficient_system_resource", "network_error")),
        respond(200, {"error": {"message": "upstream is down", "code": 502}}),
        respond(200, {"error": {"message": "slow down", "code": 429}}),
        respond(200, {"error": {"type": "overloaded_error", "message": "Overloaded"}}),
        respond(200, {"error": "no capacity"}),
        respond(200, {"object": "error", "message": "oh", "code": 500}),
        respond(200, {"choices": [{"error": {"code": 502}, "message": {"content": "half"}, "finish_reason": "error"}]}),
    ],
)
def test_a_failure_of_the_provider_is_no_answer_and_is_tried_again(serve: Serve, act: Act) -> None:
    _, url = serve(act, says("x"))
    assert ask(url)[0].text == "x"
    _, url = serve(act)
    with pytest.raises(Incomplete, match="the same command asks only these again"):
        ask(url, attempts=1, outage_seconds=0.1)


@pytest.mark.parametrize(
    ("error", "rejected"),
    [
        ({"code": 401, "message": "No auth"}, "HTTP 401"),
        ({"code": "model_not_found", "message": "The model `m` does not exist"}, "HTTP 404"),
        ({"code": "insufficient_quota", "message": "You exceeded your quota"}, "HTTP 429"),
    ],
)
def test_an_error_in_a_reply_with_status_200_is_treated_by_its_code(
    serve: Serve, error: dict[str, Any], rejected: str
) -> None:
    server, url = serve(respond(200, {"error": error}))
    with pytest.raises(InputError, match=rejected):
        ask(url)
    assert len(server.bodies) == 1, "it is not tried again"


SHAPES: list[Act] = [
    chat("x", finish="tool_calls"),
    chat("x", finish=None),
    chat("x", finish="something new"),
    chat([{"type": "image", "url": "x"}]),
    chat({"text": "x"}),
    respond(200, {"choices": []}),
    respond(200, {"choices": [{"message": None}]}),
    respond(200, {"output": [{"type": "message"}]}),
]


@pytest.mark.parametrize("act", SHAPES)
def test_a_reply_of_a_shape_that_is_not_read_is_lost_and_counted_or_stops_the_work(serve: Serve, act: Act) -> None:
    server, url = serve(act)
    with pytest.raises(InputError, match=r"shape that is not read.*check that base_url is"):
        ask(url, attempts=2)
    assert len(server.bodies) == 2
    _, url = serve(lambda handler: (act if handler.asked["messages"][0]["content"] == "a" else says("x"))(handler))
    replies = ask(url, request("a"), request("b"), attempts=2)
    assert [reply.stopped for reply in replies] == ["unreadable", "stop"]
    assert ask(url, request("a"), health_check=True, attempts=2)[0].stopped == "unreadable", "others may be on record"


@pytest.mark.parametrize(
    ("usage", "read", "written"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3}, 7, 3),
        ({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}, 7, 3),
        ({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 60}, 7, 53),
        ({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": "x"}, 7, 3),
    ],
)
def test_thinking_that_a_provider_counts_in_the_total_alone_is_billed(
    serve: Serve, usage: dict[str, Any], read: int, written: int
) -> None:
    _, url = serve(chat("x", usage=usage))
    (reply,) = ask(url)
    assert (reply.prompt_tokens, reply.tokens, reply.counted) == (read, written, True)


def test_a_request_says_all_that_identifies_it(serve: Serve) -> None:
    server, url = serve(says("x"))
    ask(url, request(sampling=Sampling(temperature=0.7, top_p=0.9, max_tokens=32, stop=("</r>",))))
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "q"}],
            "max_tokens": 32,
            "temperature": 0.7,
            "top_p": 0.9,
            "seed": 5,
            "stop": ["</r>"],
        }
    ]


def test_seed_and_top_p_are_left_out_for_those_who_refuse_them(serve: Serve) -> None:
    server, url = serve(says("x"))
    ask(url, send_seed=False, send_top_p=False)
    assert not {"seed", "top_p", "stop", "continue_final_message"} & server.bodies[0].keys()


def test_a_prefill_is_continued_not_answered(serve: Serve) -> None:
    server, url = serve(says("x"))
    ask(url, request(prefill='{"score": '))
    assert server.bodies[-1]["messages"][-1] == {"role": "assistant", "content": '{"score": '}
    assert (server.bodies[-1]["continue_final_message"], server.bodies[-1]["add_generation_prompt"]) == (True, False)


def gives_back(handler: Handler) -> None:
    given = handler.asked["messages"][-1]
    says((given["content"] if given["role"] == "assistant" else "") + " 7}")(handler)


def test_a_prefill_that_is_given_back_is_no_part_of_the_completion(serve: Serve) -> None:
    server, url = serve(gives_back)
    replies = ask(url, request(prefill='{"score": '), request(), request(prefill="<think>\n"))
    assert [reply.text for reply in replies] == [" 7}"] * 3
    assert len(server.bodies) == 4  # it was asked once which kind it is


def test_words_that_only_repeat_the_prefill_stay(serve: Serve) -> None:
    _, url = serve(says(" five"), says("<think>\nhm"))
    (reply,) = ask(url, request(prefill="<think>\n"))
    assert reply.text == "<think>\nhm"


def echoes(handler: Handler) -> None:
    text = handler.asked["messages"][0]["content"]
    says(text, after=0.15 if text == "0" else 0.0)(handler)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_slow_answer_does_not_change_its_place(serve: Serve, concurrency: int) -> None:
    _, url = serve(echoes)
    replies = ask(url, *(request(str(i)) for i in range(8)), concurrency=concurrency)
    assert [reply.text for reply in replies] == [str(i) for i in range(8)]


@pytest.mark.parametrize("headers", [{"Retry_After": "-3"}, {"Retry_After": "0"}, {}])
def test_a_429_that_does_not_say_how_long_is_asked_again_soon(serve: Serve, headers: dict[str, str]) -> None:
    server, url = serve(respond(429, {}, **headers), says("x"))
    assert ask(url)[0].text == "x"
    assert 0.02 < server.times[1] - server.times[0] < 1


def test_429s_are_no_attempts(serve: Serve) -> None:
    server, url = serve(*[respond(429, {}, Retry_After_ms="20")] * 5, says("x"))
    assert ask(url, attempts=1)[0].text == "x"
    assert len(server.bodies) == 6


def test_a_spent_quota_is_not_waited_for(serve: Serve) -> None:
    server, url = serve(respond(429, {"error": {"code": "insufficient_quota"}}))
    with pytest.raises(InputError, match="insufficient_quota"):
        ask(url)
    assert len(server.bodies) == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(serve: Serve, status: int) -> None:
    server, url = serve(respond(status, {"error": "busy"}), says("x"))
    assert ask(url)[0].text == "x"
    assert server.bodies[0] == server.bodies[1]


def test_after_the_last_attempt_nobody_waits(serve: Serve) -> None:
    _, url = serve(respond(500, {}))
    start = time.monotonic()
    with pytest.raises(Incomplete, match="after 1 attempts"):
        ask(url, attempts=1)
    assert time.monotonic() - start < 0.4


def test_a_health_check_asks_every_replica_for_one_token(serve: Serve) -> None:
    (first, url), (second, other) = serve(says("x")), serve(says("x"))
    ask(url, replicas=(other,), health_check=True)
    assert [server.bodies[0]["max_tokens"] for server in (first, second)] == [1, 1]


def test_a_replica_that_is_down_is_found_before_any_work(serve: Serve) -> None:
    (first, url), (_, other) = serve(says("x")), serve(respond(401, {"error": "bad key"}))
    with pytest.raises(InputError, match="bad key"):
        ask(url, replicas=(other,), health_check=True)
    assert all(body["max_tokens"] == 1 for body in first.bodies)


def test_calls_of_one_group_go_to_one_replica_and_groups_spread(serve: Serve) -> None:
    (first, url), (second, other) = serve(says("x")), serve(says("x"))
    asked = [replace(request(f"{n}", seed=k), group=f"pair{n}") for k in range(3) for n in range(16)]
    ask(url, *asked, replicas=(other,))
    seen = [{body["messages"][0]["content"] for body in server.bodies} for server in (first, second)]
    assert not seen[0] & seen[1]
    assert all(len(pairs) >= 3 for pairs in seen)


def test_a_crowd_of_429s_ends_with_every_answer_in_its_place(serve: Serve) -> None:
    busy = [respond(429, {}, Retry_After="0.05")] * 6
    _, url = serve(*busy, echoes)
    replies = ask(url, *(request(str(i)) for i in range(1, 20)), concurrency=8)
    assert [reply.text for reply in replies] == [str(i) for i in range(1, 20)]


@pytest.mark.parametrize(
    "act",
    [
        cuts_off,
        respond(200, b"<html>Bad gateway</html>"),
        respond(200, []),
    ],
)
def test_a_reply_that_is_none_is_tried_again(serve: Serve, act: Act) -> None:
    server, url = serve(act, says("x"))
    assert ask(url)[0].text == "x"
    assert len(server.bodies) == 2


def test_it_gives_up_after_its_attempts_and_says_what_came_last(serve: Serve) -> None:
    server, url = serve(respond(500, {"error": "first"}), respond(503, {"error": "overloaded"}))
    with pytest.raises(Incomplete, match=r"1 of 1 .*no answer after 2 attempts; last: HTTP 503: .*overloaded"):
        ask(url, attempts=2)
    assert len(server.bodies) == 2


def test_a_server_that_hangs_is_left_and_asked_again(serve: Serve) -> None:
    _, url = serve(hangs(3), says("x"))
    start = time.monotonic()
    assert ask(url, timeout_seconds=0.2)[0].text == "x"
    assert time.monotonic() - start < 2


def dribbles(handler: Handler) -> None:
    """A byte now and then: no wait for the next one is long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(60):
        try:
            handler.wfile.write(b" ")
        except OSError:
            return
        time.sleep(0.05)


def test_a_server_that_dribbles_is_left_and_asked_again(serve: Serve) -> None:
    _, url = serve(dribbles, says("x"))
    start = time.monotonic()
    assert ask(url, timeout_seconds=0.3)[0].text == "x"
    assert time.monotonic() - start < 1


def test_a_call_without_an_answer_does_not_keep_the_others_from_theirs(serve: Serve) -> None:
    def acts(handler: Handler) -> None:
        text = handler.asked["messages"][0]["content"]
        (respond(500, {"error": "cannot"}) if text in "37" else says(text, after=0.02))(handler)

    _, url = serve(acts)
    answered: set[int] = set()
    server = ChatServer(model="m", base_url=url, health_check=False, attempts=2)
    with (
        server.open(Device()) as session,
        pytest.raises(Incomplete, match=r"2 of 12 calls have no answer.*HTTP 500.*the same command asks only these"),
    ):
        answered.update(i for i, _ in session.generate([request(str(i)) for i in range(12)]))
    assert answered == set(range(12)) - {3, 7}


def test_answers_are_yielded_as_they_arrive_though_a_later_call_is_refused(serve: Serve) -> None:
    _, url = serve(says("one"), says("two"), respond(401, {"error": "bad"}))
    texts: dict[int, str] = {}
    server = ChatServer(model="m", base_url=url, health_check=False, concurrency=1)
    with server.open(Device()) as session, pytest.raises(InputError, match="rejected"):
        texts.update((i, reply.text) for i, reply in session.generate([request(text) for text in "abc"]))
    assert texts == {0: "one", 1: "two"}


def test_nothing_is_sent_before_the_iterator_is_consumed_and_nothing_after_it_is_closed(serve: Serve) -> None:
    server, url = serve(says("first"), hangs(5))
    chat = ChatServer(model="m", base_url=url, health_check=False, concurrency=2)
    start = time.monotonic()
    with chat.open(Device()) as session:
        replies = session.generate([request(str(i)) for i in range(20)])
        time.sleep(0.05)
        assert server.bodies == []
        assert next(replies)[1].text == "first"
        replies.close()
        assert list(replies) == []
        assert not asyncio.all_tasks(session.client.runner.get_loop()), "no call is left running"
        sent = len(server.bodies)
        assert sent <= 4
        server.acts = [says("again")] * 9  # the same connection is as good as new
        assert completions(session, [request("next")])[0].text == "again"
    assert time.monotonic() - start < 3


def test_calls_of_an_iterator_that_is_kept_end_with_the_connection(serve: Serve) -> None:
    _, url = serve(says("first"), hangs(5))
    start = time.monotonic()
    with ChatServer(model="m", base_url=url, health_check=False, concurrency=2).open(Device()) as session:
        replies = session.generate([request(str(i)) for i in range(20)])
        next(replies)
    assert time.monotonic() - start < 3
    replies.close()


def test_a_server_that_is_not_there_is_named(serve: Serve) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Incomplete, match="no answer after 1 attempts; last: ClientConnectorError"):
        ask(f"http://127.0.0.1:{port}/v1", attempts=1)


def test_half_a_surrogate_pair_does_not_get_in(serve: Serve) -> None:
    _, url = serve(says("half \ud83d here"))
    (reply,) = ask(url)
    assert reply.text.encode("utf-8").startswith(b"half ")


def test_a_missing_key_is_found_before_anything_is_sent(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_TEST_KEY", raising=False)
    server, url = serve(says("x"))
    with pytest.raises(InputError, match="set the environment variable MY_TEST_KEY"):
        ask(url, key_variable="MY_TEST_KEY")
    assert server.bodies == []


def test_the_key_is_sent_and_never_shown(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TEST_KEY", "secret-canary")
    server, url = serve(respond(401, {"error": "no"}))
    with pytest.raises(InputError) as refused:
        ask(url, key_variable="MY_TEST_KEY")
    assert server.headers[0]["Authorization"] == "Bearer secret-canary"
    assert "secret-canary" not in str(refused.value)
    assert "secret-canary" not in repr(ChatServer(model="m", base_url=url, key_variable="MY_TEST_KEY"))


def test_an_answer_says_how_long_it_took_and_who_gave_it(serve: Serve) -> None:
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    reply = {"choices": [choice], "model": "m-0513", "system_fingerprint": "fp_1"}
    _, url = serve(respond(500, {}), hangs(0.0), lambda handler: (time.sleep(0.1), respond(200, reply)(handler))[1])
    (found,) = ask(url)
    assert found.served == "m-0513 (fp_1)"
    assert found.seconds is not None
    assert 0.1 <= found.seconds < 0.5, "of the attempt that succeeded alone"


def test_what_a_server_does_not_say_of_itself_is_left_empty(serve: Serve) -> None:
    _, url = serve(says("x"))
    assert ask(url)[0].served == ""


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("gpt-4o-2024-11-20", "gpt-4o-2024-11-20"),
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-4", "gpt-4-0613"),
        ("openai/gpt-4.1", "gpt-4.1-2025-04-14"),
        ("Qwen/Qwen3-8B", "qwen3-8b"),
        ("claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219"),
        ("claude-sonnet-4-0", "claude-sonnet-4-20250514"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5@20250929"),
        ("gemini-2.5-pro", "gemini-2.5-pro-06-2025"),
    ],
)
def test_a_dated_snapshot_is_the_model_that_was_asked_for(asked: str, served: str) -> None:
    assert is_version_of(served, asked)


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
        ("gpt-4o-2024-05-13", "gpt-4o"),
        ("gemini-3-pro-preview", "gemini-3.1-pro-preview"),
        ("claude-sonnet-4", "claude-sonnet-4-5-20250929"),
        ("claude-3-7-sonnet-20250219", "claude-sonnet-4-6"),
        ("qwen2.5-7b", "qwen2.5-72b"),
    ],
)
def test_another_model_is_refused_or_recorded(serve: Serve, asked: str, served: str) -> None:
    assert not is_version_of(served, asked)
    reply = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "model": served}
    server, url = serve(respond(200, reply))
    chat = ChatServer(model=asked, base_url=url)
    refused = pytest.raises(InputError, match=f"{served!r} answered, {asked!r} was asked for.*reroutes=record")
    with refused, chat.open(Device()):
        pass
    assert len(server.bodies) == 1, "the health check finds it"
    recorded = replace(chat, reroutes="record")
    with recorded.open(Device()) as session:
        assert completions(session, [request()])[0].served == served
    assert recorded.name == f"{chat.name}-any_model", "its answers are no answers of the model that was asked for"


@pytest.mark.parametrize(
    ("path", "status", "body", "cure"),
    [
        ("", 404, {"detail": "Not Found"}, r"asked: POST http://\S+/chat/completions\); does base_url lack /v1\? Try"),
        ("/v1", 404, {"detail": "Not Found"}, r"is base_url the address of this kind of server\?"),
        ("/v1", 405, {"detail": "Method Not Allowed"}, r"is base_url the address"),
        ("/v1", 404, {"error": {"message": "The model `m` does not exist."}}, r"no model of this name"),
        ("/v1", 401, {"error": "no"}, r"does the server need a key\?"),
        ("/v1", 402, {"error": "Insufficient Balance"}, r"no credit left"),
        ("/v1", 308, {}, r"the server has moved"),
    ],
)
def test_a_rejection_of_every_call_names_the_address_and_the_likely_cure(
    serve: Serve, path: str, status: int, body: Any, cure: str
) -> None:
    _, url = serve(respond(status, body))
    with pytest.raises(InputError, match=rf"HTTP {status}.*{cure}"):
        ask(url.removesuffix("/v1") + path)


@pytest.mark.parametrize("key", ["  secret-canary\n", "secret-canary\r\n", "\tsecret-canary"])
def test_white_space_around_a_key_is_not_sent(serve: Serve, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("MY_TEST_KEY", key)
    server, url = serve(says("x"))
    ask(url, key_variable="MY_TEST_KEY")
    assert server.headers[0]["Authorization"] == "Bearer secret-canary"


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("secret canary", "white space"),
        ("secret-\rcanary", "white space"),
        ("secret-canary\ufeff", "not ASCII"),
        ("'secret-canary'", "quotation mark"),
        ("Bearer secret-canary", "the word Bearer"),
    ],
)
def test_what_cannot_be_a_key_is_named_and_not_shown(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, key: str, problem: str
) -> None:
    monkeypatch.setenv("MY_TEST_KEY", key)
    server, url = serve(says("x"))
    with pytest.raises(InputError, match=f"the environment variable MY_TEST_KEY .*{problem}") as refused:
        ask(url, key_variable="MY_TEST_KEY")
    assert "canary" not in str(refused.value)
    assert server.bodies == []


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 8192 tokens.",
        "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
        "the request exceeds the available context size, try increasing it",
        "`inputs` tokens + `max_new_tokens` must be <= 4097",
        "Please reduce the length of the messages or completion.",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
    ],
)
def test_a_prompt_that_exceeds_the_context_is_known_in_the_words_of_each_server(serve: Serve, words: str) -> None:
    _, url = serve(respond(400, {"error": {"message": words}}))
    assert [reply.stopped for reply in ask(url)] == ["prompt_too_long"]


def test_without_a_key_none_is_sent(serve: Serve) -> None:
    server, url = serve(says("x"))
    ask(url)
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    "settings", [{"base_url": "localhost:8000"}, {"key_variable": "sk-proj-abc"}, {"key_variable": "k" * 61}]
)
def test_what_is_no_url_or_looks_like_a_key_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(InputError, match="server: "):
        ChatServer(model="m", **{"base_url": "http://x", **settings})


def test_the_name_is_the_model_whatever_the_address(serve: Serve) -> None:
    _, url = serve(says("x"))
    with ChatServer(model="judge-1", base_url=url).open(Device()) as session:
        assert session.name == "judge-1/chat-server"
    with ChatServer(model="judge-1", base_url=url, send_seed=False).open(Device()) as session:
        assert session.name == "judge-1/chat-server-no_seed", "what is sent is part of what is asked"


@pytest.mark.parametrize(
    ("settings", "name", "sent", "unsent"),
    [
        ({}, "", {"max_tokens", "temperature", "top_p", "seed"}, {"top_k", "max_completion_tokens"}),
        ({"send_temperature": False}, "-no_temperature", {"top_p", "seed"}, {"temperature"}),
        ({"send_top_k": True}, "-top_k", {"top_k"}, set()),
        ({"max_tokens_field": "max_completion_tokens"}, "", {"max_completion_tokens"}, {"max_tokens"}),
        (
            {"send_seed": False, "send_top_p": False, "send_temperature": False},
            "-no_seed-no_top_p-no_temperature",
            {"max_tokens"},
            {"seed", "top_p", "temperature"},
        ),
    ],
)
def test_what_is_left_unsent_is_in_the_name(
    serve: Serve, settings: dict[str, Any], name: str, sent: set[str], unsent: set[str]
) -> None:
    server, url = serve(says("x"))
    ask(url, request(sampling=replace(SAMPLING, top_k=20)), **settings)
    assert sent <= server.bodies[0].keys()
    assert not unsent & server.bodies[0].keys()
    assert ChatServer(model="m", base_url=url, **settings).name == f"m/chat-server{name}"


@pytest.mark.parametrize(
    "settings",
    [{"max_tokens_field": "tokens"}, {"poll_seconds": 0.0}],
)
def test_settings_out_of_range_are_rejected_by_name_when_a_configuration_is_built(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(ValidationError, match=name):
        TypeAdapter(ChatServer).validate_python({"model": "m", "base_url": "http://x", **settings})


def test_half_a_surrogate_pair_in_a_prompt_is_sent_as_a_question_mark(serve: Serve) -> None:
    server, url = serve(says("x"))
    ask(url, request("half \ud83d"))
    assert server.bodies[0]["messages"][0]["content"] == "half ?"
