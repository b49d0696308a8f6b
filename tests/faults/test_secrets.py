"""Canaries planted wherever a secret can be: they reach no file, no line that is printed and no W&B table."""

from __future__ import annotations

import base64
import json
import logging
import unicodedata
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from evals.judging.records import Judgements
from experiments.config.compose import compose_jobs
from experiments.report import console
from experiments.report.console import ShowableFormatter
from reer.errors import Incomplete, InputError
from reer.models.services.anthropic import AnthropicServer
from reer.models.services.openai import ChatServer
from reer.text import without_control_characters
from tests.fakes.commands import Done, reer
from tests.fakes.http import Act, Handler, Serve, ask, respond
from tests.fakes.judging import verdicts

CANARY = "canary-4f9a/Zq+8c1d2e3f"
BEARER = f"Bearer {CANARY}"
ESCAPED = "".join(f"\\u{ord(character):04x}" for character in CANARY)
JUDGE = (
    "judge=server",
    "judge.model.model=m",
    "judge.model.key_variable=REER_JUDGE",
    "judge.model.attempts=4",
    "judge.model.reroutes=record",
)


def traces(folder: Path, *texts: str) -> list[str]:
    """The files below a folder that hold the canary, as it is or in base64, and the texts that do."""
    spellings = [CANARY, CANARY.replace("/", "\\/"), base64.b64encode(CANARY.encode()).decode(), "canary-4f9a"]
    needles = [spelling.encode() for spelling in spellings]
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = [str(path) for path in files if any(needle in path.read_bytes() for needle in needles)]
    named = [str(path) for path in folder.rglob("*") if "canary" in path.name]
    return found + named + [text for text in texts if any(needle in text.encode() for needle in needles)]


def chat(text: str) -> dict[str, Any]:
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}, "model": BEARER}


def echoes(handler: Handler) -> Iterator[Act]:
    """Replies that repeat the headers of a request, in every form a judge may give them."""
    headers = str(handler.headers)
    yield respond(200, chat(json.dumps({"score": 7, "reason": headers})))
    yield respond(500, f"<html>{headers}</html>".encode())
    yield respond(200, b'{"choices": [{"message": {"content": "' + ESCAPED.encode() + b'"}}]}')
    yield respond(400, {"error": {"message": f"content_filter {headers}"}})
    yield respond(200, headers.encode())
    yield respond(429, {"error": headers}, Retry_After_ms="1")
    yield respond(200, chat(f'{{"score": 7}} {BEARER}'))


def echoing() -> Act:
    turns = cycle(range(7))

    def act(handler: Handler) -> None:
        if handler.asked.get("max_tokens") == 1:  # the health check
            respond(200, chat("Hello"))(handler)
            return
        turn = next(turns)
        list(echoes(handler))[turn](handler)

    return act


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REER_JUDGE", CANARY)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.setenv("SOME_TOKEN", CANARY)


