"""A stand-in for the W&B server, to which the real client connects: `python -m tests.fakes.wandb_server FOLDER` prints
its address and the variables that a client needs, and keeps what it receives as JSON files in FOLDER.

`runs/<project>-<id>.json` has the config, summary, history, tags, group, name and exit code of a run; `artifacts.json`
and `views.json` what was logged and saved; `files/` what was uploaded.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

KEY = "local-" + "a" * 40
PROJECT_ID = base64.b64encode(b"Project:v1:1").decode()
Reply = dict[str, Any]


@dataclass
class StoredRun:
    """A run as the server keeps it. `lines` are the lines of each of its streams by number."""

    id: str
    project: str = ""
    group: str = ""
    name: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    starts: int = 0
    exit_code: int | None = None
    preempting: bool = False

    @property
    def storage_id(self) -> str:
        return base64.b64encode(f"Run:v1:{self.id}:{self.project}:local".encode()).decode()

    def history(self) -> list[dict[str, Any]]:
        lines = self.lines.get("wandb-history.jsonl", {})
        return [json.loads(lines[number]) for number in sorted(lines)]

    def take(self, variables: Mapping[str, Any]) -> None:
        """What an `upsertBucket` changes."""
        for mine, names in {
            "project": ("project",),
            "group": ("groupName",),
            "name": ("displayName", "display_name"),
            "job_type": ("jobType",),
            "tags": ("tags",),
        }.items():
            for name in names:
                if variables.get(name) is not None:
                    setattr(self, mine, variables[name])
        if variables.get("config"):
            self.config |= json.loads(variables["config"])
        if variables.get("summaryMetrics"):
            self.summary = json.loads(variables["summaryMetrics"])

    def stream(self, name: str, content: Mapping[str, Any]) -> None:
        lines = self.lines.setdefault(name, {})
        for number, line in enumerate(content.get("content", ()), start=content.get("offset", 0)):
            lines[number] = line
            if name == "wandb-summary.json":
                self.summary = json.loads(line)

    def shown(self) -> dict[str, Any]:
        """This run as a reader wants it: plain values, the history in order."""
        plain = {key: entry["value"] for key, entry in self.config.items() if key != "_wandb"}
        kept = {name: value for name, value in asdict(self).items() if name != "lines"}
        return {**kept, "config": plain, "history": self.history(), "streams": sorted(self.lines)}

    def summary_columns(self) -> list[str]:
        """The columns of the runs table that come from the summary; W&B's own are left out."""
        return [key for key in self.summary if not key.startswith("_")]

    def config_columns(self) -> list[str]:
        """The columns of the runs table that come from the configuration."""
        return list(config_columns(self.shown()["config"]))


