"""Downloads of benchmark files from a local server that stands in for upstream and fails in many ways."""

import gzip
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from evals.benchmarks.data_files import DataFiles, UpstreamFiles
from evals.benchmarks.download import DownloadLimits, fetch, file_states
from evals.benchmarks.extract import extract
from experiments.cli import main
from experiments.fetch import available
from experiments.store.fingerprint import encode
from reer.errors import Incomplete, InputError
from tests.conftest import REPOSITORY

COMMIT = "0123456789abcdef0123456789abcdef01234567"
QUICK = DownloadLimits(attempts=3, timeout_seconds=0.5, pause_seconds=0.01)
Act = Callable[[BaseHTTPRequestHandler], None]
Files = dict[str, bytes | Sequence[Act]]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sends(content: bytes, status: int = 200, **headers: str) -> Act:
    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return act


def hangs(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1.0)


class Mirror:
    """Serves files below a repository and commit; a list of acts is used in order. Records the requested paths."""

    def __init__(self, files: Files, upstream: str = "owner/name", commit: str = COMMIT) -> None:
        self.acts: dict[str, list[Act]] = {
            f"/{upstream}/{commit}/{path}": [sends(c)] if isinstance(c, bytes) else list(c) for path, c in files.items()
        }
        self.requested: list[str] = []
        self.url = ""

    def reply_to(self, handler: BaseHTTPRequestHandler) -> None:
        self.requested.append(handler.path.split("/", 4)[-1])
        acts = self.acts.setdefault(handler.path, [sends(b"none", 404)])
        (acts.pop(0) if len(acts) > 1 else acts[0])(handler)


Serve = Callable[..., Mirror]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running: list[ThreadingHTTPServer] = []

    def start(files: Files, *where: str) -> Mirror:
        mirror = Mirror(files, *where)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.reply_to(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        http.daemon_threads, http.block_on_close = True, False
        running.append(http)
        Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        mirror.url = f"http://127.0.0.1:{http.server_port}"
        return mirror

    yield start
    for http in running:
        http.shutdown()
        http.server_close()


def copies(folder: Path, mirror: Mirror | str, **contents: bytes) -> DataFiles:
    """Local files that are copies: `in/a.txt` of upstream's `data/a.txt`."""
    return DataFiles(
        folder=str(folder),
        sha256={f"in/{name}.txt": sha256(content) for name, content in contents.items()},
        upstream="owner/name",
        commit=COMMIT,
        sources={
            f"in/{name}.txt": UpstreamFiles(method="copy", files={"text": f"data/{name}.txt"}) for name in contents
        },
        mirror=mirror if isinstance(mirror, str) else mirror.url,
        name="synthetic",
    )


def test_files_are_fetched_once_and_read(serve: Serve, tmp_path: Path) -> None:
    mirror = serve({"data/a.txt": b"one\n", "data/b.txt": b"two\n"})
    data = copies(tmp_path, mirror, a=b"one\n", b=b"two\n")
    seen: list[tuple[str, int, int | None]] = []
    assert fetch(data, lambda *progress: seen.append(progress), QUICK) == ["in/a.txt", "in/b.txt"]
    assert fetch(data, limits=QUICK) == []
    assert (data.lines("in/a.txt"), data.lines("in/b.txt")) == (["one"], ["two"])
    assert mirror.requested == ["data/a.txt", "data/b.txt"]
    assert seen == [("data/a.txt", 4, 4), ("data/b.txt", 4, 4)]
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a.txt", "b.txt"]


def test_a_compressed_file_counts_as_present(tmp_path: Path) -> None:
    data = copies(tmp_path, "https://nowhere.invalid", a=b"one\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt.gz").write_bytes(gzip.compress(b"one\n"))
    assert fetch(data, limits=QUICK) == []


def test_a_file_with_other_content_is_never_replaced_and_stops_the_fetch(serve: Serve, tmp_path: Path) -> None:
    mirror = serve({"data/a.txt": b"one\n", "data/b.txt": b"two\n"})
    data = copies(tmp_path, mirror, a=b"one\n", b=b"two\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/b.txt").write_bytes(b"mine\n")
    assert file_states(data) == {"in/a.txt": "missing", "in/b.txt": "different"}
    with pytest.raises(InputError, match=r"in/b\.txt: present, but not the pinned content.*move them away"):
        fetch(data, limits=QUICK)
    assert (tmp_path / "in/b.txt").read_bytes() == b"mine\n"
    assert mirror.requested == []


def test_a_download_with_other_content_is_not_stored_but_the_rest_is(serve: Serve, tmp_path: Path) -> None:
    mirror = serve({"data/a.txt": b"ONE\n", "data/b.txt": b"two\n"})
    data = copies(tmp_path, mirror, a=b"one\n", b=b"two\n")
    with pytest.raises(InputError, match=r"in/a\.txt, made of data/a\.txt .* has sha256 .* \(4 bytes\), pinned is"):
        fetch(data, limits=QUICK)
    assert file_states(data) == {"in/a.txt": "missing", "in/b.txt": "present"}


@pytest.mark.parametrize(
    "bad",
    [
        sends(b"on", Content_Length="4"),  # truncated
        sends(b"busy", 503),
        sends(b"slow down", 429),
        sends(b"not gzip", Content_Encoding="gzip"),
        hangs,
    ],
)
def test_a_failed_download_is_retried(serve: Serve, tmp_path: Path, bad: Act) -> None:
    mirror = serve({"data/a.txt": [bad, bad, sends(b"one\n")]})
    assert fetch(copies(tmp_path, mirror, a=b"one\n"), limits=QUICK) == ["in/a.txt"]
    assert len(mirror.requested) == 3


def test_attempts_are_limited_and_earlier_files_are_kept(serve: Serve, tmp_path: Path) -> None:
    mirror = serve({"data/a.txt": b"one\n", "data/b.txt": [sends(b"t", Content_Length="4")]})
    data = copies(tmp_path, mirror, a=b"one\n", b=b"two\n")
    with pytest.raises(Incomplete, match=r"data/b\.txt: 3 attempts failed, the last with: RemoteProtocolError"):
        fetch(data, limits=QUICK)
    assert file_states(data) == {"in/a.txt": "present", "in/b.txt": "missing"}
    assert mirror.requested == ["data/a.txt", *["data/b.txt"] * 3]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (sends(b"", 302, Location="https://elsewhere.invalid/x"), "the server redirects"),
        (sends(b"none", 404), "HTTP 404"),
        (sends(b"no", 403), "HTTP 403"),
        (sends(b"x" * 5000), "more than 4,000 bytes in one fetch"),
    ],
)
def test_permanent_errors_are_not_retried(serve: Serve, tmp_path: Path, answer: Act, why: str) -> None:
    mirror = serve({"data/a.txt": [answer]})
    with pytest.raises(InputError, match=why):
        fetch(copies(tmp_path, mirror, a=b"one\n"), limits=replace(QUICK, total_bytes=4000))
    assert mirror.requested == ["data/a.txt"]


