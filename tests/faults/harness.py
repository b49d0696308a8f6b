"""Runs stages in processes of their own with a fault in each, reruns them, and compares with an uninterrupted run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import get_args

from pydantic import TypeAdapter

from evals.judging.records import Judgements
from tests.fakes.http import Act, Handler, QuietServer, respond
from tests.faults.child import Job, Report
from tests.faults.injection import Fault, Kind, Point

POINTS: tuple[Point, ...] = get_args(Point)
DISK: tuple[Point, ...] = ("write", "append", "fsync", "rename", "record")
TALK: tuple[Point, ...] = ("send", "receive")
OF_ONE_EXECUTION = {  # metrics that tell how the work was done, not what its result is
    "calls",
    "calls_replayed",
    "judgements_asked_here",
    "judge_usd_paid_here",
    "judge_seconds_median",
}
Refuse = Callable[[int], Act | None]


class JudgeServer:
    """A judge whose grade depends on the question alone. `refuse` may answer the n-th request otherwise."""

    def __init__(self, refuse: Refuse = lambda number: None) -> None:
        self.refuse, self._lock = refuse, Lock()
        self.received = Counter[str]()  # how often each question came, refused or not
        self.refused = 0

    @property
    def sent(self) -> int:
        """The requests that have arrived."""
        return self.received.total()

    def answer(self, handler: Handler) -> None:
        raw = handler.rfile.read(int(handler.headers["Content-Length"]))
        question = hashlib.sha256(raw).hexdigest()
        with self._lock:
            self.received[question] += 1
            act = self.refuse(self.sent)
            self.refused += act is not None
        (act or _grade(1 + int(question[:8], 16) % 10))(handler)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The base URL, while this server answers."""
        judge = self

        class Judging(Handler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                judge.answer(self)

        http = QuietServer(("127.0.0.1", 0), Judging)
        Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/v1"
        finally:
            http.shutdown()
            http.server_close()


def _grade(grade: int) -> Act:
    message = {"role": "assistant", "content": json.dumps({"score": grade, "reason": "scripted"})}
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    return respond(200, {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})


@dataclass(frozen=True, kw_only=True)
class Run:
    """How one execution ended (exit code, negative: a signal), its report unless it was killed, and its output."""

    code: int
    report: Report | None
    log: str


@dataclass
class Running:
    """A job that has started. `process` is its process id."""

    job: Job
    process: int
    _child: subprocess.Popen[str]

    def kill(self) -> None:
        """Kill the job's process, if it has not ended."""
        os.kill(self.process, signal.SIGKILL)

    def wait(self) -> Run:
        """Wait until the job has ended, in whatever way."""
        assert self._child.stdout
        code, report = int(self._child.stdout.readline()), Path(self.job.report)
        read = TypeAdapter(Report).validate_json(report.read_bytes()) if report.exists() else None
        return Run(code=code, report=read, log=Path(self.job.log).read_text())


@dataclass
class Harness:
    """Runs `work` (see `child.WORK`) of a size, against a judge server; each root is a folder below `folder`."""

    folder: Path
    work: str
    items: int
    judge: JudgeServer
    url: str
    child: subprocess.Popen[str]
    _jobs: int = field(default=0)

    def start(self, root: Path, fault: Fault | None = None) -> Running:
        """Start the work below `root`, with a fault."""
        self._jobs += 1
        job = Job(
            work=self.work,
            items=self.items,
            root=str(root),
            judge_url=self.url,
            report=str(self.folder / f"{self._jobs}.report"),
            log=str(self.folder / f"{self._jobs}.log"),
            fault=fault,
        )
        root.mkdir(parents=True, exist_ok=True)
        assert self.child.stdin
        assert self.child.stdout
        self.child.stdin.write(json.dumps(dataclasses.asdict(job)) + "\n")
        self.child.stdin.flush()
        return Running(job, int(self.child.stdout.readline()), self.child)

    def run(self, root: Path, fault: Fault | None = None) -> Run:
        """Do the work below `root` and wait until it has ended."""
        return self.start(root, fault).wait()


@contextmanager
def harness(folder: Path, work: str, items: int, refuse: Refuse = lambda number: None) -> Iterator[Harness]:
    """A harness with a judge server of its own; `folder`, which it creates, holds what its jobs report."""
    folder.mkdir(parents=True, exist_ok=True)
    judge = JudgeServer(refuse)
    command = [sys.executable, "-m", "tests.faults.child"]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    with (
        judge.serving() as url,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment
        ) as child,
    ):
        try:
            yield Harness(folder, work, items, judge, url, child)
        finally:
            child.kill()


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a root holds: the content of every file of complete stages by stage and name, their metrics, and the
    records of judgements: how many, and how many of them for a question that has another one."""

    files: Mapping[str, bytes]
    metrics: Mapping[str, Mapping[str, object]]
    judgements: int
    doubled: int

    def unlike(self, other: Results) -> tuple[str, ...]:
        """The files and records that differ, or that one of both lacks."""
        mine, theirs = {**self.files, **self.metrics}, {**other.files, **other.metrics}
        return tuple(sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)))


def results(root: Path) -> Results:
    """The results below a root. Folders of stages carry fingerprints, so equal results have equal names."""
    files: dict[str, bytes] = {}
    metrics: dict[str, Mapping[str, object]] = {}
    for record in sorted(root.glob("*/*/record.json")):
        name = record.parent.relative_to(root).as_posix()
        stored = json.loads(record.read_bytes())["metrics"]
        metrics[name] = {key: value for key, value in stored.items() if key not in OF_ONE_EXECUTION}
        for file in sorted(record.parent.rglob("*")):
            if file.is_file() and file != record:
                files[f"{name}/{file.relative_to(record.parent)}"] = file.read_bytes()
    folder = root / "judgements"
    found, lines = len(Judgements(folder)), sum(file.read_bytes().count(b"\n") for file in folder.glob("*.jsonl"))
    return Results(files=files, metrics=metrics, judgements=found, doubled=lines - found)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What faults did to one run: whether each met it, whether the last execution ended well, the files and records
    that are not those of an uninterrupted run, the requests to the judge, judgements that are missing or recorded
    twice, and the stages that were computed although they were complete."""

    faults: tuple[Fault, ...]
    met: bool
    survived: bool
    different: tuple[str, ...]
    sent: int
    lost: int
    doubled: int
    computed_again: tuple[str, ...]
    log: str