@pytest.mark.usefixtures("canary")
def test_fault_57_canaries_of_a_run_are_in_no_file_and_no_line(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A smoke run whose judge repeats its headers in answers, errors and pages: the key is in no file below the root,
    W&B's included, and in no line that is printed."""
    server, url = serve(echoing())
    monkeypatch.chdir(tmp_path)
    arm = ("experiment=no_synthetic_data", "scale=smoke", "tracking=offline", "benchmark.writing.items_limit=7")
    done = reer(tmp_path / "out", "run", *arm, *JUDGE, f"judge.model.base_url={url}")
    printed = capfd.readouterr()
    assert done.code == 0, done.text
    assert any(headers.get("Authorization") == BEARER for headers in server.headers)
    assert any("[redacted]" in file.read_text() for file in (tmp_path / "out").rglob("*.jsonl"))
    assert traces(tmp_path, done.out, done.err, printed.out, printed.err) == []


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 500])
def test_fault_57_an_error_that_repeats_the_key_is_shown_without_it(
    serve: Serve, tmp_path: Path, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """An error of the judge that repeats the header is shown and recorded without the key."""
    _, url = serve(lambda handler: respond(status, f"<html>\x1b[2J{handler.headers}".encode())(handler))
    done = reer_plain(tmp_path, url)
    assert traces(tmp_path, done) == []
    assert "[redacted]" in done
    assert "\x1b" not in done
    assert "canary" not in capfd.readouterr().err


def reer_plain(folder: Path, url: str) -> str:
    """The error of a judge session at `url`, as it is shown."""
    with pytest.raises((InputError, Incomplete)) as raised:
        verdicts(folder, url, key_variable="REER_JUDGE", attempts=1)
    assert CANARY not in str(raised.value)
    return console.escape(str(raised.value))


@pytest.mark.usefixtures("canary")
def test_fault_57_the_error_of_a_proxy_is_shown_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password in a proxy's address is in no error of a connection."""
    monkeypatch.setenv("http_proxy", f"http://me:{CANARY.replace('/', '%2F')}@127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(Incomplete) as raised:
        ask("http://judge.example/v1", attempts=1)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    "override",
    [
        f"judge.model.base_url=http://me:{CANARY[:10]}@host/v1",
        f"judge.model.base_url=http://{CANARY[:10]}@host/v1",
        f"judge.model.base_url='http://host/v1?api_key={CANARY[:10]}'",
        "tracking.entity=ghp_" + "a" * 36,
        "tracking.entity=github_pat_" + "a" * 30,
        "tracking.entity=AIza" + "x" * 35,
        "tracking.entity=xoxb-1234567890-abcdef",
        "tracking.entity=AKIAABCDEFGHIJKLMNOP",
        "tracking.entity=" + "0123456789abcdef" * 2 + "01234567",
        "tracking.entity=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "tracking.entity='Bearer abcdefgh12345678'",
        f"+hydra.job.env_set.OPENAI_API_KEY={CANARY}",
        f"+hydra.job.env_set={{OPENAI_API_KEY:{CANARY}}}",
        f"hydra={{job:{{env_set:{{SOME_TOKEN:{CANARY}}}}}}}",
        "+hydra.job.env_copy=[OPENAI_API_KEY]",
        "++judge.model.key_variabel=sk-abcdefghijklmnop1234",
    ],
    ids=lambda text: text[:44],
)
def test_fault_57_a_secret_on_the_command_line_is_refused_and_not_repeated(tmp_path: Path, override: str) -> None:
    """A value that looks like a secret is refused before any work, and neither shown nor written. Hydra would write the
    variables it sets or copies into its own files."""
    value = override.partition("=")[2]
    done = reer(tmp_path / "out", "run", "-m", "scale=smoke", *JUDGE, "judge.model.base_url=http://host/v1", override)
    assert done.code == 2, done.text
    assert "environment variable" in done.text
    assert CANARY[:10] not in done.text
    assert value not in done.text or value == "[OPENAI_API_KEY]"
    assert "canary" not in done.text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("override", ["source.revision=" + "a" * 40, "+hydra.job.env_copy=[HOME]"])
def test_a_commit_and_another_variable_are_no_secrets(override: str) -> None:
    compose_jobs(["scale=smoke", "source=dolly", override], False)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:word@host/v1",
        "http://token@host/v1",
        "http://host/v1?api_key=abc",
        "http://host/v1#abc",
        "http://",
        "http://host:port/v1",
        "http://[::1/v1",
        "ftp://host",
    ],
)
@pytest.mark.parametrize("server", [ChatServer, AnthropicServer])
def test_an_address_with_a_user_or_a_query_is_refused(server: Any, url: str) -> None:
    for settings in ({"base_url": url}, {"base_url": "http://host", "replicas": (url,)}):
        with pytest.raises(InputError, match="server: base_url wants") as raised:
            server(model="m", **settings)
        assert not any(secret in str(raised.value) for secret in ("word", "token@", "abc"))


def test_a_stored_answer_is_without_the_key(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REER_JUDGE", CANARY)
    reply = {"score": 7, "reason": BEARER}
    _, url = serve(respond(200, chat(json.dumps(reply))))
    found = verdicts(tmp_path, url, key_variable="REER_JUDGE", reroutes="record")
    assert all(verdict.scores for verdict in found)
    assert len(Judgements(tmp_path)) == 4
    assert traces(tmp_path, *(verdict.reply for verdict in found)) == []


HOSTILE = "\x1b]0;pwned\x07\x1b[2J\x9b31m\x00\x7f[bold]<script>\r=HYPERLINK()\tline\nnext"


def test_fault_58_hostile_text_is_inert_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """Control characters other than newline and tab reach the terminal neither from errors, tables and progress lines
    nor from log lines; markup stays text."""
    console.error(HOSTILE)
    console.Console(highlight=False).print(console.escape(HOSTILE))
    log_line = ShowableFormatter("%(message)s").format(logging.makeLogRecord({"msg": "%s", "args": (HOSTILE,)}))
    shown = capfd.readouterr()
    for text in (shown.err, shown.out, log_line):
        assert not any(character < " " and character not in "\n\t" for character in text)
        assert not any("\x7f" <= character <= "\x9f" for character in text)
        assert "[bold]<script>" in text


def test_fault_58_only_newline_and_tab_remain_of_control_characters() -> None:
    """All of C0 and C1 but newline and tab are removed; everything else stays."""
    every = [chr(code) for code in range(0x300)]
    kept = [character for character in every if character in "\n\t" or unicodedata.category(character) != "Cc"]
    assert without_control_characters("".join(every)) == "".join(kept)


def test_a_logged_exception_is_shown_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", CANARY)
    try:
        raise ConnectionError(f"\x1b[2J{CANARY}")
    except ConnectionError as error:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": (type(error), error, error.__traceback__)})
    line = ShowableFormatter("%(message)s").format(record)
    assert "canary" not in line
    assert "\x1b" not in line
    assert "[redacted]" in line


def test_a_command_that_fails_shows_its_error_without_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", CANARY)
    done: Done = reer(tmp_path, "run", f"experiment={CANARY[:12]}", f"scale=sm{CANARY}")
    assert done.code == 2
    assert CANARY not in done.text