def test_a_decompression_bomb_is_bounded(serve: Serve, tmp_path: Path) -> None:
    bomb = sends(gzip.compress(b"0" * 5_000_000), Content_Encoding="gzip")
    with pytest.raises(InputError, match="more than 100,000 bytes"):
        fetch(copies(tmp_path, serve({"data/a.txt": [bomb]}), a=b"1"), limits=replace(QUICK, total_bytes=100_000))


def test_a_slow_server_is_abandoned(serve: Serve, tmp_path: Path) -> None:
    def sends_slowly(handler: BaseHTTPRequestHandler) -> None:
        sends(b"", Content_Length="1000")(handler)
        with suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(20):
                handler.wfile.write(b"x")
                time.sleep(0.02)

    limits = replace(QUICK, attempts=1, file_seconds=0.1)
    with pytest.raises(Incomplete, match=r"not complete after 0\.1 s"):
        fetch(copies(tmp_path, serve({"data/a.txt": [sends_slowly]}), a=b"1"), limits=limits)


@pytest.mark.parametrize(
    "mirror",
    ["http://example.com", "ftp://127.0.0.1", "https://", "https://u:p@example.com", "https://h/?x=", "file:/"],
)
def test_a_mirror_must_be_https_or_this_machine(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(InputError, match=r"data\.mirror: want https"):
        fetch(copies(tmp_path, mirror, a=b"1"), limits=QUICK)


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "a/../../b", "a\\b", "", "a//b", "a b", "a?x=1", "a%2e"])
@pytest.mark.parametrize("local", [True, False])
def test_paths_stay_below_the_folder_and_the_commit(tmp_path: Path, path: str, local: bool) -> None:
    name, file = (path, "a") if local else ("a", path)
    sources = {name: UpstreamFiles(method="copy", files={"text": file})}
    data = DataFiles(
        folder=str(tmp_path / "sub/in"),
        sha256={name: sha256(b"1")},
        upstream="owner/name",
        commit=COMMIT,
        sources=sources,
    )
    with pytest.raises(InputError, match=r"want relative paths|present, but not"):
        fetch(data, limits=QUICK)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sources": {}}, "but has no source"),
        (
            {"sources": {"in/a.txt": UpstreamFiles(method="run", files={"text": "data/a.txt"})}},
            "want one of copy, texts",
        ),
        ({"commit": "main"}, "40 hex digits"),
        ({"upstream": "name"}, "OWNER/NAME"),
    ],
)
def test_an_incomplete_origin_is_refused(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        fetch(replace(copies(tmp_path, "https://nowhere.invalid", a=b"1"), **change), limits=QUICK)


KILLED = """
import sys
from evals.benchmarks.download import fetch
from evals.benchmarks.data_files import DataFiles, UpstreamFiles
folder, mirror, commit, *digests = sys.argv[1:]
names = ["in/a.txt", "in/b.txt"]
sources = {n: UpstreamFiles(method="copy", files={"text": n.replace("in", "data")}) for n in names}
digests = dict(zip(names, digests))
fetch(DataFiles(folder=folder, sha256=digests, upstream="owner/name", commit=commit, sources=sources, mirror=mirror))
"""


def test_a_killed_fetch_is_resumed(serve: Serve, tmp_path: Path) -> None:
    mirror = serve({"data/a.txt": b"one\n", "data/b.txt": [lambda handler: time.sleep(20), sends(b"two\n")]})
    data = copies(tmp_path, mirror, a=b"one\n", b=b"two\n")
    command = [sys.executable, "-c", KILLED, str(tmp_path), mirror.url, COMMIT, *data.sha256.values()]
    child = subprocess.Popen(command, cwd=REPOSITORY)
    until = time.monotonic() + 20
    while "data/b.txt" not in mirror.requested and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert file_states(data) == {"in/a.txt": "present", "in/b.txt": "missing"}
    assert fetch(data, limits=QUICK) == ["in/b.txt"]
    assert mirror.requested == ["data/a.txt", "data/b.txt", "data/b.txt"]


PROMPT = UpstreamFiles(
    method="texts",
    files={"python": "judge.py"},
    constants={"system": "SYS", "user": "USER"},
    header={"source": "synthetic"},
)


def extracted(python: str) -> dict[str, str]:
    return json.loads(extract("p.json", PROMPT, {"python": python.encode()}))


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("'a\\u00e9\\n'", "aé\n"),
        ("'''a\nb'''", "a\nb"),
        ("'a' 'b'", "ab"),
        ("'a' + 'b' + ('c' + 'd')", "abcd"),
        ("(\n 'a'\n 'b'\n)", "ab"),
        ("'''\n a '''.strip()", "a"),
    ],
)
def test_string_constants_are_read(expression: str, text: str) -> None:
    found = extracted(f"import os\nSYS = {expression}\nUSER = 'u'\nos.remove('x')\ndef f():\n    return SYS + USER\n")
    assert found == {"source": "synthetic", "system": text, "user": "u"}
    assert list(found) == ["source", "system", "user"]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("open('/etc/passwd').read()", "got Call"),
        ("__import__('os').popen('id').read()", "got Call"),
        ("exec('touch x')", "got Call"),
        ("f'{1}'", "got JoinedStr"),
        ("'a' 'b' f'{open}'", "got JoinedStr"),
        ("'a' + f()", "got Call"),
        ("'a' * 10**10", "got BinOp"),
        ("'a %s' % OTHER", "got BinOp"),
        ("'{}'.format(1)", "got Call"),
        ("'a'.strip('a')", "got Call"),
        ("'a'.strip", "got Attribute"),
        ("'a'.strip().upper()", "got Call"),
        ("b'a'", "got Constant"),
        ("1", "got Constant"),
        ("OTHER", "got Name"),
        ("[c for c in 'a']", "got ListComp"),
        ("(lambda: 'a')()", "got Call"),
    ],
)
def test_expressions_that_would_have_to_run_are_refused(expression: str, why: str) -> None:
    with pytest.raises(InputError, match=rf"p\.json cannot be made from judge\.py: SYS: want a string constant, {why}"):
        extracted(f"OTHER = 'o'\nSYS = {expression}\nUSER = 'u'\n")


