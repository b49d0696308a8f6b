"""A stand-in for the Hugging Face hub on this machine: data sets and models with branches, a tree, and files by ranges.

`Hub.run` runs code in a process of its own, because the hub's client reads HF_ENDPOINT when it is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.http import QuietServer

FIRST, SECOND = "1" * 40, "2" * 40


@dataclass
class DataSet:
    """The files of each commit, and the commit of each branch."""

    commits: dict[str, dict[str, bytes]]
    branches: dict[str, str]
    gated: bool = False
    broken: list[str] = field(default_factory=list)
    """Files whose next download breaks off half-way."""

    def files(self, revision: str) -> dict[str, bytes] | None:
        return self.commits.get(self.branches.get(revision, revision))


def data_set(files: dict[str, bytes], **settings: Any) -> DataSet:
    """One commit, which is the branch main."""
    return DataSet({FIRST: files}, {"main": FIRST}, **settings)


@dataclass
class Hub:
    """The data sets by name, and the downloads that were asked for: file, and first byte where it was not the first."""

    sets: dict[str, DataSet]
    downloads: list[tuple[str, int]] = field(default_factory=list)
    endpoint: str = ""

    @contextmanager
    def serving(self) -> Iterator[Hub]:
        hub = self

        class Answers(_Answers):
            pass

        Answers.hub = hub
        server = QuietServer(("127.0.0.1", 0), Answers)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def run(self, home: Path, *arguments: str, offline: bool = False) -> subprocess.CompletedProcess[str]:
        """`python ARGUMENTS` with this hub as the only one, its cache in `home`; `offline` forbids to ask it."""
        env = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
        env |= {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1"}
        env |= {"REER_CACHE": str(home / "reer"), **({"HF_HUB_OFFLINE": "1"} if offline else {})}
        return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env)


class _Answers(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        api = parts[0] == "api"
        owner, name, *rest = parts[2:] if api else parts[1:] if parts[0] == "datasets" else parts
        found = self.hub.sets.get(f"{owner}/{name}")
        verb, revision, *path = rest or ["revision", "main"]
        if found is None:
            self._fail(401, "RepoNotFound")
        elif (files := found.files(revision)) is None:
            self._fail(404, "RevisionNotFound")
        elif verb == "revision":
            commit = found.branches.get(revision, revision)
            siblings = [{"rfilename": file} for file in files]
            self._json({"id": f"{owner}/{name}", "sha": commit, "gated": found.gated, "siblings": siblings})
        elif found.gated:
            self._fail(403, "GatedRepo")
        elif verb == "tree":
            self._json(_below("/".join(path), files))
        elif verb == "paths-info":
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
            self._json([entry for entry in _entries(files) if entry["path"] in asked])
        else:
            self._file("/".join(path), files, found, found.branches.get(revision, revision))

    def _file(self, name: str, files: dict[str, bytes], found: DataSet, commit: str) -> None:
        if name not in files:
            self._fail(404, "EntryNotFound")
            return
        content, start = files[name], 0
        if asked := self.headers.get("Range"):
            start = int(asked.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self.hub.downloads.append((name, start))
            breaks = name in found.broken and not found.broken.remove(name)
            self.wfile.write(content[start : len(content) // 2 if breaks else None])

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode())

    def _fail(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entries(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Files and folders, as the hub's tree lists them."""
    folders = sorted({str(parent) for file in files for parent in Path(file).parents} - {"."})
    listed: list[dict[str, Any]] = [
        {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0} for folder in folders
    ]
    for file, content in files.items():
        listed.append({"type": "file", "path": file, "oid": hashlib.sha1(content).hexdigest(), "size": len(content)})
    return listed


def _below(folder: str, files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [entry for entry in _entries(files) if not folder or entry["path"].startswith(f"{folder}/")]
