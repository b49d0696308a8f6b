"""The batch interfaces of both providers, against scripted ones that end in every way they can."""

import json
import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reer.errors import Incomplete, InputError
from reer.models.protocols import Completion, Request
from reer.models.services.batches import BatchLimits
from tests.fakes.batches import ASKED, PROVIDERS, ask, request, server_of
from tests.fakes.http import Handler, Serve, respond
from tests.fakes.providers import Anthropic, OpenAi, Play, Provider, Rows, lines

both = pytest.mark.parametrize("kind", PROVIDERS, ids=lambda kind: kind.__name__)


def words(asked: Sequence[Request]) -> list[str]:
    return [each.prompt.messages[0].content.upper() for each in asked]


@both
def test_answers_come_with_the_index_of_their_request(kind: type[Provider], serve: Serve, tmp_path: Path) -> None:
    provider = kind(lambda batch, rows: rows[::-1])
    _, url = serve(provider)
    replies = ask(kind, url, tmp_path)
    assert [reply.text for reply in replies] == words(ASKED)
    assert replies[0] == Completion(text="Q0", stopped="stop", prompt_tokens=7, tokens=3)
    assert replies[0].served == "m-001"
    assert len(provider.sent) == 1


@both
def test_bodies_are_those_of_the_live_session(kind: type[Provider], serve: Serve, tmp_path: Path) -> None:
    provider = kind()
    _, url = serve(provider)
    ask(kind, url, tmp_path)
    assert [provider.body(row) for row in provider.sent[0]] == [server_of(kind, url).body(each) for each in ASKED]
    assert all(re.fullmatch(r"[0-9a-f]{32}", row["custom_id"]) for row in provider.sent[0])


@both
def test_equal_requests_are_sent_once_and_other_seeds_are_other_requests(
    kind: type[Provider], serve: Serve, tmp_path: Path
) -> None:
    provider = kind()
    _, url = serve(provider)
    replies = ask(kind, url, tmp_path, [request("a"), request("b"), request("a"), request("a", seed=6)])
    assert [reply.text for reply in replies] == ["A", "B", "A", "A"]
    assert provider.texts() == [["a", "b", "a"]]


@both
@pytest.mark.parametrize("limits", [BatchLimits(requests=2), BatchLimits(bytes=700)])
def test_many_requests_make_several_batches(
    kind: type[Provider], serve: Serve, tmp_path: Path, limits: BatchLimits
) -> None:
    provider = kind()
    _, url = serve(provider)
    assert [reply.text for reply in ask(kind, url, tmp_path, limits=limits)] == words(ASKED)
    assert len(provider.sent) >= 2
    assert [text for batch in provider.texts() for text in batch] == [f"q{i}" for i in range(6)]
    assert all(len(rows) <= limits.requests and len(lines(rows)) <= limits.bytes for rows in provider.sent)


def lose(kind: type[Provider], lost: Sequence[int], batches: Sequence[int], how: str) -> Play:
    """In these batches, what stands at these places expires, fails or is not there."""
    provider = kind()

    def play(batch: int, rows: Rows) -> Rows:
        def row(at: int) -> Rows:
            if batch not in batches or at not in lost:
                return [rows[at]]
            if how == "absent":
                return []
            return [provider.late(rows[at]) if how == "expired" else provider.failed(rows[at], 500, "sorry")]

        return [found for at in range(len(rows)) for found in row(at)]

    return play


@both
@pytest.mark.parametrize("how", ["expired", "failed", "absent"])
def test_what_has_no_answer_is_asked_again_alone(kind: type[Provider], serve: Serve, tmp_path: Path, how: str) -> None:
    provider = kind(lose(kind, [1, 4], [1], how))
    _, url = serve(provider)
    assert [reply.text for reply in ask(kind, url, tmp_path)] == words(ASKED)
    assert provider.texts()[1:] == [["q1", "q4"]]


@both
@pytest.mark.parametrize("how", ["expired", "failed", "absent"])
def test_a_bounded_number_of_times(kind: type[Provider], serve: Serve, tmp_path: Path, how: str) -> None:
    provider = kind(lose(kind, [0], range(99), how))
    _, url = serve(provider)
    answered: set[int] = set()
    with pytest.raises(Incomplete, match=r"1 of 6 requests have no answer after 3 batches.*sends only these again"):
        ask(kind, url, tmp_path, on_answer=lambda i, _: answered.add(i))
    assert provider.texts()[1:] == [["q0"], ["q0"]]
    assert answered == {1, 2, 3, 4, 5}


