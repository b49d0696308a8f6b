"""A generator behind a provider's batch interface: half the price, within a day instead of at once.

Each batch is recorded before it is waited for, so that after a kill the same requests wait for the same batch instead
of paying for another one. Results are matched by the hash of their request, never by their order.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from reer.errors import Incomplete, InputError
from reer.models.http.client import Client, encoded
from reer.models.http.errors import (
    PROMPT_TOO_LONG,
    UNREADABLE_REPLY,
    PromptTooLong,
    Rejected,
    Unavailable,
    WrongShape,
    may_be_billed,
    wrapped_error,
)
from reer.models.http.replies import UNREADABLE
from reer.models.http.systemic import SEVERAL, Rejection, RequestProfile
from reer.models.protocols import Completion, JsonReply, Request
from reer.models.services.batch_ledger import BatchLedger, PendingBatch

Result = TypeVar("Result")
SUBMISSIONS = 3  # of one request in one call
LONGEST_POLL_SECONDS = 60.0
MAX_CANCELLING_POLLS = 15  # at these pauses eleven minutes; OpenAI says that a cancellation takes up to ten
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchLimits:
    """Limits of one batch: OpenAI accepts 50,000 requests and 200 MB, Anthropic 100,000 and 256 MB."""

    requests: int = 50_000
    bytes: int = 100_000_000


LIMITS = BatchLimits()


@dataclass(frozen=True, kw_only=True)
class State:
    """A batch: `status` as the provider names it; `ended` when no more results come; `cancelling` when it is
    being cancelled or is not found; `files` with its results; `why` it failed."""

    status: str
    ended: bool
    cancelling: bool = False
    files: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one request: a reply or an error."""

    custom_id: str
    reply: JsonReply
    error: Exception | None