def survive(harness: Harness, expected: Results, root: Path, *faults: Fault) -> Outcome:
    """Run with each fault in turn, then without one, and compare."""
    before, met, again = harness.judge.sent, True, list[str]()
    for fault in faults:
        ended = harness.run(root, fault)
        met = met and ended.code == (-signal.SIGKILL if fault.kind.startswith("kill") else 1)
    complete = {path.parent.parent.name for path in root.glob("*/*/record.json")}
    last = harness.run(root)
    again += sorted(complete & set(last.report.computed if last.report else ()))
    found = results(root)
    return Outcome(
        faults=faults,
        met=met,
        survived=last.code == 0,
        different=found.unlike(expected),
        sent=harness.judge.sent - before,
        lost=expected.judgements - found.judgements,
        doubled=found.doubled,
        computed_again=tuple(again),
        log=last.log,
    )


def places(count: int) -> tuple[int, int, int]:
    """The first, the middle and the last of a point's calls."""
    return 1, (count + 1) // 2, count


def kills(counts: Mapping[Point, int], point: Point) -> list[Fault]:
    """A kill before the first call of a point, before and after the middle one, and after the last."""
    first, middle, last = places(counts[point])
    at: tuple[tuple[int, Kind], ...] = (
        (first, "kill before"),
        (middle, "kill before"),
        (middle, "kill after"),
        (last, "kill after"),
    )
    return [Fault(point=point, number=number, kind=kind) for number, kind in at]


def second_kill(counts: Mapping[Point, int], point: Point) -> tuple[Fault, Fault]:
    """A kill at the middle append, and another before the first call of a point during recovery."""
    first = Fault(point="append", number=places(counts["append"])[1], kind="kill after")
    return first, Fault(point=point, number=1, kind="kill before")


def errors(counts: Mapping[Point, int], point: Point) -> list[Fault]:
    """A full disk at the first and the last call of a point, and a broken one at the middle call."""
    kinds: tuple[Kind, ...] = ("ENOSPC", "EIO", "ENOSPC")
    return [Fault(point=point, number=n, kind=kind) for n, kind in zip(places(counts[point]), kinds, strict=True)]


@dataclass(frozen=True)
class Lab:
    """A harness, the results of an uninterrupted run, and how often that run passed each fault point."""

    harness: Harness
    expected: Results
    counts: Mapping[Point, int]
    folder: Path

    def survive(self, *faults: Fault) -> Outcome:
        """Run with each fault in turn, then without one, in a root of its own."""
        return survive(self.harness, self.expected, self.folder / " then ".join(map(str, faults)), *faults)


@contextmanager
def laboratory(folder: Path) -> Iterator[Lab]:
    """The stages from pairs to the mixture, and a judge behind HTTP. How many calls a connection takes varies, so the
    last of them is the last that must come. Raises RuntimeError where the stages fail without a fault."""
    with harness(folder, "stages", items=4) as running:
        root = folder / "uninterrupted"
        run = running.run(root)
        if run.code or run.report is None:
            raise RuntimeError(run.log)
        expected = results(root)
        yield Lab(running, expected, {**run.report.counts, **dict.fromkeys(TALK, expected.judgements)}, folder)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Resident memory of a process in MiB, and its open files."""

    memory_mib: float
    open_files: int


def usage(process: int) -> Usage | None:
    """The usage of a process; None if it has ended."""
    folder = Path("/proc") / str(process)
    try:
        pages = int((folder / "statm").read_text().split()[1])
        return Usage(memory_mib=pages * os.sysconf("SC_PAGE_SIZE") / 2**20, open_files=len(os.listdir(folder / "fd")))
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition holds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.005)