def config_columns(settings: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """The columns that W&B makes of nested settings."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from config_columns(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


class Service:
    """What the server knows; every change is written to `folder` at once."""

    def __init__(self, folder: Path, delay: float = 0.0) -> None:
        self.folder, self.delay = folder, delay
        self.url = ""
        self.stored: dict[tuple[str, str], StoredRun] = {}
        self.artifacts: list[dict[str, Any]] = []
        self.used: list[dict[str, Any]] = []
        self.views: dict[str, dict[str, Any]] = {}
        self.operations: list[str] = []
        self.lock = threading.RLock()

    @property
    def runs(self) -> list[StoredRun]:
        return list(self.stored.values())

    def run(self, project: str, run_id: str) -> StoredRun:
        return self.stored.setdefault((project, run_id), StoredRun(run_id, project))

    def known(self, variables: Mapping[str, Any]) -> StoredRun | None:
        return self.stored.get((variables.get("project") or variables.get("model") or "", variables.get("name") or ""))

    def write(self) -> None:
        """Everything as files."""
        folder = self.folder / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        for run in self.runs:
            (folder / f"{run.project}-{run.id}.json").write_text(json.dumps(run.shown(), indent=1))
        for name in ("artifacts", "used", "views", "operations"):
            (self.folder / f"{name}.json").write_text(json.dumps(getattr(self, name), indent=1))

    def upload(self, path: str, content: bytes) -> None:
        target = self.folder / "files" / unquote(path).removeprefix("/upload/").lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def file_stream(self, path: str, body: Mapping[str, Any]) -> Reply:
        *_, project, run_id, _ = path.split("/")
        run = self.run(project, run_id)
        for name, content in (body.get("files") or {}).items():
            run.stream(name, content)
        if body.get("complete"):
            run.exit_code = body.get("exitcode")
        if body.get("preempting"):
            run.preempting = True
        self.write()
        return {"exitcode": None, "limits": {}}

    def graphql(self, query: str, variables: Mapping[str, Any]) -> Reply:
        operation = re.search(r"(?:query|mutation)\s+(\w+)", query)
        self.operations.append(operation[1] if operation else query[:40])
        data: Reply = {}
        for part, answer in {
            "upsertBucket": self._upsert_bucket,
            "RunResumeStatus": self._resume_status,
            "viewer": self._viewer,
            "serverInfo": self._server_info,
            "createRunFiles": self._create_files,
            "createArtifact(": self._create_artifact,
            "useArtifact(": self._use_artifact,
            "artifact(id": self._artifact,
            "upsertView(": self._upsert_view,
            "allViews": self._views,
            "view(id": self._view,
            "models(": self._projects,
            "internalId": self._internal_id,
            "entity(": self._entity,
        }.items():
            if part in query:
                data |= answer(query, variables)
        if re.search(r"\brun\(name:", query):
            data |= self._stored_run(query, variables)
        elif "project(" in query or "model(" in query:
            data = {"project": None, "model": None} | data
        for name in re.findall(r"(\w+)\s*:\s*__type", query):
            data.setdefault(name, None)
        self.write()
        return {"data": data}

    def _upsert_bucket(self, query: str, variables: Mapping[str, Any]) -> Reply:
        project, name = variables.get("project") or "", variables.get("name")
        if not name:
            _, _, name, project, _ = base64.b64decode(variables["id"]).decode().split(":")
        run = self.run(project, name)
        inserted = run.starts == 0
        run.starts += variables.get("name") is not None
        run.take(variables)
        bucket = {**self._fields(run), "sweepName": None, "project": self._project(variables)}
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _project(self, variables: Mapping[str, Any]) -> Reply:
        entity = {"id": "RW50", "name": variables.get("entity") or "local"}
        return {"id": PROJECT_ID, "name": variables.get("project") or "p", "entity": entity}

    def _fields(self, run: StoredRun) -> Reply:
        ended = {None: "running", 0: "finished"}
        return {
            "id": run.storage_id,
            "name": run.id,
            "displayName": run.name,
            "description": "",
            "notes": "",
            "tags": run.tags,
            "group": run.group,
            "jobType": run.job_type,
            "state": ended.get(run.exit_code, "failed"),
            "config": json.dumps(run.config),
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": "{}",
            "historyLineCount": len(run.history()),
            "historyKeys": {"lastStep": len(run.history()) - 1, "keys": {}},
            "sweepName": None,
            "commit": None,
            "readOnly": False,
            "createdAt": "2026-01-01T00:00:00",
            "heartbeatAt": "2026-01-01T00:00:00",
            "user": {"name": "local", "username": "local"},
            "projectId": "1",
            "files": {"edges": []},
        }

    def _stored_run(self, query: str, variables: Mapping[str, Any]) -> Reply:
        """The public API's view of a run, its history among it."""
        run = self.known(variables)
        if run is None:
            return {"project": {"run": None}}
        history = [json.dumps(row) for row in run.history()]
        return {"project": {**self._project(variables), "run": {**self._fields(run), "history": history, "events": []}}}

    def _resume_status(self, query: str, variables: Mapping[str, Any]) -> Reply:
        run = self.known(variables)
        if run is None or not run.starts:
            return {"model": {"id": "m", "name": "p", "bucket": None}}
        events = run.lines.get("wandb-events.jsonl", {})
        history = run.lines.get("wandb-history.jsonl", {})
        bucket = {
            "id": "b",
            "name": run.id,
            "displayName": run.name,
            "summaryMetrics": json.dumps(run.summary),
            "config": json.dumps(run.config),
            "tags": run.tags,
            "logLineCount": 0,
            "historyLineCount": len(history),
            "eventsLineCount": len(events),
            "historyTail": _tail(history),
            "eventsTail": _tail(events),
            "wandbConfig": '{"t":1}',
        }
        return {"model": {"id": "m", "name": "p", "bucket": bucket}}

    def _viewer(self, query: str, variables: Mapping[str, Any]) -> Reply:
        teams = {"edges": []}
        person = {"id": "VXNlcg==", "entity": "local", "username": "local", "email": "x@x", "name": "local"}
        return {"viewer": {**person, "flags": "{}", "teams": teams, "admin": False}}

    def _server_info(self, query: str, variables: Mapping[str, Any]) -> Reply:
        info = {"cliVersionInfo": {"max_cli_version": "9.9.9"}, "latestLocalVersionInfo": None, "features": []}
        return {"serverInfo": {**info, "exposesExplicitRunQueueAckPath": True}}

    def _create_files(self, query: str, variables: Mapping[str, Any]) -> Reply:
        run = variables.get("run") or variables.get("runID") or ""
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{run}/{name}"} for name in variables.get("files", ())]
        return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}

    def _create_artifact(self, query: str, variables: Mapping[str, Any]) -> Reply:
        self.artifacts.append(dict(variables.get("input") or variables))
        artifact = {"id": "QXJ0", "state": "COMMITTED", "artifactSequence": {"latestArtifact": {"id": "QXJ0"}}}
        return {"createArtifact": {"artifact": artifact}}

    def _artifact(self, query: str, variables: Mapping[str, Any]) -> Reply:
        """What the client reads back of the artifact that it has logged last."""
        project = {"id": "UHJv", "internalId": "UHJv", "name": "p", "entity": {"name": "local"}}
        artifact = {
            "id": variables["id"],
            "artifactSequence": {"name": self.artifacts[-1]["artifactCollectionName"], "project": project},
            "versionIndex": 0,
            "artifactType": {"name": self.artifacts[-1]["artifactTypeName"]},
            "description": None,
            "metadata": self.artifacts[-1].get("metadata"),
            "ttlDurationSeconds": -2,
            "ttlIsInherited": False,
            "tags": [],
            "historyStep": None,
            "state": "COMMITTED",
            "size": 1,
            "digest": self.artifacts[-1]["digest"],
            "commitHash": None,
            "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00",
            "updatedAt": None,
            "aliases": [],
        }
        return {"artifact": artifact}

    def _use_artifact(self, query: str, variables: Mapping[str, Any]) -> Reply:
        self.used.append(dict(variables.get("input") or variables))
        return {"useArtifact": {"artifact": {"id": "QXJ0"}}}

    def _upsert_view(self, query: str, variables: Mapping[str, Any]) -> Reply:
        sent = dict(variables.get("input") or variables)
        number = sent.get("id") or f"Vmlldzo{len(self.views) + 1}"
        project = {"id": PROJECT_ID, "name": sent.get("projectName"), "entityName": sent.get("entityName")}
        known = self.views.get(number, {"name": number, "updatedAt": "2026-01-01T00:00:00"})
        self.views[number] = {**known, **sent, "id": number, "project": project}
        return {"upsertView": {"view": self.views[number], "inserted": number not in self.views}}

    def _view(self, query: str, variables: Mapping[str, Any]) -> Reply:
        return {"view": self.views.get(variables.get("reportId", ""))}

    def _projects(self, query: str, variables: Mapping[str, Any]) -> Reply:
        names = dict.fromkeys(run.project for run in self.runs)
        common = {
            "id": PROJECT_ID,
            "entityName": "local",
            "createdAt": "2026-01-01",
            "isBenchmark": False,
            "user": None,
        }
        edges = [{"node": {**common, "name": name}, "cursor": "c"} for name in names]
        return {"models": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}

    def _views(self, query: str, variables: Mapping[str, Any]) -> Reply:
        edges = [{"node": view} for view in self.views.values() if view.get("name") == variables.get("viewName")]
        return {"project": {"allViews": {"edges": edges}}}

    def _internal_id(self, query: str, variables: Mapping[str, Any]) -> Reply:
        return {"project": {"id": PROJECT_ID, "internalId": "1"}}

    def _entity(self, query: str, variables: Mapping[str, Any]) -> Reply:
        return {} if "viewer" in query else {"entity": {"id": "RW50", "organization": None}}