class BatchApi(Protocol):
    """One provider's batch interface."""

    def line(self, custom_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request in the format of a batch."""
        ...

    def submit(self, lines: Sequence[Mapping[str, Any]], on_lost: Callable[[], bool]) -> str:
        """Send a batch and return its id; `on_lost` is as in `reer.models.http.client.Call`."""
        ...

    def look(self, batch: str) -> State: ...

    def outcomes(self, state: State) -> Iterable[Outcome]:
        """The outcomes in the files of a batch, in any order; an unreadable line is skipped."""
        ...


class Service(Protocol):
    """What a batch needs of a service; see `reer.models.services.service.ChatService`."""

    @property
    def name(self) -> str: ...
    @property
    def base_url(self) -> str: ...
    @property
    def poll_seconds(self) -> float: ...
    @property
    def batch_seconds(self) -> float: ...
    @property
    def outage_seconds(self) -> float: ...
    def body(self, request: Request) -> dict[str, Any]: ...
    def check_served(self, reply: Completion) -> None: ...
    def completion(self, reply: JsonReply, request: Request) -> Completion: ...
    def profile(self, body: dict[str, Any]) -> RequestProfile[Completion]: ...


def custom_id(name: str, request: Request) -> str:
    """The id of a request in a batch: a hash of everything that its answer depends on."""
    content = {key: value for key, value in asdict(request).items() if key != "group"}
    return hashlib.sha256(encoded([name, content])).hexdigest()[:32]


@dataclass(kw_only=True)
class Work:
    """The requests of one call of `generate` by custom id, and what has been received for them."""

    requests: dict[str, Request]
    positions: dict[str, list[int]]
    answered: set[str] = field(default_factory=set)
    refused: dict[str, Rejection[Completion]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    why: str = "no result came for it"
    overdue: list[str] = field(default_factory=list)
    given_up: set[str] = field(default_factory=set)

    def missing(self) -> list[str]:
        return [key for key in self.requests if key not in self.answered and key not in self.refused]

    def pending(self) -> list[str]:
        """What is missing and may be sent."""
        return [key for key in self.missing() if key not in self.given_up]

    def answers(self, fresh: Mapping[str, Completion]) -> Iterator[tuple[int, Completion]]:
        """Fresh answers with the indexes of their requests."""
        self.answered.update(fresh)
        for key, reply in fresh.items():
            yield from ((at, reply) for at in self.positions[key])


class BatchSession:
    """Sends all requests of a call as one batch or several, and waits for them; see `Generator`."""

    def __init__(self, server: Service, client: Client, wire: BatchApi, folder: Path, limits: BatchLimits) -> None:
        self.server, self.client, self.wire, self.name = server, client, wire, server.name
        self.limits, self.notes = limits, BatchLedger(folder, server.name, server.base_url)
        self.on_lost: Callable[[int], bool] = lambda index: True

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """See `Generator`; answers come batch by batch. A batch that is pending when the iterator is closed is recorded
        and found by the next call. Raises InputError when all requests are refused, and Incomplete when some have no
        answer after several submissions or a batch does not end."""
        keys = [custom_id(self.name, request) for request in requests]
        positions: dict[str, list[int]] = {}
        for at, key in enumerate(keys):
            positions.setdefault(key, []).append(at)
        work = Work(requests=dict(zip(keys, requests, strict=True)), positions=positions)
        batches = self.notes.pending(work.requests)
        for _ in range(SUBMISSIONS):
            covered = {key for note in batches for key in note.custom_ids}
            batches += self._submit(work, [key for key in work.pending() if key not in covered])
            yield from self._wait(work, batches)
            batches = []
            if work.overdue or not work.pending():
                break
        yield from self._finish(work)

    def _submit(self, work: Work, keys: Sequence[str]) -> list[PendingBatch]:
        """Send requests in as many batches as the limits require; each is recorded at once."""
        notes, lines, room = [], {}, 0
        for key in keys:
            line = self.wire.line(key, self.server.body(work.requests[key]))
            size = len(encoded(line)) + 1
            if lines and (len(lines) >= self.limits.requests or size > room):
                notes.append(self._send(work, lines))
                lines = {}
            room = (room if lines else self.limits.bytes) - size
            lines[key] = line
        return [*notes, self._send(work, lines)] if lines else notes

    def _send(self, work: Work, lines: Mapping[str, Any]) -> PendingBatch:
        batch = self.wire.submit(list(lines.values()), lambda: self._lose(work, lines))
        note = self.notes.add(batch, list(lines))
        log.info("server %s: batch %s holds %d requests", self.name, note.id, len(lines))
        return note

    def _wait(self, work: Work, batches: Sequence[PendingBatch]) -> Iterator[tuple[int, Completion]]:
        """The answers of each batch as it ends, until every batch has ended or is overdue."""
        waiting, leaving, pause = list(batches), {note.id: 0 for note in batches}, self.server.poll_seconds
        while waiting:
            for note in tuple(waiting):
                state = self._look(note)
                leaving[note.id] += state.cancelling
                if state.ended or leaving[note.id] > MAX_CANCELLING_POLLS:
                    yield from self._take(work, note, state)
                    waiting.remove(note)
                elif time.time() - note.submitted_at > self.server.batch_seconds:
                    work.overdue.append(f"batch {note.id} is {state.status} after {self.server.batch_seconds:g} s")
                    waiting.remove(note)
            if waiting:
                time.sleep(pause)
                pause = min(1.5 * pause, LONGEST_POLL_SECONDS)

    def _look(self, note: PendingBatch) -> State:
        try:
            return self._patiently(lambda: self.wire.look(note.id))
        except Rejected as error:
            if error.status != 404:
                raise
            return State(status="not to be found", ended=False, cancelling=True, why=error.reason)

    def _patiently(self, ask: Callable[[], Result]) -> Result:
        """The answer, retried through an outage. Raises Incomplete after `outage_seconds`."""
        ends_at = time.monotonic() + self.server.outage_seconds
        while True:
            try:
                return ask()
            except Incomplete:
                if time.monotonic() > ends_at:
                    raise
                time.sleep(self.server.poll_seconds)

    def _take(self, work: Work, note: PendingBatch, state: State) -> Iterator[tuple[int, Completion]]:
        """The answers of a batch. Its record is archived after they have been handed on, unless the batch holds
        requests that others may make."""
        outcomes = self._known(note, self._patiently(lambda: list(self.wire.outcomes(state))))
        log.info("server %s: batch %s is %s, with %d results", self.name, note.id, state.status, len(outcomes))
        read = {key: self._read(work.requests[key], outcomes[key]) for key in work.missing() if key in outcomes}
        answers = {key: reply for key, reply in read.items() if isinstance(reply, Completion)}
        for reply in answers.values():
            self.server.check_served(reply)
        yield from work.answers(answers)
        if work.requests.keys() >= set(note.custom_ids):
            self.notes.archive(note)
        work.why = state.why or work.why
        before = {key: why for key, why in work.unreadable.items() if key not in read}
        work.unreadable = before | {key: str(reply) for key, reply in read.items() if isinstance(reply, WrongShape)}
        unusable = [key for key, reply in read.items() if isinstance(reply, Exception) and may_be_billed(reply)]
        absent = [key for key in work.missing() if key in set(note.custom_ids) - outcomes.keys()]
        self._lose(work, [*unusable, *(absent if state.files or not state.ended else ())])
        for key, reply in read.items():
            profile = self.server.profile(self.server.body(work.requests[key]))
            if isinstance(reply, Rejected):
                work.refused[key] = self.client.rejections.on_rejection(profile, reply)
            elif isinstance(reply, Exception):
                work.why = str(reply)
            elif reply is not PROMPT_TOO_LONG:
                self.client.rejections.on_success(profile)

    def _unreadable(self, work: Work) -> Iterator[tuple[int, Completion]]:
        """The requests whose last reply has a shape that is not read. Raises InputError where several were sent and
        none has another."""
        lost = {key: why for key, why in work.unreadable.items() if key in work.pending()}
        if len(lost) == len(work.requests) >= SEVERAL:
            raise InputError(
                f"server {self.name}: its replies have a shape that is not read ({next(iter(lost.values()))}); check "
                "that the server is of this kind"
            )
        for why in lost.values():
            log.warning("server %s: a request is given up and counted as lost: %s", self.name, why)
        yield from work.answers(dict.fromkeys(lost, UNREADABLE_REPLY))

    def _lose(self, work: Work, keys: Iterable[str]) -> bool:
        """Report requests that the provider may have carried out without a usable result, and give up those that may
        not be sent again. Returns whether all may be."""
        given_up = [key for key in keys if not self.on_lost(work.positions[key][0])]
        work.given_up.update(given_up)
        return not given_up

    def _known(self, note: PendingBatch, outcomes: Iterable[Outcome]) -> dict[str, Outcome]:
        """The first outcome of each request of a batch; duplicate and unknown custom ids are skipped with a warning."""
        requested, known, foreign = set(note.custom_ids), dict[str, Outcome](), 0
        for outcome in outcomes:
            if outcome.custom_id in requested and outcome.custom_id not in known:
                known[outcome.custom_id] = outcome
            else:
                foreign += 1
        if foreign:
            log.warning(
                "server %s: batch %s: skipped %d lines with an unknown or duplicate custom_id",
                self.name,
                note.id,
                foreign,
            )
        return known

    def _read(self, request: Request, outcome: Outcome) -> Completion | Exception:
        if outcome.error is not None:
            return PROMPT_TOO_LONG if isinstance(outcome.error, PromptTooLong) else outcome.error
        if (error := wrapped_error(self.name, outcome.reply, str(outcome.reply), {})) is not None:
            return error
        try:
            return self.server.completion(outcome.reply, request)
        except Unavailable as error:
            return error
        except UNREADABLE as error:
            return WrongShape(f"{str(outcome.reply)[:300]} ({type(error).__name__}: {error})")

    def _finish(self, work: Work) -> Iterator[tuple[int, Completion]]:
        """The refused and the unreadable requests as answers. Raises Incomplete where a request has no answer."""
        every = len(work.refused) == len(work.requests)
        yield from work.answers({key: refusal.answer(every) for key, refusal in work.refused.items()})
        yield from self._unreadable(work)
        missing = len(work.missing())
        if not missing:
            return
        head = f"server {self.name}: {missing} of {len(work.requests)} requests have no answer"
        if work.overdue:
            raise Incomplete(f"{head}: {'; '.join(work.overdue)}. The same command continues to wait for it")
        raise Incomplete(
            f"{head} after {SUBMISSIONS} batches; last: {work.why}. The other answers are stored; the same command "
            "sends only these again"
        )