def other_shape(kind: type[Provider], numbers: Sequence[int]) -> Play:
    """Replies of a shape that is not read, for these requests in every batch."""

    def changed(row: dict[str, Any]) -> dict[str, Any]:
        if kind is OpenAi:
            return row | {"response": {"status_code": 200, "body": {"output": []}}}
        return row | {"result": {"type": "succeeded", "message": {"content": [], "stop_reason": "tool_use"}}}

    def play(batch: int, rows: Rows) -> Rows:
        bad = {f"Q{number}" for number in numbers}
        return [changed(row) if any(f'"{name}"' in json.dumps(row) for name in bad) else row for row in rows]

    return play


@both
def test_a_reply_that_stays_unreadable_is_lost_alone(
    kind: type[Provider], serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    provider = kind(other_shape(kind, [2]))
    _, url = serve(provider)
    replies = ask(kind, url, tmp_path)
    assert [reply.stopped for reply in replies] == ["stop", "stop", "unreadable", "stop", "stop", "stop"]
    assert provider.texts()[1:] == [["q2"], ["q2"]], "it is sent again before it is given up"
    assert any("a request is given up and counted as lost" in text for text in caplog.messages)


@both
def test_a_provider_none_of_whose_replies_is_read_stops_the_work(
    kind: type[Provider], serve: Serve, tmp_path: Path
) -> None:
    _, url = serve(kind(other_shape(kind, range(6))))
    with pytest.raises(InputError, match="its replies have a shape that is not read"):
        ask(kind, url, tmp_path)


@both
def test_answers_of_another_model_are_refused_and_stay_with_the_provider(
    kind: type[Provider], serve: Serve, tmp_path: Path
) -> None:
    provider = kind()
    _, url = serve(provider)
    asked = replace(server_of(kind, url), model="another")
    with (
        asked.open_batches(tmp_path) as session,
        pytest.raises(InputError, match="'m-001' answered, 'another' was asked for"),
    ):
        list(session.generate(ASKED))
    assert len(provider.sent) == 1
    assert list(tmp_path.glob("*.json")), "the batch is found again once its answers are recorded"


@both
def test_lines_that_were_reported_before_or_never_asked_for_are_passed_over(
    kind: type[Provider], serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def play(batch: int, rows: Rows) -> Rows:
        foreign, twice = rows[2] | {"custom_id": "somebody-elses"}, rows[1] | {"custom_id": rows[0]["custom_id"]}
        return [foreign, *rows, twice]

    provider = kind(play)
    _, url = serve(provider)
    assert [reply.text for reply in ask(kind, url, tmp_path)] == words(ASKED)
    assert any("skipped 2 lines with an unknown or duplicate custom_id" in text for text in caplog.messages)
    assert len(provider.sent) == 1


@both
def test_a_result_that_was_cut_off_is_read_as_far_as_it_goes(
    kind: type[Provider], serve: Serve, tmp_path: Path
) -> None:
    provider = kind()

    def cut(handler: Handler) -> None:
        status, body = provider.reply(handler)
        cuts = isinstance(body, bytes) and len(provider.sent) == 1 and body
        respond(status, body[: len(body) - 60] + b"\n[]\n7\n" if cuts else body)(handler)

    _, url = serve(cut)
    assert [reply.text for reply in ask(kind, url, tmp_path)] == words(ASKED)
    assert provider.texts()[1:] == [["q5"]]


@both
def test_a_refused_request_is_an_answer_among_others(kind: type[Provider], serve: Serve, tmp_path: Path) -> None:
    def play(batch: int, rows: Rows) -> Rows:
        refused = provider.failed(rows[1], 400, "messages.0: not like this")
        return [rows[0], refused, provider.failed(rows[2], 400, "prompt is too long: 9 > 8"), *rows[3:]]

    provider = kind(play)
    _, url = serve(provider)
    answered: list[int] = []
    replies = ask(kind, url, tmp_path, on_answer=lambda i, _: answered.append(i))
    assert [reply.stopped for reply in replies] == ["stop", "refused", "prompt_too_long", "stop", "stop", "stop"]
    assert "not like this" in replies[1].text
    assert sorted(answered) == list(range(6))
    assert len(provider.sent) == 1


@both
@pytest.mark.parametrize(("status", "told"), [(400, "(?s)no such parameter.*send_top_p=false"), (401, "no such par")])
def test_refused_parameters_are_an_error_and_no_answers(
    kind: type[Provider], serve: Serve, tmp_path: Path, status: int, told: str
) -> None:
    provider = kind(lambda batch, rows: [provider.failed(row, status, "no such parameter") for row in rows])
    _, url = serve(provider)
    for batches in (1, 2):
        with pytest.raises(InputError, match=told):
            ask(kind, url, tmp_path)
        assert len(provider.sent) == batches, "nothing but asking again can have another outcome"


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled"])
def test_however_a_batch_ends_its_results_are_taken(serve: Serve, tmp_path: Path, status: str) -> None:
    provider = OpenAi(statuses=("validating", "in_progress", "finalizing", status))
    _, url = serve(provider)
    assert [reply.text for reply in ask(OpenAi, url, tmp_path)] == words(ASKED)
    assert provider.polled == 4


def test_a_batch_that_failed_says_of_what(serve: Serve, tmp_path: Path) -> None:
    provider = OpenAi(statuses=("failed",), errors=[{"code": "token_limit", "message": "too much is waiting"}])
    _, url = serve(provider)
    with pytest.raises(Incomplete, match=r"6 of 6 requests.*batch_3 failed.*too much is waiting"):
        ask(OpenAi, url, tmp_path)
    assert len(provider.sent) == 3


@both
def test_a_cancellation_that_does_not_end_is_not_waited_for(kind: type[Provider], serve: Serve, tmp_path: Path) -> None:
    provider = kind(statuses=(*["cancelling"] * 16, "completed"))
    _, url = serve(provider)
    assert [reply.text for reply in ask(kind, url, tmp_path, poll_seconds=0.0001)] == words(ASKED)
    assert len(provider.sent) == 2


@both
def test_a_batch_that_does_not_end_is_left_and_waited_for_another_time(
    kind: type[Provider], serve: Serve, tmp_path: Path
) -> None:
    provider = kind(statuses=("in_progress",))
    _, url = serve(provider)
    with pytest.raises(Incomplete, match=r"6 of 6 requests.*is in_progress after 0\.1 s.*continues to wait"):
        ask(kind, url, tmp_path, batch_seconds=0.1)
    provider.statuses = ("completed",)
    assert [reply.text for reply in ask(kind, url, tmp_path, batch_seconds=0.1)] == words(ASKED)
    assert len(provider.sent) == 1


@both
def test_a_poll_that_fails_is_repeated(kind: type[Provider], serve: Serve, tmp_path: Path) -> None:
    provider, failed = kind(), iter([True, True, False])

    def act(handler: Handler) -> None:
        shaky = handler.command == "GET" and next(failed, False)
        (respond(503, {"error": "later"}) if shaky else provider)(handler)

    _, url = serve(act)
    assert [reply.text for reply in ask(kind, url, tmp_path, attempts=1)] == words(ASKED)


@both
def test_polls_that_all_fail_end_the_work_but_not_the_batch(kind: type[Provider], serve: Serve, tmp_path: Path) -> None:
    provider, dark = kind(), [True]

    def act(handler: Handler) -> None:
        (respond(503, {"error": "later"}) if handler.command == "GET" and dark else provider)(handler)

    _, url = serve(act)
    with pytest.raises(Incomplete, match="HTTP 503"):
        ask(kind, url, tmp_path, attempts=1)
    dark.clear()
    assert [reply.text for reply in ask(kind, url, tmp_path)] == words(ASKED)
    assert len(provider.sent) == 1


@both
def test_a_submission_that_may_have_arrived_is_not_sent_again(
    kind: type[Provider], serve: Serve, tmp_path: Path
) -> None:
    provider = kind()

    def act(handler: Handler) -> None:
        status, body = provider.reply(handler)
        respond(500 if "batches" in handler.path else status, body)(handler)

    _, url = serve(act)
    with pytest.raises(Incomplete, match="the server may have carried it out nevertheless"):
        ask(kind, url, tmp_path)
    assert len(provider.sent) == 1


KILLED = """
import sys
from pathlib import Path
from tests.fakes.batches import ask
from tests.fakes.providers import Anthropic, OpenAi
ask({"OpenAi": OpenAi, "Anthropic": Anthropic}[sys.argv[1]], sys.argv[2], Path(sys.argv[3]))
"""


@both
def test_who_asks_the_same_after_a_kill_waits_for_the_same_batch(
    kind: type[Provider], serve: Serve, tmp_path: Path
) -> None:
    provider = kind(statuses=("in_progress",))
    _, url = serve(provider)
    child = subprocess.Popen([sys.executable, "-c", KILLED, kind.__name__, url, str(tmp_path)])
    ends_at = time.monotonic() + 60
    while provider.polled < 3 and child.poll() is None and time.monotonic() < ends_at:
        time.sleep(0.02)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    provider.statuses = ("completed",)
    assert [reply.text for reply in ask(kind, url, tmp_path, [*ASKED, request("new")])] == [*words(ASKED), "NEW"]
    assert provider.texts() == [[f"q{i}" for i in range(6)], ["new"]]


@both
def test_a_batch_is_archived_once_all_of_its_answers_were_received(
    kind: type[Provider], serve: Serve, tmp_path: Path
) -> None:
    provider = kind(statuses=("in_progress",))
    _, url = serve(provider)
    with pytest.raises(Incomplete):
        ask(kind, url, tmp_path, batch_seconds=0.05)
    provider.statuses = ("completed",)
    ask(kind, url, tmp_path, ASKED[:2])
    assert len(list(tmp_path.glob("*.json"))) == 1, "the other four may still be asked for"
    ask(kind, url, tmp_path)
    assert not list(tmp_path.glob("*.json"))
    assert len(provider.sent) == 1


@both
def test_a_batch_whose_answers_were_not_all_consumed_is_found_again(
    kind: type[Provider], serve: Serve, tmp_path: Path
) -> None:
    provider = kind()
    _, url = serve(provider)
    with server_of(kind, url).open_batches(tmp_path) as session:
        replies = session.generate(ASKED)
        assert provider.sent == [], "nothing is sent before the iterator is consumed"
        next(replies)
        replies.close()
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert [reply.text for reply in ask(kind, url, tmp_path)] == words(ASKED)
    assert len(provider.sent) == 1


@both
def test_a_batch_of_another_model_or_address_is_not_ours(kind: type[Provider], serve: Serve, tmp_path: Path) -> None:
    provider, another = kind(statuses=("in_progress",)), kind()
    (_, url), (_, other) = serve(provider), serve(another)
    with pytest.raises(Incomplete):
        ask(kind, url, tmp_path, batch_seconds=0.05)
    assert [reply.text for reply in ask(kind, other, tmp_path)] == words(ASKED)
    assert another.polled == 2, "it was asked for its own batch alone"
    provider.statuses = ("completed",)
    ask(kind, url, tmp_path, send_top_p=False)
    assert len(provider.sent) == 2


@both
@pytest.mark.parametrize("torn", [b"", b'{"id": "batch_1", "cust', b"\x00" * 40, b"[]", b'{"id": 3}'])
def test_a_torn_note_is_passed_over(
    kind: type[Provider], serve: Serve, tmp_path: Path, torn: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "note.json").write_bytes(torn)
    _, url = serve(kind())
    with caplog.at_level(logging.WARNING):
        assert [reply.text for reply in ask(kind, url, tmp_path)] == words(ASKED)
    assert any("note.json does not describe a batch" in text for text in caplog.messages)
    assert (tmp_path / "note.json").read_bytes() == torn


@both
def test_a_batch_that_is_not_there_any_more_is_sent_again(kind: type[Provider], serve: Serve, tmp_path: Path) -> None:
    provider = kind(statuses=("in_progress",))
    _, url = serve(provider)
    with pytest.raises(Incomplete):
        ask(kind, url, tmp_path, batch_seconds=0.05)
    (note,) = tmp_path.glob("*.json")
    known = json.loads(note.read_text())
    note.write_text(json.dumps(known | {"id": re.sub(r"\d+", "99", known["id"])}))
    provider.statuses = ("completed",)
    assert [reply.text for reply in ask(kind, url, tmp_path, poll_seconds=0.0001)] == words(ASKED)
    assert len(provider.sent) == 2


def test_the_key_goes_to_no_other_address_than_the_one_given(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TEST_KEY", "secret-canary")
    elsewhere, other = serve(respond(200, {}))
    provider = Anthropic()

    def act(handler: Handler) -> None:
        status, body = provider.reply(handler)
        if isinstance(body, dict) and body.get("results_url"):
            body["results_url"] = f"{other}/stolen"
        respond(status, body)(handler)

    _, url = serve(act)
    assert [r.text for r in ask(Anthropic, url, tmp_path, key_variable="MY_TEST_KEY")] == words(ASKED)
    assert elsewhere.headers == []
    assert not any("secret-canary" in file.read_text() for file in tmp_path.iterdir())


def test_nothing_to_ask_is_nothing_sent(serve: Serve, tmp_path: Path) -> None:
    provider = OpenAi()
    _, url = serve(provider)
    assert ask(OpenAi, url, tmp_path, []) == []
    assert provider.sent == []


def test_a_request_is_the_same_whatever_its_group(serve: Serve, tmp_path: Path) -> None:
    provider = OpenAi()
    _, url = serve(provider)
    ask(OpenAi, url, tmp_path, [request("a"), replace(request("a"), group="pair")])
    assert provider.texts() == [["a"]]
