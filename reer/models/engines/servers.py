"""Servers of this process: started for the first that wants a model, shared, and stopped after the last (see
`reer.models.shared`)."""

from __future__ import annotations

import http.client
import logging
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from reer.errors import Incomplete, InputError
from reer.models.engines.commands import HOST, Launch, Replica, ServedModel, launch_of
from reer.models.engines.nodes import node_names
from reer.models.placement import Engines
from reer.models.shared import Shared

SUPERVISOR = "reer.models.engines.supervisor"
POLL_SECONDS = 0.1
STOP_SECONDS = 60.0  # the supervisor gives a server ten seconds before it ends it by force
TAIL_LINES = 12
log = logging.getLogger(__name__)
_loopback = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Server:
    """A running replica: its address, its log, and the supervisor that ends with this process."""

    url: str
    log: Path
    supervisor: subprocess.Popen[bytes]

    @property
    def is_alive(self) -> bool:
        """False once the server died more often than it may be started again."""
        return self.supervisor.poll() is None

    def require_alive(self) -> None:
        """Raise Incomplete where the server is gone for good."""
        if not self.is_alive:
            raise Incomplete(
                f"engine at {self.url}: it died more often than runtime.device.engines.restarts allows; {self.log} "
                "says why. What is answered is kept; the same command resumes"
            )

    def let_go(self) -> None:
        """Have the server and all its processes ended."""
        assert self.supervisor.stdin is not None
        with suppress(BrokenPipeError):
            self.supervisor.stdin.close()

    def wait(self) -> None:
        """Wait until a server that was let go has ended."""
        try:
            self.supervisor.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()  # its server gets SIGTERM
            self.supervisor.wait()


@dataclass(frozen=True)
class Serving:
    """The servers of one model, and the key that they want."""

    servers: tuple[Server, ...]
    key: str

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(server.url for server in self.servers)

    def require_alive(self) -> None:
        """Raise Incomplete where a replica is gone for good."""
        for server in self.servers:
            server.require_alive()


_servings = Shared[ServedModel, Serving](lambda serving: all(server.is_alive for server in serving.servers))


def serving(
    model: ServedModel, weights: Path, context_tokens: int, engines: Engines
) -> AbstractContextManager[Serving]:
    """The servers of a model, started where none runs. Raises InputError where they cannot be started."""
    return _servings.opened(model, lambda: _started(model, weights, context_tokens, engines))


@contextmanager
def _started(model: ServedModel, weights: Path, context_tokens: int, engines: Engines) -> Iterator[Serving]:
    key, began = secrets.token_urlsafe(32), time.monotonic()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(_private_folder(engines)))
        servers: list[Server] = []
        stack.callback(_stop, servers)
        nodes = node_names(engines.nodes) if engines.nodes else ("",)
        for number in range(engines.replicas):
            replica = Replica(
                model=model,
                weights=weights,
                context_tokens=context_tokens,
                number=number,
                port=_free_port(),
                key=key,
                scratch=scratch,
                node=nodes[number // engines.placement.replicas],
            )
            servers.append(_start(launch_of(replica, engines), replica, engines))
        log.info("engine %s: %s replicas are starting; %s", model.name, len(servers), servers[0].log)
        for server in servers:
            _wait_until_ready(server, key, began + engines.start_seconds)
        log.info("engine %s: ready after %.0f s", model.name, time.monotonic() - began)
        yield Serving(tuple(servers), key)


def _private_folder(engines: Engines) -> tempfile.TemporaryDirectory[str]:
    """A folder of this user alone; where servers run on other nodes, beside the logs, which they can read."""
    if engines.nodes and engines.logs:
        Path(engines.logs).mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="reer-engine-", dir=engines.logs if engines.nodes else None)


def _start(launch: Launch, replica: Replica, engines: Engines) -> Server:
    file = _log_file(replica, engines)
    with file.open("ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", SUPERVISOR, str(engines.restarts), *launch.command],
            env={**os.environ, **launch.environment},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this process, which then stops its servers in good order
        )
    return Server(replica.url, file, supervisor)


def _stop(servers: Sequence[Server]) -> None:
    """End all servers, at the same time."""
    for server in servers:
        server.let_go()
    for server in servers:
        server.wait()


def _log_file(replica: Replica, engines: Engines) -> Path:
    folder = Path(engines.logs) if engines.logs else replica.scratch
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9._@+-]+", "-", replica.model.name)[-120:]
    return folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{os.getpid()}-{replica.number}.log"


def _wait_until_ready(server: Server, key: str, deadline: float) -> None:
    """Wait until a server answers with its key, and let its supervisor start it again from then on. Raises InputError
    where it ends before, or is not ready by the deadline."""
    assert server.supervisor.stdin is not None
    while not _answers(server.url, key):
        code = server.supervisor.poll()
        if code is not None:
            raise InputError(f"engine: the server ended with code {code} before it was ready.\n{_tail(server.log)}")
        if time.monotonic() > deadline:
            raise InputError(
                "engine: the server is not ready; raise runtime.device.engines.start_seconds, or look at why it is "
                f"slow.\n{_tail(server.log)}"
            )
        time.sleep(POLL_SECONDS)
    server.supervisor.stdin.write(b"r")
    server.supervisor.stdin.flush()


def _answers(url: str, key: str) -> bool:
    """Whether the server that was given this key answers."""
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})
    try:
        with _loopback.open(request, timeout=10) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return False


def _tail(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return f"The end of {file}:\n" + "\n".join(lines[-TAIL_LINES:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def running() -> Sequence[Serving]:
    """The servers that run now, used or kept."""
    return _servings.all()
