"""Searches go on as soon as their own answer is there, and no delay of any call changes a result."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reer.calls import calls_in_flight, event_loop
from reer.errors import Incomplete, InputError
from reer.search.driver import Concurrent, Failure, Handlers, run_searches
from reer.search.methods import (
    MultiStart,
    RequestDrafts,
    RequestRewrites,
    RequestScores,
    SearchMethod,
    SearchRequest,
    SegmentSearch,
)
from reer.types import Candidate, Refinement, Start, item_seed
from tests.benchmarks import driver as benchmark
from tests.fakes.virtual_time import VirtualTimeLoop

SEARCH = SegmentSearch(max_edits=3, n_candidates=2, threshold=-1.0)
Results = dict[str, Refinement | Failure]
Delay = Callable[[SearchRequest], float]


def rewritten(request: RequestRewrites) -> list[Candidate]:
    return [Candidate(f"{request.pair_id} {request.index} {i}", 1, None, None) for i in range(request.n)]


def scored(request: RequestScores) -> list[float | None]:
    return [item_seed(0, *thinking) / 2**64 for thinking in request.thinkings]


def drafted(request: RequestDrafts) -> list[Start]:
    return [Start((f"start {i} a", f"start {i} b"), 1, None) for i in range(request.n)]


@dataclass
class Servers:
    """Handlers of single requests, whose answers come after a delay in virtual time. `now` counts those in flight."""

    delay: Delay
    now: int = 0
    most: int = 0
    handled: list[SearchRequest] = field(default_factory=list)

    async def answer(self, reply: Callable[[Any], Sequence[Any]], request: SearchRequest) -> Sequence[Any]:
        self.handled.append(request)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.delay(request))
        finally:
            self.now -= 1
        return reply(request)

    def concurrent(self, reply: Callable[[Any], Sequence[Any]]) -> Concurrent[Any, Any]:
        return Concurrent(partial(self.answer, reply))

    @property
    def handlers(self) -> Handlers:
        return Handlers(self.concurrent(rewritten), self.concurrent(scored), self.concurrent(drafted))


def batched(reply: Callable[[Any], Sequence[Any]], sizes: list[list[str]]) -> Callable[[Sequence[Any]], list[Any]]:
    """A handler of batches, which records the pairs of each."""

    def handle(requests: Sequence[Any]) -> list[Any]:
        sizes.append([request.pair_id for request in requests])
        return [reply(request) for request in requests]

    return handle


def searched(
    handlers: Handlers, width: int, method: SearchMethod = SEARCH, on_done: Callable[[Any], None] = lambda _: None
) -> Results:
    steps = {f"p{n}": method.steps(f"p{n}", tuple(f"{n} {i}" for i in range(1 + n % 4))) for n in range(8)}
    with event_loop(VirtualTimeLoop):
        return run_searches(steps, handlers, width, on_done)


def in_batches(width: int = 3, method: SearchMethod = SEARCH) -> Results:
    handlers = Handlers(batched(rewritten, []), batched(scored, []), batched(drafted, []))
    return searched(handlers, width, method=method)


def random_delay(seed: int) -> Delay:
    draw = Random(seed)
    return lambda request: draw.lognormvariate(0, 1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 9), st.booleans())
def test_no_delay_and_no_width_changes_a_result(seed: int, width: int, several: bool) -> None:
    method = MultiStart(2, SEARCH) if several else SEARCH
    results = searched(Servers(random_delay(seed)).handlers, width, method=method)
    assert list(results.items()) == list(in_batches(method=method).items())


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_no_delay_of_a_server_changes_the_batches_of_a_model_in_this_process(seed: int, width: int) -> None:
    def run(delay: Delay) -> tuple[list[list[str]], Results]:
        batches: list[list[str]] = []
        servers = Servers(delay)
        handlers = Handlers(servers.concurrent(rewritten), batched(scored, batches), servers.concurrent(drafted))
        return batches, searched(handlers, width, method=MultiStart(2, SEARCH))

    assert run(random_delay(seed)) == run(lambda _: 0.0)


def test_a_search_does_not_wait_for_the_call_of_another() -> None:
    done: list[str] = []
    servers = Servers(lambda request: 1000.0 if request.pair_id == "p0" else 1.0)
    searched(servers.handlers, 2, on_done=lambda result: done.append(result.pair_id))
    assert done[-1] == "p0"
    assert len(done) == 8


@pytest.mark.parametrize("width", [1, 3, 8])
def test_as_many_searches_are_in_flight_as_the_width_allows(width: int) -> None:
    servers = Servers(lambda _: 1.0)
    searched(servers.handlers, width)
    assert servers.most == width


class Faulty(Servers):
    """The call for the rewrites of p2 ends in an error."""

    error: Exception = Incomplete("no answer")

    async def answer(self, reply: Callable[[Any], Sequence[Any]], request: SearchRequest) -> Sequence[Any]:
        answer = await super().answer(reply, request)
        if request.pair_id == "p2" and isinstance(request, RequestRewrites):
            raise self.error
        return answer


def test_a_call_without_an_answer_ends_the_search_after_the_calls_in_flight() -> None:
    servers = Faulty(lambda request: 5.0 if request.pair_id == "p3" else 1.0)
    with pytest.raises(Incomplete, match="no answer"):
        searched(servers.handlers, 4)
    assert servers.now == 0
    asked = [request.pair_id for request in servers.handled]
    assert (asked.count("p2"), asked.count("p3"), asked.count("p7")) == (2, 1, 0)


def test_a_batch_is_in_the_order_of_the_searches_whatever_their_ids() -> None:
    batches: list[list[str]] = []
    handlers = Handlers(batched(rewritten, []), batched(scored, batches), batched(drafted, []))
    steps = {pair_id: SEARCH.steps(pair_id, ("a", "b")) for pair_id in ("late", "early", "middle")}
    assert list(run_searches(steps, handlers, 3, lambda _: None)) == ["late", "early", "middle"]
    assert batches[0] == ["late", "early", "middle"]
    assert all(batch == sorted(batch, key=["late", "early", "middle"].index) for batch in batches)


def test_a_handler_that_leaves_out_a_request_is_an_error() -> None:
    score = batched(scored, [])
    handlers = Handlers(batched(rewritten, []), lambda requests: score(requests)[1:], batched(drafted, []))
    with pytest.raises(ValueError, match="shorter"):
        searched(handlers, 3)


def test_an_error_ends_the_calls_in_flight_at_once() -> None:
    servers = Faulty(lambda request: 1e6 if request.pair_id == "p3" else 1.0)
    servers.error = InputError("no such model")
    with event_loop(VirtualTimeLoop) as runner:
        with pytest.raises(InputError, match="no such model"):
            searched(servers.handlers, 4)
        assert runner.get_loop().time() < 10
        assert not asyncio.all_tasks(runner.get_loop())


def test_an_interrupted_search_leaves_no_call_in_flight() -> None:
    def interrupt(result: object) -> None:
        raise KeyboardInterrupt

    servers = Servers(lambda request: 1.0 + len(request.pair_id))
    steps = {f"p{n}": SEARCH.steps(f"p{n}", ("a",) * (n + 1)) for n in range(4)}
    with event_loop(VirtualTimeLoop) as runner:
        with pytest.raises(KeyboardInterrupt):
            run_searches(steps, servers.handlers, 4, interrupt)
        assert not asyncio.all_tasks(runner.get_loop())


async def _value(seconds: float, value: str) -> str:
    await asyncio.sleep(seconds)
    return value


def test_answers_come_in_the_order_in_which_they_are_there() -> None:
    came: list[str] = []
    with event_loop(VirtualTimeLoop), calls_in_flight() as calls:
        for seconds in (3, 1, 2):
            calls.start(seconds, _value(seconds, str(seconds)))
        while calls:
            came += [answer for _, answer in calls.completed()]
    assert came == ["1", "2", "3"]


def test_the_event_loop_is_shared_until_its_last_user_leaves_it() -> None:
    first, second = event_loop(), event_loop()
    assert first.__enter__() is second.__enter__()
    first.__exit__(None, None, None)
    with event_loop() as runner:
        assert runner.run(_value(0, "open")) == "open"
    second.__exit__(None, None, None)
    with event_loop() as later:
        assert later is not runner


def test_a_server_is_kept_busy_until_the_tail() -> None:
    """150 searches side by side with log-normal completion times on 64 slots; in rounds they are about 30 % busy."""
    drafts = benchmark.drafts_of(150, 3, 6)
    measured = benchmark.measured(drafts, 128, benchmark.driven)
    assert measured.busy_before_tail > 0.95