@pytest.mark.parametrize(
    ("python", "why"),
    [
        ("USER = 'u'", "bound 0 times"),
        ("SYS = 'a'\nSYS = 'b'\nUSER = 'u'", "bound 2 times"),
        ("SYS = 'a'\nSYS += 'b'\nUSER = 'u'", "bound 2 times"),
        ("SYS = 'a'\ndef f():\n    global SYS\n    SYS = 'b'\nUSER = 'u'", "bound 2 times"),
        ("if True:\n    SYS = 'a'\nUSER = 'u'", "bound 1 times"),
        ("SYS, x = 'a', 'b'\nUSER = 'u'", "bound 1 times"),
        ("SYS = 'a'\ndel SYS\nUSER = 'u'", "bound 2 times"),
        ("SYS = 'a", "SyntaxError"),
        ("SYS = '\x00'", "null bytes"),
        ("SYS = " + "(" * 5000 + "'a'" + ")" * 5000, "cannot be made"),
        ("SYS = " + "'a'+" * 50_000 + "'a'\nUSER = 'u'", "cannot be made"),
        ("#" * 2**21, "at most 1,048,576 bytes"),
    ],
)
def test_constants_without_a_unique_value_are_refused(python: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        extracted(python)


@pytest.mark.parametrize("literal", ["{'a': [1.0, f()]}", "[1.0]", "{'a': [True]}", "{'a': ['x']}", "{1: [1.0]}"])
def test_weights_must_be_a_dict_of_lists_of_numbers(literal: str) -> None:
    source = UpstreamFiles(method="weights", files={"python": "w.txt"}, constants={"weights": "W"})
    assert extract("w", source, {"python": b"W = {'a': [1.5]}"}) == b'{\n "a": [\n  1.5\n ]\n}'
    with pytest.raises(InputError, match=r"w cannot be made from w\.txt"):
        extract("w", source, {"python": f"W = {literal}".encode()})


@pytest.mark.parametrize("rows", [b'{"index": 1}', b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_rows_with_another_format_are_refused(rows: bytes) -> None:
    source = UpstreamFiles(method="criteria", files={"style": "s_C.jsonl"})
    good = b'{"index": 7, "checklist": [{"name": "\xe7\xae\x80"}]}\n'
    assert json.loads(extract("i", source, {"style": good})) == {"style": {"7": ["简"]}}
    with pytest.raises(InputError, match=r"i cannot be made from s_C\.jsonl"):
        extract("i", source, {"style": rows})


def test_an_extracted_file_and_its_sources_are_checked(serve: Serve, tmp_path: Path) -> None:
    python = b"SYS = 's'\nUSER = 'u'\n"
    content = extract("p.json", PROMPT, {"python": python})

    def data(folder: str, upstream: bytes, result: bytes) -> DataFiles:
        source = replace(PROMPT, sha256={"python": sha256(upstream)}, otherwise="do without")
        where, mirror = str(tmp_path / folder), serve({"judge.py": python})
        return DataFiles(
            folder=where,
            sha256={"p.json": sha256(result)},
            upstream="owner/name",
            commit=COMMIT,
            sources={"p.json": source},
            mirror=mirror.url,
        )

    assert fetch(data("good", python, content), limits=QUICK) == ["p.json"]
    with pytest.raises(InputError, match=r"^judge\.py .*it was not stored; do without"):
        fetch(data("before", b"other", content), limits=QUICK)
    with pytest.raises(InputError, match=r"^p\.json, made of judge\.py .*it was not stored; do without"):
        fetch(data("after", python, b"other"), limits=QUICK)


def test_the_error_for_a_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run `reer fetch synthetic` .* owner/name at 0123"):
        copies(tmp_path, "https://nowhere.invalid", a=b"1").text("in/a.txt")


def test_a_file_is_read_only_once(tmp_path: Path) -> None:
    data = copies(tmp_path, "https://nowhere.invalid", a=b"one\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_bytes(b"one\n")
    assert data.text("in/a.txt") == "one\n"
    (tmp_path / "in/a.txt").write_bytes(b"two\n")
    assert data.text("in/a.txt") == "one\n"  # the pinned content, although the file has changed
    assert file_states(data) == {"in/a.txt": "different"}
    with pytest.raises(InputError, match="pinned is"):
        replace(data, sha256={"in/a.txt": sha256(b"three\n")}).text("in/a.txt")


@pytest.fixture(scope="module")
def configured() -> dict[str, DataFiles]:
    return available([])


def test_every_pinned_file_has_a_source(configured: dict[str, DataFiles]) -> None:
    assert list(configured) == [
        "hellobench",
        "hellobench_length",
        "longbench_length",
        "longbench_write",
        "longwrite_ruler",
        "writingbench",
        "released_prompts",
        "critic_prompt",
    ]
    for name, data in configured.items():
        assert set(data.sources) == set(data.sha256), name
        assert (data.name, bool(data.licence), bool(data.caution)) == (name, True, True)


def test_the_origin_of_files_is_not_part_of_the_identity(configured: dict[str, DataFiles]) -> None:
    data = configured["writingbench"]
    assert encode(data) == {"kind": "DataFiles", "sha256": data.sha256}


def test_without_a_name_the_command_lists_all_benchmarks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["fetch", f"benchmark.hellobench.data.folder={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert all(words in shown for words in ("hellobench", "Apache-2.0", "7 missing", "do not train on them"))


def test_an_unknown_name_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "helobench"]) == 2
    assert "did you mean hellobench?" in capsys.readouterr().err


def test_licence_and_caution_are_shown_before_the_download(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = [f"benchmark.longbench_write.data.{key}" for key in ("folder", "mirror")]
    assert main(["fetch", "longbench_write", f"{place[0]}={tmp_path}", f"{place[1]}={serve({}).url}"]) == 2
    printed = capsys.readouterr()
    assert "THUDM/LongWriter at 3fcfdff" in printed.out
    assert "licence Apache-2.0" in printed.out
    assert "real users' logs" in printed.out
    assert printed.err.count("HTTP 404") == 2


def lines(rows: Sequence[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def weighted_scores(weights: dict[str, list[float]]) -> bytes:
    """The weights in upstream's layout: three per line."""
    entries = []
    for name, numbers in weights.items():
        rows = [", ".join(map(repr, numbers[i : i + 3])) for i in range(0, len(numbers), 3)]
        entries.append(f"    '{name}': [\n        " + ",\n        ".join(rows) + "\n    ]")
    return ("REGRESSION_DICT = {\n" + ",\n".join(entries) + "\n}\n").encode()


def upstream_hellobench(folder: Path) -> Files:
    prompt = json.loads((folder / "judge_prompt.json").read_bytes())
    summaries = (folder / "main_data/summarization.reconstructed.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in summaries if line]
    tasks = ("open_ended_qa", "chat", "text_completion", "heuristic_text_generation")
    return {
        **{f"data/main_data/{task}.jsonl": (folder / f"main_data/{task}.jsonl").read_bytes() for task in tasks},
        "llm_judge.py": f"import os\nSYS_PROMPT = {prompt['system']!r}\nUSER_PROMPT = {prompt['user']!r}\n".encode(),
        "weighted_scores.txt": weighted_scores(json.loads((folder / "checklist_weights.json").read_bytes())),
        "checklists/summarization_checklist.json": (folder / "checklists/summarization_checklist.json").read_bytes(),
        "results/generations/main_exp/claude35/summarization_results.jsonl": lines(
            [{"id": row["id"], "instruction": row["instruction"], "response": "A summary."} for row in reversed(rows)]
        ),
    }


def upstream_writingbench(folder: Path) -> Files:
    prompt = json.loads((folder / "judge_prompt.json").read_bytes())
    index = json.loads((folder / "requirement_index.json").read_bytes())
    texts = {"evaluate_system": prompt["system"], "evaluate_prompt": prompt["user"]}
    subsets: Files = {
        f"benchmark_query/requirement/{kind}/{kind}_subset_C.jsonl": lines(
            [{"index": int(i), "query": "…", "checklist": [{"name": n} for n in names]} for i, names in found.items()]
        )
        for kind, found in index.items()
    }
    return {
        "benchmark_query/benchmark_all.jsonl": gzip.decompress((folder / "benchmark_all.jsonl.gz").read_bytes()),
        "prompt.py": "\n\n".join(f"{n} = {chr(10) + t + chr(10)!r}.strip()" for n, t in texts.items()).encode(),
        **subsets,
    }


def upstream_longbench(folder: Path) -> Files:
    return {f"evaluation/{name}": (folder / name).read_bytes() for name in ("longbench_write.jsonl", "judge.txt")}


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("hellobench", upstream_hellobench),
        ("longbench_write", upstream_longbench),
        ("writingbench", upstream_writingbench),
    ],
)
def test_the_pinned_benchmarks_are_fetched_to_the_byte(
    serve: Serve,
    shared: Path,
    tmp_path: Path,
    configured: dict[str, DataFiles],
    name: str,
    build: Callable[[Path], Files],
) -> None:
    """The project's configuration against upstream's files, copied or reconstructed from the local files: every
    extracted file has its pinned sha256, which is older than this code."""
    pinned = configured[name]
    mirror = serve(build(shared / "benchmarks" / name), pinned.upstream, pinned.commit)
    data = replace(pinned, folder=str(tmp_path), mirror=mirror.url)
    assert fetch(data) == list(data.sha256)
    assert set(file_states(data).values()) == {"present"}
    assert fetch(data) == []
    assert len(mirror.requested) == sum(len(source.files) for source in data.sources.values())