def _tail(lines: Mapping[int, str]) -> str:
    return json.dumps([lines[max(lines)]]) if lines else "[]"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        self._send({})

    def do_PUT(self) -> None:
        content = self._body()
        with self.service.lock:
            self.service.upload(self.path, content)
        self._send({})

    def do_POST(self) -> None:
        content = self._body()
        body = json.loads(content) if content[:1] == b"{" else {}
        with self.service.lock:
            if self.path.startswith("/graphql"):
                self._send(self.service.graphql(body.get("query", ""), body.get("variables") or {}))
            elif "file_stream" in self.path:
                self._send(self.service.file_stream(self.path, body))
            else:
                self._send({})

    def _body(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def _send(self, reply: Reply) -> None:
        content = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up when their process ends; anything else is a mistake of this stand-in."""
        if not isinstance(sys.exception(), ConnectionError):
            traceback.print_exc()


def server(folder: Path, port: int = 0) -> tuple[Server, Service]:
    """A server that is not started yet, and what it will know."""
    service = Service(folder)
    listening = Server(("127.0.0.1", port), type("BoundHandler", (Handler,), {"service": service}))
    service.url = f"http://127.0.0.1:{listening.server_address[1]}"
    service.write()
    return listening, service


@contextmanager
def serving(folder: Path) -> Iterator[Service]:
    """The server on a thread of this process."""
    listening, service = server(folder)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield service
    finally:
        listening.shutdown()
        listening.server_close()


if __name__ == "__main__":
    listening, service = server(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(f"WANDB_BASE_URL={service.url} WANDB_API_KEY={KEY} WANDB_MODE=online", flush=True)
    listening.serve_forever()
