"""Work for later steps of a run while an earlier one still finishes rows.

A stage states what it can do ahead (`Ahead`): model calls, whose answers it then finds in the replay or among the
judgements. The step itself runs as it would alone and asks for whatever is missing, so that work ahead that is cut
short costs only time. It is done for one step at a time: in a thread that ends when such a step or one that depends on
it begins, or between the rows of the step that computes them, which it ends with. So budgets and the limits of servers
hold as they do without it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Self

from experiments.store.step import Artifact, Step, WorkAhead
from experiments.store.workspace import Workspace
from reer.calls import event_loop
from reer.errors import Incomplete, InputError

ROWS_AT_ONCE = 16  # a step that begins waits for the work on so many rows
GRACE_SECONDS = 5.0  # replies in flight are paid for: a run that fails waits for them so long
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Follower:
    """What a later step works with ahead: its workspace, and its inputs but the one whose rows come."""

    ws: Workspace
    inputs: Mapping[str, Artifact]


class Overlap:
    """The work ahead of a run with these steps. What is in flight when the context is left early is cancelled after
    `grace_seconds`."""

    def __init__(self, steps: Iterable[Step] = (), grace_seconds: float = GRACE_SECONDS) -> None:
        self._steps, self._grace_seconds = tuple(steps), grace_seconds
        self._turn = threading.Lock()
        self._companions: dict[str, _Companion] = {}  # by the fingerprint of the step that they work for
        self._workspaces: dict[str, Workspace] = {}  # likewise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop()
        if not self._ended_within(self._grace_seconds):
            for companion in self._companions.values():
                companion.cancel()
            self._ended_within(self._grace_seconds)

    def followers(self, step: Step) -> list[Step]:
        """The steps that can work ahead on rows of this one."""
        return [later for later in self._steps if _rows_for(later) == step.fingerprint]

    @contextmanager
    def following(self, followers: Mapping[Step, Follower]) -> Generator[Callable[[object], None]]:
        """While a step computes rows: what takes each one that is finished for the steps that have something to do
        ahead."""
        takers: list[Callable[[object], None]] = []
        with ExitStack() as between:
            for step, follower in followers.items():
                work = step.stage.ahead and step.stage.ahead.work(follower.ws, **follower.inputs, **step.values)
                if work is None or (_is_between_rows(step) and takers):
                    continue  # two that work between rows would share places and servers
                self._workspaces[step.fingerprint] = follower.ws
                if _is_between_rows(step):
                    takers.append(between.enter_context(_between_rows(str(step.name), work)))
                else:
                    companion = self._companions[step.fingerprint] = _Companion(str(step.name), work, self._turn)
                    takers.append(companion.add)

            def finished(row: object) -> None:
                for take in takers:
                    take(row)

            yield finished

    def taken_over(self, step: Step) -> Workspace | None:
        """The workspace in which work was done for a step that now begins; None where none was. All work ahead in
        threads has ended then, if the step or one before it has such work: it makes the same kind of calls."""
        if any(before.stage.ahead and not _is_between_rows(before) for before in step.upstream()):
            self._stop()
            for companion in self._companions.values():
                companion.join()
        return self._workspaces.pop(step.fingerprint, None)

    def _stop(self) -> None:
        """Let no further work begin."""
        for companion in self._companions.values():
            companion.stop()

    def _ended_within(self, seconds: float) -> bool:
        """Wait until all work that has begun is done; whether it is."""
        deadline = time.monotonic() + seconds
        return all(c.join(max(0.0, deadline - time.monotonic())) for c in self._companions.values())


def _rows_for(step: Step) -> str | None:
    """The fingerprint of the step on whose rows this one can work ahead."""
    ahead = step.stage.ahead
    return step.inputs[ahead.rows_of].fingerprint if ahead and ahead.rows_of in step.inputs else None


def _is_between_rows(step: Step) -> bool:
    return step.stage.ahead is not None and step.stage.ahead.between_rows


@contextmanager
def _between_rows(name: str, work: WorkAhead) -> Generator[Callable[[object], None]]:
    """Takes rows for work of this thread, which goes on until the end of the block or an error. An InputError of work
    that has begun is raised: what it says, such as that a server has another model now, may not show later."""
    with ExitStack() as opened:
        do: Callable[[Sequence[object]], None] | None = None

        @contextmanager
        def ended_by(*errors: type[Exception]) -> Generator[None]:
            nonlocal do
            try:
                yield
            except errors as error:  # the step reports its own
                do = None
                log.debug("%s: no more is done ahead (%s); the step asks for the rest itself", name, error)

        def take(row: object) -> None:
            with ended_by(Incomplete, OSError):
                if do is not None:
                    do([row])

        with ended_by(InputError, Incomplete, OSError):
            do = opened.enter_context(work)
        yield take
        with ended_by(Incomplete, OSError):
            opened.close()


class _Companion:
    """A thread that works ahead for one step, from the first row on, whenever it has the `turn`."""

    def __init__(self, name: str, work: WorkAhead, turn: threading.Lock) -> None:
        self.name, self._work, self._turn = name, work, turn
        self._rows = SimpleQueue[object]()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ahead of {name}", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, row: object) -> None:
        """Hand over a row."""
        self._rows.put(row)
        if self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()
        self._rows.put(None)  # wakes the thread

    def join(self, seconds: float | None = None) -> bool:
        """Wait until the work that has begun is done; whether it is."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """End the calls in flight, each of which is recorded as lost."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(_cancel_all, self._loop)

    def _run(self) -> None:
        try:
            with event_loop() as runner, self._work as work:
                self._loop = runner.get_loop()
                while True:
                    rows = self._next()
                    with self._turn:
                        if self._stopping.is_set():
                            return
                        work(rows)
        except (InputError, Incomplete, OSError, asyncio.CancelledError) as error:  # the step reports its own
            log.debug("%s: no more is done ahead (%s); the step asks for the rest itself", self.name, error)

    def _next(self) -> list[object]:
        """The rows that wait, one at least."""
        rows = [self._rows.get()]
        while len(rows) < ROWS_AT_ONCE and not self._rows.empty():
            rows.append(self._rows.get())
        return rows


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
